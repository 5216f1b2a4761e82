"""Resamplers and Q-Formers, rewritten: the same numbers on every grid, for the work that was counted."""

import copy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from opticnerve import Connector, ConnectorSpec, Grid, methods
from opticnerve.connectors import TextTokens
from opticnerve.connectors.blocks import Linear, Norm, Resampler
from opticnerve.connectors.rewrites.absorbed_attention import AbsorbedAttention
from opticnerve.connectors.rewrites.absorbed_qformer import AbsorbedQFormer, CachedTalk
from opticnerve.connectors.rewrites.base import Cost, InOrder, Rewrite, Step
from opticnerve.connectors.rewrites.cached_queries import CachedQueries
from opticnerve.connectors.rewrites.composed_attention import ComposedAttention
from opticnerve.connectors.rewrites.program import Applied, build_steps, place_blocks, plan_rewrites
from opticnerve.connectors.rewrites.through_norm import Affine, InverseStd, ThroughNorm, variance_flops
from opticnerve.errors import ShapeError

VISION_DIM, LLM_DIM = 20, 32
WIDTHS = {"vision_dim": VISION_DIM, "llm_dim": LLM_DIM}
GRIDS = [Grid(4, 6), Grid(2, 3), Grid(7, 3), Grid(3, 5, frames=2)]
QFORMER: dict[str, Any] = {
    "num_queries": 5,
    "hidden_dim": 32,
    "num_layers": 3,
    "num_heads": 2,
    "feed_forward_dim": 24,
}


def resampler(**options: Any) -> ConnectorSpec:
    return methods.qwen_vl_resampler(**{"query_grid": (2, 3), "head_dim": 8, **options})


def minicpm(**options: Any) -> ConnectorSpec:
    return methods.minicpm_resampler(**{"num_queries": 6, "head_dim": 16, **options})


SPECS: dict[str, ConnectorSpec] = {
    "resized": resampler(),
    "resized without a Linear": resampler(has_kv_proj=False, dim=VISION_DIM, head_dim=5),
    "computed": minicpm(),
    "computed, with query positions": minicpm(num_queries=4, has_query_positions=True),
    "computed without a Linear": minicpm(has_kv_proj=False, dim=VISION_DIM, head_dim=5),
    "nothing behind": ConnectorSpec(
        name="bare", blocks=(Linear(has_bias=False), Norm(eps=1e-6), Resampler(query_grid=(2, 3), head_dim=8))
    ),
    "narrowed": resampler(dim=16),
    "a bias at the end": ConnectorSpec(
        name="biased",
        blocks=(Linear(has_bias=False), Norm(), Resampler(query_grid=(2, 3), head_dim=8), Norm(), Linear(dim=12)),
    ),
    "Q-Former": methods.qformer(**QFORMER),
    "Q-Former that always looks": methods.qformer(**QFORMER, cross_attention_freq=1, has_vision_norm=False),
}
REWRITES: tuple[Rewrite, ...] = (
    CachedQueries(),
    ComposedAttention(),
    AbsorbedAttention(),
    CachedTalk(),
    AbsorbedQFormer(),
)


def built(spec: ConnectorSpec, *, dtype: torch.dtype = torch.float64, std: float = 0.3) -> Connector:
    """Random weights, norms and biases too, so that anything left out is felt."""
    torch.manual_seed(0)
    connector = spec.build(**WIDTHS)
    for parameter in connector.parameters():
        nn.init.normal_(parameter, std=std)
    return connector.to(dtype).eval()


