"""Resamplers against slow, obvious references: positions on queries and keys, never on values."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from connectors import contract
from opticnerve import Connector, ConnectorSpec, Grid, Queries, methods
from opticnerve.checkpoints import LAYOUTS
from opticnerve.connectors.blocks import Resampler
from opticnerve.connectors.blocks.positions import resize_table, sincos_table
from opticnerve.connectors.blocks.resampler import ResamplerBlock
from opticnerve.errors import GridError, SpecError

DIM = 16
sides = st.integers(1, 6)


def features(grid: Grid, dim: int = DIM) -> Tensor:
    return torch.randn(2, grid.size, dim, generator=torch.Generator().manual_seed(0))


def slow_place(row: int, col: int, dim: int) -> list[float]:
    """Sines and cosines of the column, then of the row."""
    values = []
    for index in (col, row):
        angles = [index / 10000 ** (channel / (dim // 4)) for channel in range(dim // 4)]
        values += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
    return values


@given(rows=sides, cols=sides)
def test_the_first_half_of_the_channels_tells_the_column(rows: int, cols: int) -> None:
    want = [slow_place(row, col, 8) for row in range(rows) for col in range(cols)]
    torch.testing.assert_close(sincos_table(rows=rows, cols=cols, dim=8), torch.tensor(want))


@given(rows=st.integers(2, 6), cols=st.integers(2, 6), out_rows=sides, out_cols=sides)
def test_resizing_a_table_keeps_rows_and_columns_apart(rows: int, cols: int, out_rows: int, out_cols: int) -> None:
    across = torch.arange(float(cols)).repeat(rows)[:, None]
    resized = resize_table(across, rows=rows, cols=cols, out_rows=out_rows, out_cols=out_cols)
    lines = resized.reshape(out_rows, out_cols)
    torch.testing.assert_close(lines, lines[:1].expand(out_rows, -1))
    assert (lines[0].diff() > 0).all()


def test_resizing_a_table_to_its_own_size_changes_nothing() -> None:
    table = sincos_table(rows=3, cols=5, dim=8)
    assert resize_table(table, rows=3, cols=5, out_rows=3, out_cols=5) is table
    image = table.reshape(1, 3, 5, 8).permute(0, 3, 1, 2)
    always = nn.functional.interpolate(image, size=(3, 5), mode="bicubic")  # MiniCPM-V 2.0 with adaptive=False
    assert torch.equal(always, image)


def slow_resampler(block: ResamplerBlock, x: Tensor, key_positions: Tensor, query_positions: Tensor) -> Tensor:
    """The same with torch's own multi-head attention, positions on Q and K only."""
    attention = block.attention
    theirs = nn.MultiheadAttention(DIM, attention.num_heads, batch_first=True)
    parts = [attention.query, attention.key, attention.value]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        theirs.out_proj.load_state_dict(attention.out.state_dict())
    queries = nn.functional.layer_norm(block.queries, (DIM,), block.query_norm.weight, block.query_norm.bias, 1e-6)
    return theirs((queries + query_positions).expand(len(x), -1, -1), x + key_positions, x)[0]


def randomised(spec: Resampler) -> ResamplerBlock:
    torch.manual_seed(0)
    block = spec.build(DIM)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    return block


@pytest.mark.parametrize("grid", [Grid(4, 6), Grid(2, 3), Grid(5, 1), Grid(3, 2, frames=2)], ids=str)
@pytest.mark.parametrize("key_positions", ["resized", "computed"])
@pytest.mark.parametrize("has_query_positions", [True, False])
@torch.no_grad()
def test_a_resampler_adds_positions_to_queries_and_keys_alone(
    grid: Grid, key_positions: str, has_query_positions: bool
) -> None:
    block = randomised(
        Resampler(query_grid=(2, 3), head_dim=4, has_query_positions=has_query_positions, key_positions=key_positions)
    )
    own = sincos_table(rows=2, cols=3, dim=DIM)
    keys = sincos_table(rows=grid.rows, cols=grid.cols, dim=DIM)
    if key_positions == "resized":
        image = own.reshape(1, 2, 3, DIM).permute(0, 3, 1, 2)
        resized = nn.functional.interpolate(image, size=(grid.rows, grid.cols), mode="bicubic")
        keys = resized.permute(0, 2, 3, 1).flatten(0, 2)
    x = features(grid)
    want = slow_resampler(block, x, keys.repeat(grid.frames, 1), own if has_query_positions else torch.zeros(6, DIM))
    torch.testing.assert_close(block(x, grid), want, atol=1e-4, rtol=1e-4)


