"""Rewritten connectors compute the same numbers and gradients, and what does not commute is left alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from connectors.contract import leaves_its_input_alone, packs_as_it_batches
from connectors.small import GRID, LLM_DIM, NAMES, OTHER_GRID, VISION_DIM, small
from opticnerve import Connector, ConnectorSpec, Grid, method
from opticnerve.connectors.blocks import (
    GLU,
    PEG,
    Activation,
    AdaptivePool,
    BlockSpec,
    FitWidth,
    Linear,
    Merge,
    Norm,
    Pool,
    Scale,
)
from opticnerve.connectors.blocks.linear import ActivationKind, activate
from opticnerve.connectors.rewrites import InOrder, Mode, chunks, plan_rewrites, program, slice_plan
from opticnerve.connectors.rewrites.chunks import activate_in_place
from opticnerve.connectors.rewrites.program import place_blocks
from opticnerve.errors import GridError
from opticnerve.grid import Places

DIM = 4
MODES: tuple[Mode, ...] = ("train", "inference")
FUNCTIONS: tuple[ActivationKind, ...] = ("gelu", "gelu_tanh", "quick_gelu", "relu", "relu_squared", "silu", "hardswish")

Drawn = tuple[list[tuple[type[BlockSpec], dict[str, Any]]], tuple[int, int, int]]
"""Blocks and a grid, not made yet: run-time checks of types draw random numbers, which strategies must not."""

widths = st.integers(2, 6)
few = st.integers(1, 3)


def fields(kind: type[BlockSpec], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(kind), st.fixed_dictionaries(given))


pools = fields(Pool, factor=few, mode=st.just("bilinear")) | fields(
    Pool,
    factor=few,
    mode=st.sampled_from(["average", "max"]),
    odd=st.sampled_from(["error", "drop", "reflect", "overlap"]),
)
linears = fields(Linear, dim=widths, has_bias=st.booleans())
blocks_of_any_kind = st.one_of(
    linears,
    linears,
    pools,
    pools,
    fields(AdaptivePool, rows=st.integers(1, 4), cols=st.integers(1, 4), frames=st.integers(0, 2)),
    fields(Norm, norm=st.sampled_from(["layer", "layer", "rms", "rms_one_plus", "rms_no_scale"])),
    fields(Activation, function=st.sampled_from(FUNCTIONS)),
    fields(
        Merge,
        rows=few,
        cols=few,
        order=st.sampled_from(["row_col_channel", "channel_row_col"]),
        is_transposed=st.booleans(),
        odd=st.sampled_from(["error", "pad"]),
    ),
    fields(PEG),
    fields(GLU, hidden_dim=widths, dim=widths, has_bias=st.booleans()),
    fields(Scale, factor=st.sampled_from([0.5, 3.0])),
    fields(FitWidth, dim=widths),
)
grids = st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 2))
chains = st.tuples(st.lists(blocks_of_any_kind, min_size=2, max_size=7), grids)


def chained(drawn: Drawn) -> tuple[ConnectorSpec, Grid]:
    """A connector of those of the blocks that can follow one another from the grid on."""
    blocks, (rows, cols, frames) = drawn
    grid = Grid(rows, cols, frames=frames)
    places: Places = grid
    chain: list[BlockSpec] = []
    dim = DIM
    for kind, given_fields in blocks:
        block = kind(**given_fields)
        resolved = block.resolve(in_dim=dim, vision_dim=DIM, llm_dim=5)
        try:
            out = resolved.out_grid(places)
        except GridError:
            continue
        if resolved.out_dim(dim) <= 64:
            chain.append(block)
            places, dim = out, resolved.out_dim(dim)
    return ConnectorSpec(name="chain", blocks=tuple(chain)), grid


@contextmanager
def everything_pays() -> Iterator[None]:
    """Take every rewrite that matches and costs no more operations, and slices of very few tokens."""
    with (
        patch.object(program, "_LEAST_MEMORY_GAIN", 1e-6),
        patch.object(slice_plan, "TOKENS", 3),
        patch.object(chunks, "TOKENS", 3),
    ):
        yield


def build(spec: ConnectorSpec) -> Connector:
    """A connector whose every weight is random, in float64."""
    torch.manual_seed(0)
    connector = spec.build(vision_dim=DIM, llm_dim=5).double()
    with torch.no_grad():
        for parameter in connector.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return connector


def features(grid: Grid, *, dim: int = DIM, batch: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, grid.size, dim, generator=generator, dtype=torch.float64)


def tolerance(spec: ConnectorSpec) -> float:
    """1e-10, but where a block rounds to float32 by itself, whatever it is given."""
    rounds = any(isinstance(one, Scale) or (isinstance(one, Norm) and one.norm != "layer") for one in spec.blocks)
    return 1e-4 if rounds else 1e-10


def assert_same(got: Tensor, want: Tensor, relative: float) -> None:
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    if want.numel():
        error = (got - want).abs().max().item()
        assert error <= relative * max(want.abs().max().item(), 1.0), error


def gradients(connector: Connector, x: Tensor, grid: Grid) -> tuple[Tensor, ...]:
    x = x.clone().requires_grad_()
    out = connector(x, grid)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=out.dtype)
    return torch.autograd.grad((out * weights).sum(), [x, *connector.parameters()])


@settings(max_examples=150)
@given(chains)
def test_a_rewritten_chain_gives_the_same_tokens(drawn: Drawn) -> None:
    spec, grid = chained(drawn)
    connector, x = build(spec), features(grid)
    kept = x.clone()
    with torch.no_grad():
        want = connector(x, grid)
        for mode in MODES:
            with everything_pays():
                assert_same(connector.optimized(mode=mode, grid=grid)(x, grid), want, tolerance(spec))
            assert torch.equal(x, kept)


@settings(max_examples=100)
@given(chains)
def test_a_chain_rewritten_for_training_gives_the_same_gradients(drawn: Drawn) -> None:
    spec, grid = chained(drawn)
    connector, x = build(spec), features(grid, batch=2)
    with everything_pays():
        rewritten = connector.optimized(mode="train", grid=grid)
    for got, want in zip(gradients(rewritten, x, grid), gradients(connector, x, grid), strict=True):
        assert_same(got, want, 10 * tolerance(spec))


def takes(connector: Connector, grid: Grid) -> bool:
    try:
        connector.num_tokens(grid)
    except GridError:
        return False
    return True


@settings(max_examples=50)
@given(chains, grids)
def test_a_rewritten_chain_is_the_same_on_grids_that_it_was_not_planned_for(
    drawn: Drawn, sides: tuple[int, int, int]
) -> None:
    spec, grid = chained(drawn)
    other = Grid(sides[0], sides[1], frames=sides[2])
    connector, x = build(spec), features(other, batch=2)
    with everything_pays():
        programs = [connector.optimized(mode=mode, grid=grid) for mode in MODES]
        with torch.no_grad():
            if not takes(connector, other):
                for one in programs:
                    with pytest.raises(GridError):
                        one(x, other)
                return
            want = connector(x, other)
            for one in programs:
                assert_same(one(x, other), want, tolerance(spec))


LINEAR = Linear(dim=3)
COMMUTES = [
    Pool(factor=2),
    Pool(factor=2, odd="drop"),
    Pool(factor=4, odd="reflect"),
    Pool(factor=4, odd="overlap"),
    Pool(factor=2, mode="bilinear"),
    Pool(factor=3, mode="bilinear"),
    AdaptivePool(rows=4, cols=5),
    AdaptivePool(rows=3, cols=3, frames=1),
]
DOES_NOT_COMMUTE: list[tuple[BlockSpec, ...]] = [
    *((LINEAR, Pool(factor=2, mode="max", odd=odd)) for odd in ("error", "drop", "reflect", "overlap")),
    *((LINEAR, Activation(function=function), Pool(factor=2)) for function in FUNCTIONS),
    (LINEAR, Norm(), Pool(factor=2)),
    (LINEAR, Norm(norm="rms_no_scale"), AdaptivePool(rows=2, cols=2)),
    (LINEAR, PEG(), Pool(factor=2, mode="bilinear")),
    (LINEAR, Merge(), Pool(factor=2)),
    (GLU(hidden_dim=3, dim=3), Pool(factor=2)),
]


def early_pools(spec: ConnectorSpec, grid: Grid, mode: Mode) -> list[list[str]]:
    """The blocks of each place where a pool goes before a Linear."""
    with everything_pays():
        applied = plan_rewrites(spec, grid, vision_dim=DIM, llm_dim=5, mode=mode)
    pieces = [piece for one in applied for piece in (one, *one.parts)]
    return [
        [block.spec.kind for block in piece.blocks]
        for piece in pieces
        if piece.rewrite and piece.rewrite.name == "early pool"
    ]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("blocks", DOES_NOT_COMMUTE, ids=lambda blocks: "-".join(one.kind for one in blocks))
def test_what_does_not_commute_is_not_swapped(blocks: tuple[BlockSpec, ...], mode: Mode) -> None:
    spec, grid = ConnectorSpec(name="chain", blocks=blocks), Grid(8, 12)
    assert early_pools(spec, grid, mode) == []
    # and it would be wrong: the pool first, then the rest
    connector, x = build(spec), features(grid)
    *rest, pool = place_blocks(spec, grid, vision_dim=DIM, llm_dim=5)
    if pool.dim % DIM == 0 or isinstance(pool.spec, Pool | AdaptivePool):
        swapped = connector.with_program([InOrder([pool, *rest])])
        with torch.no_grad():
            assert (swapped(x, grid) - connector(x, grid)).abs().max() > 1e-3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("pool", COMMUTES, ids=str)
def test_every_mean_goes_before_the_linear(pool: BlockSpec, mode: Mode) -> None:
    grid = Grid(10, 12, frames=2)
    spec = ConnectorSpec(name="chain", blocks=(Linear(dim=6), Activation(), LINEAR, pool))
    assert early_pools(spec, grid, mode) == [["linear", pool.kind]]
    connector, x = build(spec), features(grid)
    with torch.no_grad():
        assert_same(connector.optimized(mode=mode, grid=grid)(x, grid), connector(x, grid), 1e-12)


@pytest.mark.parametrize("kind", ["layer", "rms", "rms_one_plus"])
@pytest.mark.parametrize("order", ["row_col_channel", "channel_row_col"])
@pytest.mark.parametrize("odd", ["error", "pad"])
def test_a_norm_is_folded_through_a_merge_unless_zeros_are_padded(kind: str, order: str, odd: str) -> None:
    grid = Grid(6, 4) if odd == "error" else Grid(5, 3)
    merge = Merge(rows=3, cols=2, order=order, odd=odd)
    spec = ConnectorSpec(name="chain", blocks=(Norm(norm=kind), merge, Linear(dim=5, has_bias=kind == "layer")))
    with everything_pays():
        applied = plan_rewrites(spec, grid, vision_dim=DIM, llm_dim=5, mode="inference")
        rewritten = build(spec).optimized(mode="inference", grid=grid)
    pieces = [piece for one in applied for piece in (one, *one.parts)]
    assert any(one.rewrite and one.rewrite.name == "fold norm" for one in pieces) == (odd == "error")
    x = features(grid)
    with torch.no_grad():
        assert_same(rewritten(x, grid), build(spec)(x, grid), 1e-12 if kind != "rms_one_plus" else 1e-6)


def test_a_pool_that_gives_more_tokens_stays_behind_the_linear() -> None:
    spec = ConnectorSpec(name="chain", blocks=(LINEAR, AdaptivePool(rows=12, cols=12)))
    assert early_pools(spec, Grid(6, 6), "inference") == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NAMES)
def test_every_method_keeps_its_weights_and_its_tokens(name: str, mode: Mode) -> None:
    torch.manual_seed(0)
    connector = small(name).build(vision_dim=VISION_DIM, llm_dim=LLM_DIM).double()
    with everything_pays():
        rewritten = connector.optimized(mode=mode, grid=GRID)
        assert list(rewritten.state_dict()) == list(connector.state_dict())
        own = dict(connector.named_parameters())
        assert all(parameter is own[key] for key, parameter in rewritten.named_parameters())
        x = features(GRID, dim=VISION_DIM, batch=3)
        with torch.no_grad():
            assert_same(rewritten(x, GRID), connector(x, GRID), 1e-10)
        rewritten.float()
        leaves_its_input_alone(rewritten, GRID)
        if name not in ("c_abstractor", "d_abstractor"):  # their positions are learned for one grid
            packs_as_it_batches(rewritten, GRID, OTHER_GRID)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["ldpv2", "pool", "concat_mlp", "pixel_shuffle"])
def test_sixteen_bits_are_no_worse_than_in_the_original(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    connector = small(name).build(vision_dim=VISION_DIM, llm_dim=LLM_DIM).to(dtype).double()
    x = features(GRID, dim=VISION_DIM).to(dtype)
    with torch.no_grad():
        want = connector(x.double(), GRID)
        plain = connector.to(dtype)(x, GRID)
        with everything_pays():
            got = connector.optimized(mode="inference", grid=GRID)(x, GRID)
    assert got.dtype == dtype
    errors = [(one.double() - want).square().mean().sqrt().item() for one in (got, plain)]
    assert errors[0] < 1.1 * errors[1]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_activation_in_place_has_the_same_numbers(function: ActivationKind) -> None:
    x = torch.randn(40, 7) * 3
    want = activate(x, function)
    got = activate_in_place(x, function)
    assert torch.equal(got, want)
    assert got.data_ptr() == x.data_ptr()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("name", "options"), [("ldpv2", {"out_grid": (4, 6)}), ("pool", {"factor": 2, "mode": "bilinear"})]
)
def test_operations_fall_by_what_was_predicted(name: str, options: dict[str, object], mode: Mode) -> None:
    spec = method(name, **options)
    connector = spec.build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)
    applied = plan_rewrites(spec, GRID, vision_dim=VISION_DIM, llm_dim=LLM_DIM, mode=mode)
    predicted = [sum(one.before.flops for one in applied), sum(one.after.flops for one in applied)]
    counted = []
    for one in (connector, connector.optimized(mode=mode, grid=GRID)):
        x = torch.randn(1, GRID.size, VISION_DIM)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            one(x, GRID)
        counted.append(counter.get_total_flops())
    assert counted == predicted
    assert counted[0] > 1.7 * counted[1]


@torch.no_grad()
def peak_bytes(connector: Connector, x: Tensor, grid: Grid) -> int:
    connector(x, grid)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        connector(x, grid)
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


@pytest.mark.parametrize(
    ("name", "options", "batch", "ratio"),
    [
        ("ldpv2", {}, 8, 0.45),
        ("ldpv2", {}, 1, 0.65),
        ("pool", {"mode": "bilinear"}, 8, 0.45),
        ("mlp", {}, 8, 0.65),
        ("pixel_shuffle", {}, 8, 0.85),
    ],
)
def test_inference_holds_less_at_once(name: str, options: dict[str, object], batch: int, ratio: float) -> None:
    grid, x = Grid(32, 32), torch.randn(batch, 1024, 64)
    connector = method(name, **options).build(vision_dim=64, llm_dim=256)
    rewritten = connector.optimized(mode="inference", grid=grid)
    assert peak_bytes(rewritten, x, grid) < ratio * peak_bytes(connector, x, grid)


def test_a_program_in_slices_can_be_differentiated_to_its_input() -> None:
    spec, grid = method("ldpv2", out_grid=(4, 6)), GRID
    connector = spec.build(vision_dim=DIM, llm_dim=5).double()
    x = features(grid).requires_grad_()
    with everything_pays():
        rewritten = connector.optimized(mode="inference", grid=grid)
        (got,) = torch.autograd.grad(rewritten(x, grid).square().sum(), x)
    (want,) = torch.autograd.grad(connector(x, grid).square().sum(), x)
    assert_same(got, want, 1e-10)


def test_a_connector_that_nothing_pays_for_keeps_its_plain_path() -> None:
    connector = method("mlp").build(vision_dim=DIM, llm_dim=5)
    assert len(connector.optimized(mode="train", grid=GRID).program) == 0


@pytest.mark.unchecked
@pytest.mark.parametrize("name", ["ldpv2", "pool", "pixel_shuffle"])
def test_a_program_in_slices_compiles_and_exports_with_a_free_batch(name: str) -> None:
    torch.manual_seed(0)
    connector = small(name).build(vision_dim=VISION_DIM, llm_dim=LLM_DIM).eval()
    x = torch.randn(3, GRID.size, VISION_DIM)
    with everything_pays(), torch.no_grad():
        rewritten = connector.optimized(mode="inference", grid=GRID)
        torch.compiler.reset()
        compiled = torch.compile(rewritten, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x, GRID), connector(x, GRID), atol=1e-5, rtol=1e-5)
        batch = torch.export.Dim("batch", min=2, max=64)
        exported = torch.export.export(rewritten.on_grid(GRID), (x,), dynamic_shapes=({0: batch},))
        more = torch.cat([x, x])
        torch.testing.assert_close(exported.module()(more), connector(more, GRID), atol=1e-5, rtol=1e-5)
