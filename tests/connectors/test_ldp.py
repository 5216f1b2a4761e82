"""LDP and LDPv2: MobileVLM's convolutional projectors."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import opticnerve as on
from connectors import by_hand, contract
from opticnerve.checkpoints import published_tensors
from opticnerve.connectors.blocks import InvertedResidual
from opticnerve.connectors.blocks.squeeze_excite import divisible
from opticnerve.errors import GridError, SpecError


def fuzzy(connector: on.Connector) -> on.Connector:
    """The connector with weights that are far from their start, so that every one of them shows."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in connector.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return connector


def test_ldpv2_counts_what_the_paper_has() -> None:
    spec = on.methods.ldpv2(out_grid=(12, 12))
    assert spec.num_tokens(on.Grid(24, 24)) == 144
    assert spec.num_params(vision_dim=1024, llm_dim=2048) == 6_316_032
    mlp = on.methods.mlp().num_params(vision_dim=1024, llm_dim=2048)
    assert spec.num_params(vision_dim=1024, llm_dim=2048) - mlp == 20_480


def test_ldp_counts_what_the_paper_has() -> None:
    spec = on.methods.ldp()
    assert spec.num_tokens(on.Grid(24, 24)) == 144
    assert spec.num_params(vision_dim=1024, llm_dim=2048) == 18_936_832


@pytest.mark.parametrize("rows_cols", [(1, 1), (8, 8), (27, 27), (5, 40)])
def test_ldpv2_always_gives_its_own_grid(rows_cols: tuple[int, int]) -> None:
    spec = on.methods.ldpv2()
    grid = on.Grid(*rows_cols)
    assert spec.out_grid(grid) == on.Grid(12, 12)
    contract.gives_the_planned_tokens(spec.build(vision_dim=4, llm_dim=8), grid)


@pytest.mark.parametrize(("grid", "out"), [((7, 7), (4, 4)), ((27, 27), (14, 14)), ((5, 8), (3, 4)), ((1, 2), (1, 1))])
def test_ldp_rounds_odd_sides_up(grid: tuple[int, int], out: tuple[int, int]) -> None:
    spec = on.methods.ldp()
    assert spec.out_grid(on.Grid(*grid)) == on.Grid(*out)
    contract.gives_the_planned_tokens(spec.build(vision_dim=4, llm_dim=8), on.Grid(*grid))


@pytest.mark.parametrize(("grid", "out_grid"), [((5, 7), (3, 4)), ((3, 4), (5, 6))], ids=["shrinks", "enlarges"])
@torch.no_grad()
def test_ldpv2_is_mlp_bins_and_a_convolution_added_to_its_input(
    grid: tuple[int, int], out_grid: tuple[int, int]
) -> None:
    connector = fuzzy(on.methods.ldpv2(out_grid=out_grid).build(vision_dim=6, llm_dim=8))
    features = torch.randn(1, grid[0] * grid[1], 6)
    theirs = published_tensors(connector, layout="mobilevlm_v2")
    hidden = F.gelu(features[0] @ theirs["mlp.mlp.0.weight"].T + theirs["mlp.mlp.0.bias"])
    hidden = hidden @ theirs["mlp.mlp.2.weight"].T + theirs["mlp.mlp.2.bias"]
    pooled = by_hand.bins(hidden.reshape(*grid, 8), rows=out_grid[0], cols=out_grid[1])
    want = pooled + by_hand.depthwise(pooled, theirs["peg.peg.0.weight"][:, 0]) + theirs["peg.peg.0.bias"]
    torch.testing.assert_close(connector(features, on.Grid(*grid))[0], want.flatten(0, 1), atol=2e-5, rtol=1e-5)


def _ldp_block(image: Tensor, theirs: dict[str, Tensor], number: int) -> Tensor:
    part = {
        name.removeprefix(f"model.mb_block.{number}.block."): tensor
        for name, tensor in theirs.items()
        if f"mb_block.{number}." in name
    }
    hidden = by_hand.depthwise(image, part["0.0.weight"][:, 0], stride=number)
    hidden = by_hand.normed(hidden, part["0.1.weight"], part["0.1.bias"], 1e-5)
    hidden = hidden * (hidden + 3).clamp(0, 6) / 6
    squeezed = (part["1.fc1.weight"][:, :, 0, 0] @ hidden.mean((0, 1)) + part["1.fc1.bias"]).clamp(min=0)
    scale = ((part["1.fc2.weight"][:, :, 0, 0] @ squeezed + part["1.fc2.bias"] + 3) / 6).clamp(0, 1)
    mixed = (hidden * scale) @ part["2.0.weight"][:, :, 0, 0].T
    return by_hand.normed(mixed, part["2.1.weight"], part["2.1.bias"], 1e-5)


@torch.no_grad()
def test_ldp_is_what_the_paper_draws_on_a_grid_that_is_not_square() -> None:
    connector = fuzzy(on.methods.ldp().build(vision_dim=6, llm_dim=16))
    features = torch.randn(1, 15, 6)
    theirs = published_tensors(connector, layout="mobilevlm_v1")
    hidden = F.gelu(features[0] @ theirs["model.mlp.1.weight"].T + theirs["model.mlp.1.bias"])
    image = (hidden @ theirs["model.mlp.3.weight"].T + theirs["model.mlp.3.bias"]).reshape(3, 5, 16)
    image = image + _ldp_block(image, theirs, 1)
    want = _ldp_block(image, theirs, 2)
    assert want.shape == (2, 3, 16)
    torch.testing.assert_close(connector(features, on.Grid(3, 5))[0], want.flatten(0, 1), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("spec", [on.methods.ldp(), on.methods.ldpv2(out_grid=(2, 3))], ids=lambda spec: spec.name)
@torch.no_grad()
def test_a_video_gives_the_tokens_of_its_frames(spec: on.ConnectorSpec) -> None:
    connector = spec.build(vision_dim=6, llm_dim=8)
    frames = torch.randn(3, 20, 6)
    video = connector(frames.reshape(1, 60, 6), on.Grid(4, 5, frames=3))
    torch.testing.assert_close(video[0], connector(frames, on.Grid(4, 5)).flatten(0, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("grid", [on.Grid(7, 9), on.Grid(4, 6, frames=3)], ids=str)
@pytest.mark.parametrize(
    "spec", [on.methods.ldp(), on.methods.ldp(factor=3), on.methods.ldpv2(out_grid=(2, 3))], ids=lambda spec: spec.name
)
def test_operations_are_counted_on_odd_grids_and_videos(spec: on.ConnectorSpec, grid: on.Grid) -> None:
    contract.counts_its_flops(spec.build(vision_dim=6, llm_dim=8), grid)


@pytest.mark.parametrize(("channels", "squeezed"), [(1, 8), (6, 8), (16, 16), (22, 24), (27, 32), (512, 512)])
def test_the_squeeze_is_a_multiple_of_eight_and_hardly_smaller(channels: int, squeezed: int) -> None:
    assert divisible(channels, 8) == squeezed


@pytest.mark.parametrize("name", ["ldp", "ldpv2"])
def test_prefix_tokens_are_refused(name: str) -> None:
    with pytest.raises(GridError, match="works on places, but 1 \\+ 24 x 24 begins with prefix tokens \\(1\\)"):
        on.method(name).num_tokens(on.Grid(24, 24, prefix=1))


def test_a_stride_below_one_is_refused() -> None:
    with pytest.raises(SpecError, match="inverted_residual needs a whole stride of at least 1, got 0"):
        InvertedResidual(stride=0)
