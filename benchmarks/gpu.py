"""Connectors in bfloat16 on a GPU: original, ours, ours compiled, and the floor. `python benchmarks/gpu.py`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from cases import CONNECTORS, ConnectorCase
from measuring import Floor, Run, Spread, list_products, measure_bandwidth, often, peak_bytes, tensors_in, time_in_turns

BATCHES = (1, 16, 64)
CALLS = 10
"""Calls in a row between two looks at the clock, so that waiting for the device weighs little."""
RESULTS = Path(__file__).parent / "results" / "gpu.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table."""

    case: str
    batch: int
    original_ms: Spread
    ours_ms: Spread
    compiled_ms: Spread | None
    """None where compilation was left out."""
    floor_ms: float
    original_bytes: int
    ours_bytes: int

    @property
    def best_ms(self) -> float:
        """Ours, compiled or not."""
        return min(self.ours_ms.median, self.compiled_ms.median if self.compiled_ms else self.ours_ms.median)


@torch.no_grad()
def measure(
    case: ConnectorCase,
    *,
    device: torch.device,
    bandwidth: float,
    rounds: int = 15,
    dtype: torch.dtype = torch.bfloat16,
    is_compiled: bool = True,
) -> Row:
    """Measure the forward pass of a connector.

    Args:
        case: the connector, with its batch.
        device: where to run.
        bandwidth: bytes a millisecond.
        rounds: turns.
        dtype: of weights and features.
        is_compiled: whether ours is measured compiled, too.
    """
    ways = case.build(dtype=dtype, device=device)
    ours = ways.ours["inference"]
    runs: dict[str, Run] = {
        "original": lambda: ways.original(*ways.original_inputs),
        "ours": lambda: ours(*ways.ours_inputs),
    }
    if is_compiled:
        compiled = torch.compile(ours)
        runs["compiled"] = lambda: compiled(*ways.ours_inputs)
    many = {name: often(run, CALLS) for name, run in runs.items()}
    time_in_turns(many, rounds=2, device=device)
    times = time_in_turns(many, rounds=rounds, device=device)
    spreads = {name: Spread.of([value / CALLS for value in values]) for name, values in times.items()}
    moved = sum(tensor.nbytes for tensor in tensors_in((ways.ours_inputs, runs["ours"]())))
    products = list_products(runs["ours"])
    floor = Floor(products, moved_bytes=moved, bandwidth=bandwidth, dtype=dtype, device=device)
    return Row(
        case=case.name,
        batch=case.batch,
        original_ms=spreads["original"],
        ours_ms=spreads["ours"],
        compiled_ms=spreads.get("compiled"),
        floor_ms=floor.measure(rounds=rounds, calls=CALLS),
        original_bytes=peak_bytes(runs["original"], inputs=ways.original_inputs, device=device),
        ours_bytes=peak_bytes(runs["ours"], inputs=ways.ours_inputs, device=device),
    )


def table(rows: Sequence[Row]) -> str:
    """Write rows as a table.

    Args:
        rows: what was measured.
    """
    head = (
        f"{'case':18}{'batch':>6}{'original ms':>13}{'ours':>9}{'compiled':>10}{'floor':>9}{'reached':>9}{'memory':>8}"
    )
    lines = [
        f"{row.case:18}{row.batch:6}{row.original_ms.median:13.3f}{row.ours_ms.median:9.3f}"
        f"{row.compiled_ms.median if row.compiled_ms else float('nan'):10.3f}{row.floor_ms:9.3f}"
        f"{row.floor_ms / row.best_ms:9.0%}{row.ours_bytes / row.original_bytes:8.2f}"
        for row in rows
    ]
    return "\n".join([head, *lines])


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [case.name for case in CONNECTORS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="CASE", help=", ".join(names))
    parser.add_argument("--commit", default="unknown", help="written into the results")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py needs a CUDA GPU, and torch finds none here")
    device = torch.device("cuda")
    bandwidth = measure_bandwidth(device)
    rows: list[Row] = []
    # a batch of 8 is a case of its own on the CPU alone
    for case in (case for case in CONNECTORS if case.name in args.only and case.batch == 1):
        for batch in BATCHES:
            torch.compiler.reset()
            rows.append(measure(replace(case, batch=batch), device=device, bandwidth=bandwidth))
            print(table(rows[-1:]), flush=True)
    about = {"commit": args.commit, "torch": torch.__version__, "gpu": torch.cuda.get_device_name(device)}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    print(f"\n{table(rows)}\n\nwritten: {RESULTS}")


if __name__ == "__main__":
    main()