def test_heads_are_128_channels_wide_and_never_none() -> None:
    assert [Resampler().num_heads(dim) for dim in (48, 128, 1152, 4096)] == [1, 1, 9, 32]


@pytest.mark.parametrize("spec", [methods.qwen_vl_resampler(query_grid=(2, 3)), methods.minicpm_resampler()])
@pytest.mark.parametrize("grid", [Grid(4, 6), Grid(7, 3, frames=2)], ids=str)
def test_a_resampler_states_its_exact_work_on_any_grid(spec: ConnectorSpec, grid: Grid) -> None:
    connector = spec.build(vision_dim=20, llm_dim=32)
    contract.counts_its_flops(connector, grid)
    contract.gives_the_planned_tokens(connector, grid)
    assert spec.out_grid(grid) == Queries(spec.num_tokens(grid))


def test_the_table_is_stored_where_published_checkpoints_store_it() -> None:
    assert "blocks.2.table" in built(methods.qwen_vl_resampler(query_grid=(2, 3))).state_dict()
    assert "blocks.2.table" in built(methods.minicpm_resampler(num_queries=4, has_query_positions=True)).state_dict()
    assert "blocks.2.table" not in built(methods.minicpm_resampler()).state_dict()
    names = [name for name, _ in built(methods.qwen_vl_resampler(query_grid=(2, 3))).named_parameters()]
    assert "blocks.2.table" not in names


def built(spec: ConnectorSpec) -> Connector:
    return spec.build(vision_dim=20, llm_dim=32)


def test_qwen_vl_has_the_published_size() -> None:
    vision, dim = 1664, 4096
    attention = 4 * dim * dim + 4 * dim
    want = vision * dim + attention + 3 * 2 * dim + 256 * dim + dim * dim
    assert methods.qwen_vl_resampler().num_params(vision_dim=vision, llm_dim=dim) == want


def test_no_linear_stands_in_front_where_it_is_left_out() -> None:
    entries = LAYOUTS["minicpm_v"].entries
    assert entries is not None
    names = {entry.theirs for entry in entries(methods.minicpm_resampler(has_kv_proj=False))}
    assert "kv_proj.weight" not in names
    assert {"ln_kv.weight", "ln_post.weight", "proj", "query", "attn.in_proj_weight"} < names
    assert "kv_proj.weight" in {entry.theirs for entry in entries(methods.minicpm_resampler())}


def test_ninety_six_queries_lie_on_no_square_and_need_none() -> None:
    assert methods.minicpm_resampler().num_tokens(Grid(32, 32)) == 96
    with pytest.raises(SpecError, match="square grid, but 96 is not a square: take 81 or 100 queries"):
        methods.minicpm_resampler(has_query_positions=True)
    with pytest.raises(SpecError, match="but 96 is not a square"):
        methods.minicpm_resampler(key_positions="resized")


def test_prefix_tokens_have_no_place_to_resample_from() -> None:
    with pytest.raises(
        GridError, match="resample by position works on places, but 1 \\+ 4 x 4 begins with prefix tokens \\(1\\)"
    ):
        methods.minicpm_resampler().num_tokens(Grid(4, 4, prefix=1))


def test_widths_that_do_not_fit_are_refused_in_words() -> None:
    with pytest.raises(SpecError, match="positions need a multiple of 4 channels, got 30"):
        Resampler().build(30)
    with pytest.raises(SpecError, match="cannot divide 20 channels among 6 heads; numbers that fit: 1, 2, 4, 5, 10"):
        Resampler(head_dim=3).build(20)
    with pytest.raises(SpecError, match="got query_grid=0 x 3 and head_dim=128"):
        Resampler(query_grid=(0, 3))
