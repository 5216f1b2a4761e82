"""The benchmark compares equal things, ours computes less, and the page says what was measured. No timings."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import bench
import cases
import gpu
import measuring
import original_resamplers
import page
import pytest
import torch
from cases import ConnectorCase
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from opticnerve import Grid, methods

CPU = torch.device("cpu")
TINY = {"vision_dim": 24, "llm_dim": 32}
POOL = replace(cases.LLAVA_ONEVISION, grid=Grid(9, 9), **TINY)
LDPV2 = replace(cases.LDPV2, **TINY, batch=2)


def flops_of(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> int:
    # the counter does not know the CPU's fused attention, only the matrix products of the plain one
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("case", "patches", "tokens", "after"), [(POOL, 81, 25, 0), (LDPV2, 576, 144, 2 * 144 * 32 * 9)]
)
def test_pooling_early_saves_the_second_linear_over_the_patches_that_are_pooled_away(
    case: ConnectorCase, patches: int, tokens: int, after: int
) -> None:
    ways = case.build()
    original, ours = flops_of(ways.original, ways.original_inputs), flops_of(ways.ours["train"], ways.ours_inputs)
    first, second = 2 * case.vision_dim * case.llm_dim, 2 * case.llm_dim**2
    assert original == case.batch * (patches * (first + second) + after)
    assert ours <= case.batch * (patches * first + tokens * second + after)
    assert ours > case.batch * patches * first


SMALL = [
    POOL,
    LDPV2,
    replace(cases.PLLAVA, **TINY),
    replace(cases.QWEN_VL, vision_dim=24, llm_dim=128, grid=Grid(20, 20)),
    replace(cases.MINICPM, vision_dim=24, llm_dim=128, grid=Grid(6, 6), batch=2),
    replace(
        cases.BLIP2,
        **TINY,
        grid=Grid(3, 3, prefix=1),
        spec=methods.qformer(num_queries=4, hidden_dim=24, num_layers=3, num_heads=4, feed_forward_dim=48),
        original=lambda case: original_resamplers.Blip2(
            **TINY, num_queries=4, dim=24, num_layers=3, num_heads=4, ffn_dim=48
        ),
    ),
    replace(cases.QWEN2_VL, **TINY, grid=Grid(4, 4), batch=2),
    replace(cases.INTERNVL, **TINY, grid=Grid(4, 4), batch=2),
    *(
        replace(
            case,
            batch=2,
            config={
                "image_size": 32,
                "patch_size": 8,
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
            },
        )
        for case in cases.ENCODERS
    ),
]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_a_row_compares_equal_numbers(case: cases.Case) -> None:
    rows = bench.measure(case, threads=1, rounds=1, bandwidth=1e9)
    assert [row.mode for row in rows] == list(case.build().modes)
    for row in rows:
        assert row.ours_error < 5e-6
        assert row.original_error < 5e-6
        assert min(row.original_bytes, row.ours_bytes, row.floor_ms) > 0


def test_every_case_is_tried_small() -> None:
    def kind(case: Any) -> Any:
        return case.layout if isinstance(case, ConnectorCase) else case.scales

    assert {kind(case) for case in cases.CASES} == {kind(case) for case in SMALL}


def test_the_floor_has_the_products_of_both_passes() -> None:
    linear, features = nn.Linear(8, 16), torch.randn(4, 8)

    def step() -> None:
        linear(features).sum().backward()

    counts = measuring.list_products(step)
    assert sorted((p.rows, p.inner, p.cols) for p in counts.elements()) == [(4, 8, 16), (16, 4, 8)]
    assert sum(product.flops * count for product, count in counts.items()) == 2 * 2 * 4 * 8 * 16


def test_the_floor_has_the_products_of_attention_and_of_patches() -> None:
    queries, keys = torch.randn(1, 2, 5, 8), torch.randn(1, 2, 7, 8)
    attend = torch.nn.functional.scaled_dot_product_attention
    counts = measuring.list_products(lambda: attend(queries, keys, keys))
    assert sum(product.flops * count for product, count in counts.items()) == 2 * 2 * 2 * 5 * 7 * 8
    patches = nn.Conv2d(3, 6, 4, stride=4)
    counts = measuring.list_products(lambda: patches(torch.randn(2, 3, 8, 8)))
    assert sum(product.flops * count for product, count in counts.items()) == 2 * 2 * 4 * 48 * 6


def test_the_peak_is_what_is_alive_at_once() -> None:
    values = torch.randn(1_000_000)  # numbers beside it are a few bytes

    def peak(run: measuring.Run) -> float:
        return measuring.peak_bytes(run, inputs=(values,), device=CPU) / values.nbytes

    assert peak(lambda: values.exp()) == pytest.approx(2, rel=1e-3)
    assert peak(lambda: values.exp().exp().exp()) == pytest.approx(3, rel=1e-3)


def test_the_page_says_what_the_results_say() -> None:
    assert page.measured(page.read_results()) in page.PAGE.read_text(), "run python benchmarks/page.py"


@pytest.mark.skipif(page.read_results() is None, reason="nothing is measured yet: make bench")
def test_the_published_results_have_every_case() -> None:
    result = page.read_results()
    assert result is not None
    assert result["rounds"] >= 7
    assert [(row["case"], row["passes"], row["threads"]) for row in result["rows"]] == [
        (case.name, bench.PASSES[mode], threads)
        for threads in bench.THREADS
        for case in cases.CASES
        for mode in (cases.MODES if isinstance(case, ConnectorCase) else cases.MODES[:1])
    ]


def test_the_page_shows_what_was_measured() -> None:
    row = bench.Row(
        case="a",
        title="A resampler",
        batch=1,
        mode="inference",
        passes="forward",
        threads=1,
        rewrites=["one", "two"],
        original_ms=measuring.Spread.of([40.0]),
        ours_ms=measuring.Spread.of([19.0, 20.0, 22.0]),
        ratio=measuring.ratios([40.0, 40.0, 44.0], [20.0, 16.0, 22.0]),
        original_bytes=4_000_000,
        ours_bytes=1_000_000,
        derived_bytes=7_000_000,
        original_error=2e-7,
        ours_error=3e-7,
        floor_ms=18.0,
    )
    about = {"commit": "abc", "date": "2026-01-01", "torch": "2", "cpu": "C", "cores": 2, "rounds": 7}
    result = {**about, "load_before": 0.1, "command": "make bench", "rows": [asdict(row)]}
    text = page.measured(result)
    wanted = (
        "| A resampler | forward | 40.0 | 20.0 | **2.00** (2.00 to 2.25) | 0.25, and 7 MB that stay | 2.0e-07, 3.0e-07 "
        "| 90% | one, two |"
    )
    assert wanted in text
    assert "### 1 thread\n" in text
    assert "commit `abc`" in text
    assert "do not rely" not in text
    assert "do not rely" in page.measured({**result, "load_before": 2.0})
    assert bench.Row.from_dict(json.loads(json.dumps(asdict(row)))) == row


def test_a_part_of_the_benchmark_leaves_the_published_results_alone(tmp_path: Path) -> None:
    script = Path(bench.__file__)
    flags = ["--only", "ldpv2", "--threads", "1", "--rounds", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(script), *flags],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "written: build/bench.json" in done.stdout
    rows = [bench.Row.from_dict(row) for row in json.loads((tmp_path / "build/bench.json").read_text())["rows"]]
    assert [row.passes for row in rows] == ["forward", "forward + backward"]
    assert all(f"{row.ratio.median:.2f}" in done.stdout for row in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_script_refuses_in_one_line_without_a_gpu() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, gpu.__file__], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "benchmarks/gpu.py needs a CUDA GPU, and torch finds none here\n"


@pytest.mark.unchecked
@pytest.mark.parametrize("is_compiled", [False, True])
def test_the_gpu_script_measures(is_compiled: bool) -> None:
    row = gpu.measure(POOL, device=CPU, bandwidth=1e9, rounds=1, is_compiled=is_compiled)
    assert (row.compiled_ms is not None) == is_compiled
    assert row.best_ms > 0
    assert row.case in gpu.table([row])
