"""Connectors and encoders against the original repositories' way, at published sizes: `make bench`.

One process for each number of threads; in it, original and ours in turns, round after round. Prints a table and writes
`benchmarks/results/cpu.json`, which `benchmarks/page.py` makes the documentation page from.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import gc
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from cases import CASES, Case, Ways
from measuring import (
    Floor,
    Run,
    Spread,
    list_products,
    measure_bandwidth,
    peak_bytes,
    ratios,
    tensors_in,
    time_in_turns,
)
from torch import Tensor, nn

from opticnerve.connectors.rewrites import Mode

RESULTS = Path(__file__).parent / "results" / "cpu.json"
CPU = torch.device("cpu")
THREADS = (1, 2)
QUICK_ROUNDS = 3
PASSES: dict[Mode, str] = {"inference": "forward", "train": "forward + backward"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table."""

    case: str
    title: str
    batch: int
    mode: Mode
    passes: str
    """Forward, or forward + backward."""
    threads: int
    rewrites: Sequence[str]
    original_ms: Spread
    ours_ms: Spread
    ratio: Spread
    """Original / ours, round by round: above 1, ours is faster."""
    original_bytes: int
    """Alive at the widest moment, inputs and gradients included, weights not."""
    ours_bytes: int
    derived_bytes: int
    """Tensors that the rewrites made of the weights, which stay."""
    original_error: float
    """Largest difference from the original in float64, over the largest value."""
    ours_error: float
    floor_ms: float
    """Of what ours computes."""

    @property
    def memory_ratio(self) -> float:
        """Ours / original: below 1, ours takes less."""
        return self.ours_bytes / self.original_bytes

    @property
    def fraction(self) -> float:
        """Of the floor that is reached."""
        return self.floor_ms / self.ours_ms.median

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Row:
        """Read what `asdict` gave."""
        spreads = {key: Spread(**data[key]) for key in ("original_ms", "ours_ms", "ratio")}
        return Row(**{**data, **spreads})


def measure(case: Case, *, threads: int, rounds: int, bandwidth: float) -> list[Row]:
    """Measure a case in every mode.

    Args:
        case: what to compare.
        threads: of this process.
        rounds: turns.
        bandwidth: bytes a millisecond.
    """
    ways = case.build()
    with torch.no_grad():
        exact = copy.deepcopy(ways.original).double()(*_as_double(ways.original_inputs))
    gc.collect()
    rows: list[Row] = []
    for mode in ways.modes:
        original = _run(ways.original, ways.original_inputs, mode=mode)
        ours = _run(ways.ours[mode], ways.ours_inputs, mode=mode)
        products = list_products(ours)
        # these runs warm up, too
        original_bytes = peak_bytes(original, inputs=ways.original_inputs, device=CPU)
        ours_bytes = peak_bytes(ours, inputs=ways.ours_inputs, device=CPU)
        times = time_in_turns({"original": original, "ours": ours}, rounds=rounds, device=CPU)
        floor = Floor(
            products,
            moved_bytes=moved_bytes(ways, mode=mode),
            bandwidth=bandwidth,
            dtype=torch.float32,
            device=CPU,
        )
        rows.append(
            Row(
                case=case.name,
                title=case.title,
                batch=case.batch,
                mode=mode,
                passes=PASSES[mode],
                threads=threads,
                rewrites=ways.rewrites[mode],
                original_ms=Spread.of(times["original"]),
                ours_ms=Spread.of(times["ours"]),
                ratio=ratios(times["original"], times["ours"]),
                original_bytes=original_bytes,
                ours_bytes=ours_bytes,
                derived_bytes=derived_bytes(ways.ours[mode]),
                original_error=_error(ways.original, ways.original_inputs, exact),
                ours_error=_error(ways.ours[mode], ways.ours_inputs, exact),
                floor_ms=floor.measure(rounds=3),
            )
        )
    return rows


def _as_double(inputs: tuple[Tensor, ...]) -> list[Tensor]:
    return [tensor.double() if tensor.is_floating_point() else tensor for tensor in inputs]


def _run(module: nn.Module, inputs: tuple[Tensor, ...], *, mode: Mode) -> Run:
    """Forward, or forward and backward to the weights: the features are those of a frozen encoder."""
    if mode == "inference":
        return torch.no_grad()(lambda: module(*inputs))
    with torch.no_grad():
        gradient = torch.randn_like(module(*inputs))

    def step() -> None:
        module(*inputs).backward(gradient)
        module.zero_grad()

    return step


@torch.no_grad()
def _error(module: nn.Module, inputs: tuple[Tensor, ...], exact: Tensor) -> float:
    out = module(*inputs).double().reshape(exact.shape)
    return ((out - exact).abs().max() / exact.abs().max()).item()


