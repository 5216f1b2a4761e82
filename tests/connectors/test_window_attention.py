"""Window attention and the window Q-Former, against slow references and the contract."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from connectors import contract
from opticnerve import LLM, Connector, ConnectorSpec, Grid
from opticnerve.connectors.blocks import Linear, WindowAttention, WindowQFormer
from opticnerve.connectors.blocks.window_attention import WindowAttentionBlock
from opticnerve.connectors.blocks.window_qformer import WindowQFormerBlock, WindowStart
from opticnerve.errors import GridError, SpecError

SPECS = {
    "self": ConnectorSpec(name="self", blocks=(WindowAttention(num_heads=4, head_dim=8), Linear())),
    "mean": ConnectorSpec(
        name="mean", blocks=(WindowAttention(query="mean", dim=LLM, num_heads=4, head_dim=5, kv_group=2, odd="mask"),)
    ),
    "qformer": ConnectorSpec(
        name="qformer",
        blocks=(WindowQFormer(side=4, query_side=2, num_layers=2, num_heads=4, feed_forward_dim=40), Linear()),
    ),
    "corner": ConnectorSpec(
        name="corner",
        blocks=(WindowQFormer(side=4, query_side=2, start="bottom_left", num_heads=4, feed_forward_dim=40), Linear()),
    ),
}


@pytest.fixture
def connector(name: str) -> Connector:
    torch.manual_seed(0)
    return SPECS[name].build(vision_dim=32, llm_dim=48)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(
    "check",
    [
        contract.gives_the_planned_tokens,
        contract.counts_its_flops,
        contract.states_memory_for_input_and_output,
        contract.teaches_every_parameter,
        contract.keeps_images_apart,
        contract.leaves_its_input_alone,
        contract.works_in_bfloat16,
        contract.survives_its_state_dict,
    ],
    ids=lambda check: check.__name__,
)
def test_a_window_block_keeps_the_contract(connector: Connector, check: Callable[[Connector, Grid], None]) -> None:
    check(connector, Grid(8, 12))
    contract.counts_its_parameters(connector)


@pytest.mark.filterwarnings("ignore:Profiler clears events:UserWarning")
@pytest.mark.parametrize("name", SPECS)
def test_a_window_block_states_its_peak_memory(name: str) -> None:
    contract.states_its_peak_memory(SPECS[name].build(vision_dim=256, llm_dim=384), Grid(24, 24))


@pytest.mark.parametrize("name", SPECS)
def test_a_window_block_packs_as_it_batches_and_survives_json(connector: Connector) -> None:
    contract.packs_as_it_batches(connector, Grid(8, 12), Grid(4, 8))
    assert ConnectorSpec.from_json(connector.spec.to_json()) == connector.spec


@pytest.mark.unchecked
@pytest.mark.parametrize("name", ["self", "mean", "qformer", "corner"])
def test_a_window_block_compiles_and_exports(connector: Connector) -> None:
    grid = Grid(8, 12) if name_of(connector) != "mean" else Grid(7, 11)
    features = contract.random_features(connector, grid)
    torch.compiler.reset()
    compiled = torch.compile(connector, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(features, grid), connector(features, grid))
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(connector.on_grid(grid), (features,), dynamic_shapes=({0: batch},))
    more = torch.cat([features, features])
    torch.testing.assert_close(program.module()(more), connector(more, grid), atol=1e-5, rtol=1e-5)


def name_of(connector: Connector) -> str:
    return connector.spec.name


def slow_attention(block: WindowAttentionBlock, query: Tensor, members: Tensor) -> Tensor:
    """Head by head, for one window; members (n, dim)."""
    own, spec = block.attention, block.spec
    q, k, v = own.query(query), own.key(members), own.value(members)
    heads: list[Tensor] = []
    for head in range(spec.num_heads):
        shared = head // spec.kv_group
        mine, theirs = (slice(i * spec.head_dim, (i + 1) * spec.head_dim) for i in (head, shared))
        scores = q[:, mine] @ k[:, theirs].T / spec.head_dim**0.5
        heads.append(scores.softmax(-1) @ v[:, theirs])
    return own.out(torch.cat(heads, -1))


@given(rows=st.integers(1, 7), cols=st.integers(1, 7), side=st.integers(1, 3), frames=st.integers(1, 2))
@pytest.mark.parametrize("query", ["self", "mean"])
@torch.no_grad()
def test_a_window_looks_at_its_own_patches_and_no_others(
    query: str, rows: int, cols: int, side: int, frames: int
) -> None:
    grid = Grid(rows, cols, frames=frames)
    spec = WindowAttention(side=side, query=query, dim=7, num_heads=4, head_dim=3, kv_group=2, odd="mask")
    block = spec.build(6)
    x = torch.randn(1, grid.size, 6, generator=torch.Generator().manual_seed(0))
    maps = x[0].unflatten(0, (frames, rows, cols))
    down, across = -rows % side // 2, -cols % side // 2
    want = torch.zeros(frames, rows, cols, 7)
    means: list[Tensor] = []
    for frame in range(frames):
        for top in range(-down, rows, side):
            for left in range(-across, cols, side):
                places = (frame, slice(max(top, 0), top + side), slice(max(left, 0), left + side))
                members = maps[places].flatten(0, 1)
                if query == "mean":
                    means.append(slow_attention(block, members.mean(0, keepdim=True), members)[0])
                else:
                    want[places] = slow_attention(block, members, members).reshape(want[places].shape)
    got = block(x, grid)[0]
    expected = torch.stack(means) if query == "mean" else want.flatten(0, 2)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert len(got) == spec.out_grid(grid).size


def test_a_grid_that_windows_do_not_divide_is_refused_or_masked() -> None:
    with pytest.raises(GridError, match=r"cannot divide a 5 x 6 grid by 2.*To let windows reach over the edges, set"):
        WindowAttention().out_grid(Grid(5, 6))
    assert WindowAttention(query="mean", odd="mask").out_grid(Grid(5, 6)) == Grid(3, 3)
    assert WindowAttention(odd="mask").out_grid(Grid(5, 6)) == Grid(5, 6)


def test_a_window_attention_that_cannot_be_is_refused() -> None:
    with pytest.raises(SpecError, match="needs side of at least 1, got 0"):
        WindowAttention(side=0)
    with pytest.raises(SpecError, match="cannot share keys and values of 4 heads by 3"):
        WindowAttention(num_heads=4, kv_group=3)


@pytest.mark.parametrize(
    ("start", "corner"),
    [("mean", None), ("top_left", (0, 0)), ("top_right", (0, 1)), ("bottom_left", (1, 0)), ("bottom_right", (1, 1))],
)
@torch.no_grad()
def test_a_window_qformer_is_the_same_qformer_in_every_window(
    start: WindowStart, corner: tuple[int, int] | None
) -> None:
    grid = Grid(8, 12, frames=2)
    spec = WindowQFormer(side=4, query_side=2, start=start, num_layers=2, num_heads=4, feed_forward_dim=12)
    torch.manual_seed(0)
    block = spec.build(8)
    assert isinstance(block, WindowQFormerBlock)
    x = torch.randn(1, grid.size, 8)
    maps = x[0].unflatten(0, (2, 8, 12))
    got = block(x, grid)[0].unflatten(0, (2, 4, 6))
    for frame in range(2):
        for row in range(2):
            for col in range(3):
                window = maps[frame, 4 * row : 4 * row + 4, 4 * col : 4 * col + 4]
                squares = window.unflatten(0, (2, 2)).unflatten(2, (2, 2))
                if corner is None:
                    starts = squares.mean((1, 3)).flatten(0, 1)
                else:
                    starts = squares[:, corner[0], :, corner[1]].flatten(0, 1)
                queries = block.norm(block.queries + starts)
                for layer in block.layers:
                    queries = layer(queries, window.flatten(0, 1) + block.positions)
                here = got[frame, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2]
                torch.testing.assert_close(here.flatten(0, 1), queries[0], atol=1e-5, rtol=1e-5)


def test_queries_start_from_uneven_areas_where_the_sides_do_not_divide() -> None:
    spec = WindowQFormer(side=4, query_side=3, num_heads=2, feed_forward_dim=12)
    assert spec.out_grid(Grid(4, 8)) == Grid(3, 6)
    block = spec.build(8)
    assert block(torch.randn(2, 32, 8), Grid(4, 8)).shape == (2, 18, 8)


def test_a_window_qformer_that_cannot_be_is_refused() -> None:
    with pytest.raises(SpecError, match="query_side from 1 to side, got query_side=5 and side=4"):
        WindowQFormer(side=4, query_side=5)
    with pytest.raises(SpecError, match='start="top_left" takes one of each 2 x 2 patches, so side must be twice'):
        WindowQFormer(side=8, query_side=2, start="top_left")
    with pytest.raises(GridError, match="cannot divide a 8 x 9 grid"):
        WindowQFormer().out_grid(Grid(8, 9))