def features(grid: Grid, *, batch: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    values = torch.randn(batch, grid.size, VISION_DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return values.to(dtype)


def rewritten(connector: Connector, rewrite: Rewrite, grid: Grid) -> tuple[Connector, tuple[Applied, ...]] | None:
    """Apply a rewrite wherever it matches, whether it pays or not."""
    rest = list(place_blocks(connector.spec, grid, **WIDTHS))
    found: list[Applied] = []
    while rest:
        count = rewrite.match(rest)
        blocks = tuple(rest[: count or 1])
        after = rewrite.cost(blocks) if count else Cost.of(blocks)
        found.append(Applied(blocks=blocks, rewrite=rewrite if count else None, before=Cost.of(blocks), after=after))
        rest = rest[len(blocks) :]
    if all(one.rewrite is None for one in found):
        return None
    return connector.with_program(build_steps(found, connector.blocks)), tuple(found)


PAIRS = [
    pytest.param(spec, rewrite, id=f"{name}, {rewrite.name}")
    for name, spec in SPECS.items()
    for rewrite in REWRITES
    if rewritten(built(spec), rewrite, GRIDS[0]) is not None
]


def applied(connector: Connector, rewrite: Rewrite, grid: Grid = GRIDS[0]) -> Connector:
    both = rewritten(connector, rewrite, grid)
    assert both is not None
    return both[0]


def test_every_rewrite_is_tried_with_and_without_a_linear_in_front() -> None:
    tried = {parameter.id for parameter in PAIRS}
    assert {
        "resized, cached queries",
        "resized, composed attention",
        "resized, absorbed attention",
        "resized without a Linear, cached queries",
        "resized without a Linear, absorbed attention",
        "Q-Former, cached talk",
        "Q-Former, absorbed Q-Former",
    } < tried
    assert "resized without a Linear, composed attention" not in tried


@pytest.mark.parametrize(("spec", "rewrite"), PAIRS)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@torch.no_grad()
def test_a_rewritten_connector_gives_the_same_numbers_on_every_grid(
    spec: ConnectorSpec, rewrite: Rewrite, grid: Grid
) -> None:
    connector = built(spec)
    other = applied(connector, rewrite)
    torch.testing.assert_close(other(features(grid), grid), connector(features(grid), grid), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(("spec", "rewrite"), PAIRS)
@torch.no_grad()
def test_packed_images_are_rewritten_too(spec: ConnectorSpec, rewrite: Rewrite) -> None:
    connector = built(spec)
    packed = torch.cat([features(grid, batch=1)[0] for grid in GRIDS])
    tokens, places = applied(connector, rewrite).packed(packed, GRIDS)
    want, want_places = connector.packed(packed, GRIDS)
    assert places == want_places
    torch.testing.assert_close(tokens, want, atol=1e-10, rtol=1e-10)


def error(connector: Connector, exact: Connector, x: Tensor, grid: Grid) -> float:
    got, want = connector(x, grid), exact(x.double(), grid)
    assert got.dtype == x.dtype
    return ((got.double() - want).norm() / want.norm()).item()


MEANS = {
    "as they come": lambda connector, x: x,
    "features far from zero": lambda connector, x: x + 30,
    "features of very different channels": lambda connector, x: x * torch.logspace(-2, 2, VISION_DIM),
}


@pytest.mark.parametrize(("spec", "rewrite"), PAIRS)
@pytest.mark.parametrize("shape", MEANS)
@pytest.mark.parametrize(("dtype", "slack"), [(torch.float32, 1.3), (torch.bfloat16, 1.3)], ids=str)
@torch.no_grad()
def test_rounding_is_no_worse_than_that_of_the_blocks(
    spec: ConnectorSpec, rewrite: Rewrite, shape: str, dtype: torch.dtype, slack: float
) -> None:
    ours = theirs = 0.0
    for grid in (GRIDS[0], GRIDS[2]):
        plain = built(spec, dtype=dtype)
        exact = copy.deepcopy(plain).double()
        x = MEANS[shape](plain, features(grid, batch=16, dtype=torch.float32)).to(dtype)
        ours += error(applied(plain, rewrite), exact, x, grid)
        theirs += error(plain, exact, x, grid)
    assert ours <= slack * theirs, f"{ours / theirs:.2f} times the error"


@pytest.mark.parametrize(("spec", "rewrite"), PAIRS)
def test_nothing_that_is_derived_is_saved(spec: ConnectorSpec, rewrite: Rewrite) -> None:
    connector = built(spec)
    other = applied(connector, rewrite)
    before, after = connector.state_dict(), other.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    pairs = zip(connector.named_parameters(), other.named_parameters(), strict=True)
    assert all(name == other_name and one is two for (name, one), (other_name, two) in pairs)
    derived = [buffer for step in other.program for buffer in step.buffers()]
    assert derived
    assert not any(buffer.requires_grad for buffer in derived)
    other.to(torch.float32)
    assert {buffer.dtype for step in other.program for buffer in step.buffers()} == {torch.float32}


@pytest.mark.parametrize(("spec", "rewrite"), PAIRS)
@pytest.mark.parametrize("grid", [GRIDS[0], GRIDS[3]], ids=str)
@torch.no_grad()
def test_the_work_is_what_the_rewrite_said(spec: ConnectorSpec, rewrite: Rewrite, grid: Grid) -> None:
    both = rewritten(built(spec), rewrite, grid)
    assert both is not None
    connector, found = both
    assert counted(connector, grid) == sum(one.after.flops for one in found)


def counted(connector: Connector, grid: Grid) -> int:
    # the counter does not know the CPU's fused attention, only the matrix products of the plain one
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        connector(features(grid, batch=1), grid)
    return counter.get_total_flops()


@pytest.mark.parametrize("spec", [resampler(), minicpm()], ids=["resized", "computed"])
@pytest.mark.parametrize("rewrite", REWRITES[:3], ids=lambda rewrite: rewrite.name)
def test_a_grid_that_was_not_planned_for_costs_no_more(spec: ConnectorSpec, rewrite: Rewrite) -> None:
    connector = built(spec, dtype=torch.float32)
    there, elsewhere = (applied(connector, rewrite, grid) for grid in (Grid(6, 4), Grid(4, 6)))
    work = []
    for one in (there, elsewhere):
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
            one(features(Grid(4, 6), dtype=torch.float32), Grid(4, 6))
        work.append(counter.get_total_flops())
    assert work[0] == work[1]


@torch.no_grad()
def test_images_longer_than_the_held_lines_are_computed_all_the_same() -> None:
    grid = Grid(2, 300)
    connector = built(minicpm())
    for rewrite in REWRITES[:3]:
        torch.testing.assert_close(
            applied(connector, rewrite)(features(grid), grid), connector(features(grid), grid), atol=1e-10, rtol=1e-10
        )


# what pays


def plan(spec: ConnectorSpec, grid: Grid, **widths: int) -> list[str]:
    found = plan_rewrites(spec, grid, mode="inference", **widths)
    return [one.rewrite.name for one in found if one.rewrite is not None]


def gain(spec: ConnectorSpec, grid: Grid, **widths: int) -> tuple[float, float]:
    found = plan_rewrites(spec, grid, mode="inference", **widths)
    before = sum(one.before.flops for one in found) / sum(one.after.flops for one in found)
    values = max(one.before.values for one in found) / max(one.after.values for one in found)
    return before, values


@pytest.mark.parametrize(
    ("spec", "grid", "widths", "names", "least"),
    [
        (
            methods.qwen_vl_resampler(),
            Grid(32, 32),
            {"vision_dim": 1664, "llm_dim": 4096},
            ["composed attention"],
            2.1,
        ),
        (
            methods.minicpm_resampler(num_queries=64),
            Grid(32, 32),
            {"vision_dim": 1152, "llm_dim": 3584},
            ["absorbed attention"],
            4.5,
        ),
        (
            methods.minicpm_resampler(),
            Grid(32, 32),
            {"vision_dim": 1152, "llm_dim": 4096},
            ["absorbed attention"],
            4.0,
        ),
        (
            methods.qformer(),
            Grid(16, 16, prefix=1),
            {"vision_dim": 1408, "llm_dim": 2560},
            ["absorbed Q-Former"],
            1.2,
        ),
        (methods.qformer(), Grid(27, 27), {"vision_dim": 1408, "llm_dim": 2560}, ["absorbed Q-Former"], 1.5),
    ],
    ids=["Qwen-VL", "MiniCPM-V 2.6", "MiniCPM-V 2.5", "BLIP-2 at 224", "BLIP-2 with 729 keys"],
)
def test_published_sizes_take_the_way_that_saves_most(
    spec: ConnectorSpec, grid: Grid, widths: dict[str, int], names: list[str], least: float
) -> None:
    assert plan(spec, grid, **widths) == names
    flops, values = gain(spec, grid, **widths)
    assert flops >= least, f"{flops:.2f} times less work"
    assert values > 1.0, f"{values:.2f} times less memory"


def test_what_does_not_pay_is_left_alone() -> None:
    wide = {"vision_dim": 1664, "llm_dim": 4096}
    many = methods.qwen_vl_resampler(query_grid=(32, 32))
    assert plan(many, Grid(32, 32), **wide) == ["composed attention"]  # not absorbed: 1024 queries
    assert "absorbed Q-Former" not in plan(methods.qformer(num_queries=128), Grid(27, 27), **wide)
    assert "composed attention" not in plan(methods.qwen_vl_resampler(dim=512), Grid(32, 32), **wide)


def test_a_norm_of_another_kind_or_a_bias_in_front_is_not_composed() -> None:
    def front(*blocks: Any) -> ConnectorSpec:
        return ConnectorSpec(name="front", blocks=(*blocks, Resampler(query_grid=(2, 3), head_dim=8)))

    for blocks in [(Linear(), Norm()), (Linear(has_bias=False), Norm(norm="rms")), (Linear(has_bias=False),)]:
        connector = built(front(*blocks))
        assert rewritten(connector, ComposedAttention(), GRIDS[0]) is None
        for rewrite in (CachedQueries(), AbsorbedAttention()):
            other = applied(connector, rewrite)
            assert [type(step) is InOrder for step in cast("list[Step]", other.program)][-1:] == [False]
            x = features(GRIDS[2])
            torch.testing.assert_close(other(x, GRIDS[2]), connector(x, GRIDS[2]), atol=1e-10, rtol=1e-10)


def test_nothing_here_is_for_training() -> None:
    assert not any(rewrite.holds_in_training for rewrite in REWRITES)


def test_a_q_former_that_reads_is_left_alone() -> None:
    connector = built(methods.qformer(**QFORMER, reads_text=True, vocab_size=11, max_text_length=7))
    assert all(rewritten(connector, rewrite, GRIDS[0]) is None for rewrite in REWRITES)
    optimized = connector.optimized(mode="inference", grid=GRIDS[0])
    text = TextTokens(ids=torch.ones(3, 2, dtype=torch.long), mask=torch.ones(3, 2, dtype=torch.bool))
    x = features(GRIDS[0])
    assert torch.equal(optimized(x, GRIDS[0], text=text), connector(x, GRIDS[0], text=text))
    with pytest.raises(ShapeError, match="this Q-Former reads an instruction"):
        optimized(x, GRIDS[0])


@torch.no_grad()
def test_derived_weights_are_of_the_moment_and_a_second_call_makes_them_anew() -> None:
    connector, grid = built(resampler()), GRIDS[0]
    stale = applied(connector, ComposedAttention())
    before = stale(features(grid), grid)
    cast("Any", connector.blocks[0]).linear.weight.mul_(torch.linspace(0.5, 2, LLM_DIM, dtype=torch.float64)[:, None])
    assert torch.equal(stale(features(grid), grid), before)
    fresh = applied(connector, ComposedAttention())
    assert not torch.allclose(connector(features(grid), grid), before, atol=1e-3)
    torch.testing.assert_close(fresh(features(grid), grid), connector(features(grid), grid), atol=1e-10, rtol=1e-10)


# a norm seen from the other side of a Linear


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize(("in_dim", "width"), [(5, 12), (12, 5), (9, 9), (40, 64)])
@torch.no_grad()
def test_the_deviation_of_a_linear_is_told_from_its_inputs(in_dim: int, width: int, has_bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(in_dim, width, bias=has_bias).double()
    x = torch.randn(2, 7, in_dim, dtype=torch.float64)
    inverse = InverseStd(Affine.of(linear), eps=1e-6, like=linear.weight)
    want = torch.rsqrt(linear(x).var(-1, correction=0, keepdim=True) + 1e-6)
    torch.testing.assert_close(inverse(x), want, atol=1e-12, rtol=1e-12)
    with FlopCounterMode(display=False) as counter:
        inverse(x)
    assert counter.get_total_flops() == variance_flops(tokens=14, in_dim=in_dim, width=width, has_bias=has_bias)


@pytest.mark.parametrize("mean", [0.0, 1e3])
@torch.no_grad()
def test_a_large_mean_over_the_outputs_costs_no_accuracy(mean: float) -> None:
    torch.manual_seed(0)
    spec = Norm(eps=1e-6)
    norm = cast("Any", spec.build(64)).norm
    first, second = nn.Linear(40, 64), nn.Linear(64, 24)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    first.weight.add_(mean / 40)
    assert first.bias is not None
    first.bias.add_(mean)
    x = torch.randn(4, 50, 40) + 1
    through = ThroughNorm(Affine.of(first), norm, Affine.of(second), like=first.weight)
    exact = nn.Sequential(*(copy.deepcopy(part).double() for part in (first, norm, second)))(x.double())
    ours, theirs = ((got.double() - exact).norm() for got in (through(x), second(norm(first(x)))))
    assert ours <= 1.1 * theirs
    assert ours < 1e-5 * exact.norm()


@pytest.mark.unchecked
@pytest.mark.parametrize("grid", [GRIDS[0], GRIDS[2]], ids=["the grid it was planned for", "another"])
@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda rewrite: rewrite.name)
@torch.no_grad()
def test_a_rewritten_connector_exports_with_a_free_batch(rewrite: Rewrite, grid: Grid) -> None:
    spec = SPECS["Q-Former" if isinstance(rewrite, CachedTalk) else "resized"]
    connector, x = applied(built(spec), rewrite), features(grid)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(connector.on_grid(grid), (x,), dynamic_shapes=({0: batch},))
    more = torch.cat([x, x])
    torch.testing.assert_close(program.module()(more), connector(more, grid), atol=1e-10, rtol=1e-10)