def moved_bytes(ways: Ways, *, mode: Mode) -> int:
    """Count what cannot but be read or written outside of matrix products, whose own time has their operands.

    Args:
        ways: the case.
        mode: inference: inputs and outputs; training: the outputs' gradients and the weights' too.
    """
    module = ways.ours[mode]
    with torch.no_grad():
        out = module(*ways.ours_inputs)
    once = sum(tensor.nbytes for tensor in tensors_in((ways.ours_inputs, out)))
    return once if mode == "inference" else once + out.nbytes + sum(weight.nbytes for weight in module.parameters())


def derived_bytes(module: nn.Module) -> int:
    """Count the bytes of what rewrites keep beside the weights.

    Args:
        module: an optimized connector, or anything.
    """
    kept = set(module.state_dict())
    return sum(buffer.nbytes for name, buffer in module.named_buffers() if name not in kept and "program" in name)


def table(rows: Sequence[Row]) -> str:
    """Write rows as a table for the terminal.

    Args:
        rows: what was measured.
    """
    lines = [
        f"{'case':16}{'pass':20}{'threads':>8}{'original ms':>13}{'ours ms':>10}{'ratio (quartiles)':>22}"
        f"{'memory':>8}{'error':>18}{'floor':>7}  rewrites"
    ]
    lines.extend(
        f"{row.case:16}{row.passes:20}{row.threads:8}{row.original_ms.median:13.1f}{row.ours_ms.median:10.1f}"
        f"{f'{row.ratio.median:.2f} ({row.ratio.low:.2f}-{row.ratio.high:.2f})':>22}{row.memory_ratio:8.2f}"
        f"{f'{row.original_error:.1e} {row.ours_error:.1e}':>18}{row.fraction:7.0%}  {', '.join(row.rewrites)}"
        for row in rows
    )
    return "\n".join(lines)


def work(names: Sequence[str], *, threads: int, rounds: int, out: Path) -> None:
    """Measure in this process, and write the rows.

    Args:
        names: of the cases.
        threads: of this process.
        rounds: turns.
        out: JSON file.
    """
    torch.set_num_threads(threads)
    bandwidth = measure_bandwidth(CPU)
    rows: list[dict[str, Any]] = []
    for case in (case for case in CASES if case.name in names):
        for row in measure(case, threads=threads, rounds=rounds, bandwidth=bandwidth):
            print(table([row]).splitlines()[1], flush=True)
            rows.append(asdict(row))
        gc.collect()
    out.write_text(json.dumps({"bandwidth_bytes_per_ms": bandwidth, "rows": rows}))


def machine() -> dict[str, Any]:
    """Say what this is measured on."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "torch": torch.__version__,
        "cpu": found[1] if found else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def main() -> None:
    """Run the script."""
    args = _parse()
    if args.out_rows:
        work(args.only, threads=args.threads[0], rounds=args.rounds, out=args.out_rows)
        return
    result = {
        "commit": args.commit,
        **machine(),
        "rounds": args.rounds,
        "command": "make bench",
        "bandwidth_bytes_per_ms": {},
        "rows": [],
    }
    print(table([]), flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for threads in args.threads:
        part = args.out.with_suffix(f".{threads}.json")
        flags = ["--threads", str(threads), "--rounds", str(args.rounds), "--out-rows", str(part)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "KINETO_LOG_LEVEL": "99"}
        subprocess.run([sys.executable, __file__, *flags, "--only", *args.only], check=True, env=environment)
        measured = json.loads(part.read_text())
        part.unlink()
        result["rows"] += measured["rows"]
        result["bandwidth_bytes_per_ms"][str(threads)] = measured["bandwidth_bytes_per_ms"]
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    rows = [Row.from_dict(row) for row in result["rows"]]
    print(f"written: {args.out}")
    slower = [f"{row.case}, {row.passes}, {row.threads} threads" for row in rows if row.ratio.median < 1]
    print(f"slower than the original: {'; '.join(slower) or 'none'}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [case.name for case in CASES]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="CASE", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds: no numbers to publish")
    parser.add_argument("--rounds", type=int, default=7, help="turns of original and ours (default: 7)")
    parser.add_argument("--threads", nargs="+", type=int, default=list(THREADS), help="(default: 1 2)")
    parser.add_argument("--commit", default="unknown", help="written into the results")
    parser.add_argument("--out", type=Path, help="JSON file (default: benchmarks/results/cpu.json for a full run)")
    parser.add_argument("--out-rows", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.rounds = QUICK_ROUNDS
    if args.out is None:
        is_full = not args.quick and args.only == names and args.rounds >= 7 and args.threads == list(THREADS)
        args.out = RESULTS if is_full else Path("build/bench.json")
    return args


if __name__ == "__main__":
    main()
