"""TokenPacker: point queries that attend to their own regions."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import opticnerve as on
from connectors import contract
from opticnerve.checkpoints import published_tensors
from opticnerve.errors import GridError, SpecError

GRIDS = {2: on.Grid(4, 6), 3: on.Grid(6, 3), 4: on.Grid(4, 8)}


def small(**options: object) -> on.ConnectorSpec:
    return on.method("token_packer", attn_dim=8, num_heads=2, **options)


def middle(region: Tensor) -> Tensor:
    """What bilinear interpolation finds in the middle of an r x r region."""
    return {2: region, 3: region[1:2, 1:2], 4: region[1:3, 1:3]}[len(region)].mean((0, 1))


def by_loops(connector: on.Connector, features: Tensor, points: Tensor, factor: int) -> Tensor:
    """One region after another, with torch's own attention. Features and points are (rows, cols, dim)."""
    theirs = published_tensors(connector, layout="token_packer")
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    attention.load_state_dict(
        {name.removeprefix("clip_attn."): tensor for name, tensor in theirs.items() if name.startswith("clip_attn.")}
    )

    def norm(tokens: Tensor, name: str) -> Tensor:
        return F.layer_norm(tokens, (8,), theirs[f"ln_{name}_1.weight"], theirs[f"ln_{name}_1.bias"], 1e-6)

    def mlp(tokens: Tensor, name: str) -> Tensor:
        hidden = F.gelu(F.linear(tokens, theirs[f"{name}.0.weight"], theirs[f"{name}.0.bias"]))
        return F.linear(hidden, theirs[f"{name}.2.weight"], theirs[f"{name}.2.bias"])

    tokens: list[Tensor] = []
    for row in range(0, features.shape[0], factor):
        for col in range(0, features.shape[1], factor):
            region = features[row : row + factor, col : col + factor].flatten(0, 1)
            point = middle(points[row : row + factor, col : col + factor])
            query = norm(F.linear(point, theirs["q_proj_1.weight"]), "q")
            key, value = norm(mlp(region, "k_proj_1"), "k"), norm(mlp(region, "v_proj_1"), "v")
            answer, _ = attention(query[None, None], key[None], value[None])
            tokens.append(mlp(answer[0, 0], "mlp"))
    return torch.stack(tokens)


@pytest.fixture
def scattered(factor: int, query: str) -> on.Connector:
    levels = 5 if query == "extra" else 4
    connector = small(factor=factor, query=query).build(vision_dim=3 * levels, llm_dim=10)
    with torch.no_grad():
        for parameter in connector.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape))
    return connector


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("query", ["last", "extra"])
@torch.no_grad()
def test_each_token_is_the_answer_of_its_region(scattered: on.Connector, factor: int, query: str) -> None:
    grid = GRIDS[factor]
    features = torch.randn(2, grid.size, scattered.vision_dim)
    tokens = scattered(features, grid)
    for image, got in zip(features.unflatten(1, (grid.rows, grid.cols)), tokens, strict=True):
        want = by_loops(scattered, image[..., :12], image[..., -3:], factor)
        torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_a_token_hears_nothing_from_outside_its_region() -> None:
    connector = small().build(vision_dim=12, llm_dim=10)
    features = torch.randn(1, 24, 12)
    changed = features.clone()
    changed[0, 7] += 1.0  # row 1, column 1 of 4 x 6: the first region
    differs = (connector(changed, on.Grid(4, 6)) - connector(features, on.Grid(4, 6))).abs().amax(-1)[0]
    assert differs[0] > 1e-4
    assert differs[1:].max() == 0


@torch.no_grad()
def test_an_extra_level_that_repeats_the_last_one_changes_nothing() -> None:
    last = small().build(vision_dim=12, llm_dim=10)
    extra = small(query="extra").build(vision_dim=15, llm_dim=10)
    extra.load_state_dict(last.state_dict())
    features = torch.randn(2, 24, 12)
    repeated = torch.cat([features, features[..., -3:]], dim=-1)
    torch.testing.assert_close(extra(repeated, on.Grid(4, 6)), last(features, on.Grid(4, 6)))


def test_the_spec_says_how_many_levels_it_reads() -> None:
    assert on.methods.token_packer().num_levels == 4
    assert on.methods.token_packer(query="extra").num_levels == 5
    assert on.ConnectorSpec.from_json(small(query="extra").to_json()).num_levels == 5


@pytest.mark.parametrize(("factor", "tokens"), [(2, 144), (3, 64), (4, 36)])
def test_the_paper_has_144_64_and_36_tokens(factor: int, tokens: int) -> None:
    assert on.methods.token_packer(factor=factor).num_tokens(on.Grid(24, 24)) == tokens


def test_the_release_has_these_tensors() -> None:
    with torch.device("meta"):
        connector = on.methods.token_packer().build(vision_dim=4096, llm_dim=4096)
    shapes = {name: tuple(tensor.shape) for name, tensor in published_tensors(connector, layout="token_packer").items()}
    assert len(shapes) == 23
    assert shapes["q_proj_1.weight"] == (1024, 1024)
    assert shapes["k_proj_1.0.weight"] == shapes["v_proj_1.0.weight"] == (1024, 4096)
    assert shapes["clip_attn.in_proj_weight"] == (3072, 1024)
    assert shapes["mlp.0.weight"] == (4096, 1024)


@torch.no_grad()
def test_a_video_gives_the_tokens_of_its_frames() -> None:
    connector = small().build(vision_dim=12, llm_dim=10)
    frames = torch.randn(3, 24, 12)
    video = connector(frames.reshape(1, 72, 12), on.Grid(4, 6, frames=3))
    torch.testing.assert_close(video[0], connector(frames, on.Grid(4, 6)).flatten(0, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("query", ["last", "extra"])
def test_operations_are_counted(scattered: on.Connector, factor: int) -> None:
    grid = GRIDS[factor]
    contract.counts_its_flops(scattered, grid)
    contract.counts_its_flops(scattered, on.Grid(grid.rows, grid.cols, frames=2))


def test_a_grid_that_regions_do_not_tile_is_refused_with_the_factors_that_fit() -> None:
    spec = small()
    with pytest.raises(
        GridError, match=r"cannot divide a 27 x 27 grid by 2: .* Factors that fit: 3, 9, 27\. A pool in mode"
    ):
        spec.num_tokens(on.Grid(27, 27))
    with pytest.raises(GridError, match=r"cannot divide a 3 x 4 grid by 2"):
        spec.build(vision_dim=12, llm_dim=8)(torch.randn(1, 12, 12), on.Grid(3, 4))


@pytest.mark.parametrize(("vision_dim", "query"), [(13, "last"), (16, "extra")])
def test_levels_of_unequal_widths_are_refused(vision_dim: int, query: str) -> None:
    with pytest.raises(SpecError, match=rf"{vision_dim} channels do not hold 4 encoder levels of one width"):
        small(query=query).build(vision_dim=vision_dim, llm_dim=8)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(
        SpecError, match="region attention cannot divide 8 channels among 3 heads; numbers that fit: 1, 2, 4, 8"
    ):
        on.methods.token_packer(attn_dim=8, num_heads=3).build(vision_dim=12, llm_dim=8)


@pytest.mark.parametrize("name", ["factor", "num_heads", "num_levels"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match=f"region_attention needs {name} of at least 1, got 0"):
        on.method("token_packer", **{name: 0})
