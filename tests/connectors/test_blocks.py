"""Blocks against slow, obvious references, on any grid."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from opticnerve import LLM, VISION, Grid, Queries, Width
from opticnerve.connectors.blocks import (
    PEG,
    Activation,
    AdaptivePool,
    BlockSpec,
    Downsample,
    Linear,
    Merge,
    Norm,
    Pool,
    unmerge,
)
from opticnerve.errors import GridError, SpecError
from opticnerve.grid import Places

small = st.integers(1, 4)


def features(grid: Grid, dim: int = 3) -> Tensor:
    return torch.randn(2, grid.size, dim, generator=torch.Generator().manual_seed(0))


def slow_merge(x: Tensor, grid: Grid, rows: int, cols: int, *, channel_first: bool) -> Tensor:
    """Token by token, neighbour by neighbour; zeros beyond the edge."""
    tokens = []
    for frame in range(grid.frames):
        for top in range(0, grid.rows, rows):
            for left in range(0, grid.cols, cols):
                parts = []
                for row in range(top, top + rows):
                    for col in range(left, left + cols):
                        inside = row < grid.rows and col < grid.cols
                        index = (frame * grid.rows + row) * grid.cols + col
                        parts.append(x[:, index] if inside else torch.zeros_like(x[:, 0]))
                stacked = torch.stack(parts, dim=-1 if channel_first else 1)
                tokens.append(stacked.flatten(1))
    return torch.stack(tokens, 1)


@given(h=small, w=small, rows=small, cols=small, frames=st.integers(1, 2), channel_first=st.booleans())
def test_merge_puts_each_neighbour_in_its_slot(
    h: int, w: int, rows: int, cols: int, frames: int, channel_first: bool
) -> None:
    grid = Grid(h * rows, w * cols, frames=frames)
    order = "channel_row_col" if channel_first else "row_col_channel"
    block = Merge(rows=rows, cols=cols, order=order)
    x = features(grid)
    merged = block.build(3)(x, grid)
    assert torch.equal(merged, slow_merge(x, grid, rows, cols, channel_first=channel_first))
    assert block.out_grid(grid) == Grid(h, w, frames=frames)
    assert torch.equal(unmerge(merged, grid=Grid(h, w, frames=frames), rows=rows, cols=cols, order=order), x)


@given(h=st.integers(1, 9), w=st.integers(1, 9), factor=small, frames=st.integers(1, 2))
def test_merge_pads_zeros_at_the_bottom_and_right(h: int, w: int, factor: int, frames: int) -> None:
    grid = Grid(h, w, frames=frames)
    block = Merge(rows=factor, cols=factor, odd="pad")
    x = features(grid)
    assert torch.equal(block.build(3)(x, grid), slow_merge(x, grid, factor, factor, channel_first=False))


def test_merge_is_not_pixel_unshuffle_but_for_the_order_of_channels() -> None:
    grid, x = Grid(4, 6), features(Grid(4, 6))
    unshuffled = F.pixel_unshuffle(x.mT.unflatten(2, (4, 6)), 2).flatten(2).mT
    assert torch.equal(Merge(order="channel_row_col").build(3)(x, grid), unshuffled)
    assert not torch.equal(Merge().build(3)(x, grid), unshuffled)


def test_transposed_merge_gives_the_same_tokens_column_by_column() -> None:
    grid, x = Grid(4, 6), features(Grid(4, 6))
    plain, turned = Merge(), Merge(is_transposed=True)
    assert turned.out_grid(grid) == Grid(3, 2)
    by_column = plain.build(3)(x, grid).unflatten(1, (2, 3)).transpose(1, 2).flatten(1, 2)
    assert torch.equal(turned.build(3)(x, grid), by_column)


@pytest.mark.parametrize("factor", [2, 3])
def test_a_downsample_is_a_square_merge_and_a_linear(factor: int) -> None:
    grid = Grid(6, 12, frames=2)
    x = features(grid)
    spec = Downsample(factor=factor, dim=5)
    block = spec.build(3)
    merged = Merge(rows=factor, cols=factor, order="channel_row_col").build(3)(x, grid)
    torch.testing.assert_close(block(x, grid), F.linear(merged, block.conv.weight.flatten(1), block.conv.bias))
    assert spec.out_grid(grid) == Grid(6 // factor, 12 // factor, frames=2)


@pytest.mark.parametrize("block", [Downsample(factor=3, dim=5, odd="drop"), Pool(factor=3, odd="drop")])
def test_what_is_left_over_is_dropped_but_never_everything(block: BlockSpec) -> None:
    grid = Grid(7, 4)
    assert block.out_grid(grid) == Grid(2, 1)
    whole = features(grid).unflatten(1, (7, 4))[:, :6, :3].flatten(1, 2)
    module = block.build(3)
    torch.testing.assert_close(module(features(grid), grid), module(whole, Grid(6, 3)))
    for narrow in (Grid(9, 2), Grid(2, 9)):
        with pytest.raises(GridError, match="by 3: both sides must be multiples of 3"):
            block.out_grid(narrow)


@pytest.mark.parametrize("mode", ["average", "max"])
@given(h=st.integers(1, 9), w=st.integers(1, 9), factor=small)
def test_pooling_reduces_each_whole_block(mode: str, h: int, w: int, factor: int) -> None:
    grid = Grid(h, w)
    block = Pool(factor=factor, mode=mode, odd="drop")
    if min(h, w) < factor:
        with pytest.raises(GridError, match=f"cannot pool a {h} x {w} grid by {factor}"):
            block.out_grid(grid)
        return
    x = features(grid)
    maps = x.unflatten(1, (h, w))
    slow = [
        maps[:, top : top + factor, left : left + factor].flatten(1, 2)
        for top in range(0, h - factor + 1, factor)
        for left in range(0, w - factor + 1, factor)
    ]
    want = torch.stack([part.mean(1) if mode == "average" else part.amax(1) for part in slow], 1)
    torch.testing.assert_close(block.build(3)(x, grid), want)


def test_bilinear_pooling_by_two_is_the_mean_and_by_three_the_centre() -> None:
    x = features(Grid(6, 6))
    mean = Pool(mode="average").build(3)(x, Grid(6, 6))
    torch.testing.assert_close(Pool(mode="bilinear").build(3)(x, Grid(6, 6)), mean)
    centre = x.unflatten(1, (6, 6))[:, 1::3, 1::3].flatten(1, 2)
    torch.testing.assert_close(Pool(mode="bilinear", factor=3).build(3)(x, Grid(6, 6)), centre)
    assert Pool(mode="bilinear").out_grid(Grid(27, 27)) == Grid(14, 14)


def test_pool_names_what_fits_and_what_else_there_is() -> None:
    with pytest.raises(
        GridError, match=r'cannot pool a 27 x 27 grid by 2: .* Factors that fit: 3, 9, 27\. .*odd="drop"'
    ):
        Pool().out_grid(Grid(27, 27))
    assert Pool(odd="drop").out_grid(Grid(27, 27)) == Grid(13, 13)


@given(h=st.integers(1, 7), w=st.integers(1, 7), rows=small, cols=small)
def test_adaptive_pooling_averages_overlapping_bins(h: int, w: int, rows: int, cols: int) -> None:
    x = features(Grid(h, w))
    maps, bins = x.unflatten(1, (h, w)), []
    for row in range(rows):
        for col in range(cols):
            top, bottom = row * h // rows, -(-(row + 1) * h // rows)
            left, right = col * w // cols, -(-(col + 1) * w // cols)
            bins.append(maps[:, top:bottom, left:right].mean((1, 2)))
    got = AdaptivePool(rows=rows, cols=cols).build(3)(x, Grid(h, w))
    torch.testing.assert_close(got, torch.stack(bins, 1))


def test_adaptive_pooling_over_frames_averages_frames() -> None:
    grid = Grid(2, 2, frames=4)
    x = features(grid)
    got = AdaptivePool(rows=2, cols=2, frames=2).build(3)(x, grid)
    want = x.unflatten(1, (4, 4))
    torch.testing.assert_close(got, torch.stack([want[:, :2].mean(1), want[:, 2:].mean(1)], 1).flatten(1, 2))
    assert AdaptivePool(rows=1, cols=1).out_grid(grid) == Grid(1, 1, frames=4)


def test_peg_adds_a_convolution_of_each_frame_alone() -> None:
    grid = Grid(3, 4, frames=2)
    x = features(grid)
    block = PEG().build(3)
    first = block(x[:, :12], Grid(3, 4))
    torch.testing.assert_close(block(x, grid)[:, :12], first)
    torch.testing.assert_close(first - x[:, :12], block.conv(x[:, :12].mT.unflatten(2, (3, 4))).flatten(2).mT)


@pytest.mark.parametrize("kind", ["layer", "rms", "rms_one_plus"])
def test_norms_follow_their_formula(kind: str) -> None:
    x = features(Grid(2, 2), dim=8)
    block = Norm(norm=kind, eps=0.1).build(8)
    weight = torch.rand(8)
    with torch.no_grad():
        block.norm.weight.copy_(weight)
    centred = x - x.mean(-1, keepdim=True) if kind == "layer" else x
    scale = weight + 1 if kind == "rms_one_plus" else weight
    want = centred / (centred.square().mean(-1, keepdim=True) + 0.1).sqrt() * scale
    torch.testing.assert_close(block(x, Grid(2, 2)), want)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("gelu", F.gelu),
        ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")),
        ("relu", torch.relu),
        ("silu", F.silu),
        ("hardswish", F.hardswish),
    ],
)
def test_activations_are_what_they_are_called(name: str, function: torch.nn.Module) -> None:
    x = features(Grid(2, 2))
    assert torch.equal(Activation(function=name).build(3)(x, Grid(2, 2)), function(x))


@pytest.mark.parametrize("block", [PEG(), AdaptivePool(rows=2, cols=2, frames=1), Pool(), Merge(), Downsample()])
@pytest.mark.parametrize("places", [Grid(4, 4, prefix=1), Queries(16)], ids=str)
def test_a_block_that_works_on_places_refuses_the_others_before_it_runs(block: BlockSpec, places: Places) -> None:
    with pytest.raises(GridError, match="works on places, but"):
        block.out_grid(places)


@pytest.mark.parametrize("norm", ["layer", "rms", "rms_one_plus"])
def test_a_norm_with_wider_weights_gives_back_the_type_it_was_given(norm: str) -> None:
    assert Norm(norm=norm).build(8)(torch.zeros(1, 4, 8, dtype=torch.bfloat16), Grid(2, 2)).dtype == torch.bfloat16


def test_widths_are_resolved_relative_to_input_encoder_and_llm() -> None:
    widths = {"in_dim": 64, "vision_dim": 10, "llm_dim": 7}
    assert LLM.resolve(**widths) == 7
    assert (VISION * 9 // 3).resolve(**widths) == 30
    assert Linear(dim=Width(of="in", over=4)).resolve(**widths) == Linear(dim=16)
    with pytest.raises(SpecError, match=r"a width of 7 \* 1 // 8 channels is empty: it must be at least 1"):
        (LLM // 8).resolve(**widths)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Merge(rows=0), "merge needs whole factors of at least 1, got 0 x 2"),
        (lambda: Downsample(factor=0), "downsample needs a whole factor of at least 1, got 0"),
        (lambda: Pool(factor=0), "pool needs a whole factor of at least 1, got 0"),
        (lambda: AdaptivePool(rows=0, cols=1), "adaptive pool needs a grid of at least 1 x 1, got 0 x 0 x 1"),
    ],
)
def test_blocks_refuse_empty_factors(make: object, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        make()
    assert str(raised.value) == message
