"""C-Abstractor and D-Abstractor: Honeybee's projectors."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import opticnerve as on
from connectors import by_hand, contract
from connectors.abstractors import GRID, build, c_abs, d_abs
from opticnerve.checkpoints import load_published, published_tensors
from opticnerve.connectors.blocks import FitWidth, GridPositions, RegStage
from opticnerve.errors import GridError, SpecError


def test_the_paper_s_models_count_as_published() -> None:
    dims = {"vision_dim": 1024, "llm_dim": 4096}
    assert on.methods.c_abstractor(pos_grid=(16, 16)).num_params(**dims) == 37_070_336
    assert on.methods.d_abstractor(pos_grid=(16, 16)).num_params(**dims) == 55_616_352
    assert on.methods.c_abstractor(pos_grid=(16, 16)).num_tokens(on.Grid(16, 16)) == 144
    assert on.methods.d_abstractor().num_tokens(on.Grid(24, 24)) == 144


# C-Abstractor


def _stage(image: Tensor, theirs: dict[str, Tensor], name: str) -> Tensor:
    """One bottleneck of the published tensors."""

    def step(tokens: Tensor, conv: str) -> Tensor:
        kernel = theirs[f"{name}.{conv}.conv.weight"]
        mixed = by_hand.depthwise(tokens, kernel[:, 0]) if conv == "conv2" else tokens @ kernel[:, :, 0, 0].T
        return by_hand.normed(mixed, theirs[f"{name}.{conv}.bn.weight"], theirs[f"{name}.{conv}.bn.bias"], 1e-5)

    hidden = F.silu(step(F.silu(step(image, "conv1")), "conv2"))
    squeezed = theirs[f"{name}.se.fc1.weight"][:, :, 0, 0] @ hidden.mean((0, 1)) + theirs[f"{name}.se.fc1.bias"]
    scale = theirs[f"{name}.se.fc2.weight"][:, :, 0, 0] @ F.silu(squeezed) + theirs[f"{name}.se.fc2.bias"]
    shortcut = step(image, "downsample") if f"{name}.downsample.conv.weight" in theirs else image
    return F.silu(step(hidden * scale.sigmoid(), "conv3") + shortcut)


@pytest.mark.parametrize("vision_dim", [8, 12], ids=["same_width", "other_width"])
@torch.no_grad()
def test_the_c_abstractor_is_what_the_paper_draws_on_a_grid_that_is_not_square(vision_dim: int) -> None:
    connector = build(c_abs(has_norm=True, mlp_depth=2, num_eos_tokens=2), vision_dim=vision_dim)
    theirs = published_tensors(connector, layout="honeybee_c_abs")
    assert ("net.0.b1.downsample.conv.weight" in theirs) == (vision_dim != 8)
    features = torch.randn(1, 15, vision_dim)
    image = by_hand.normed(features[0], theirs["prenorm.weight"], theirs["prenorm.bias"], 1e-6) + theirs["pos_emb"][0]
    image = by_hand.bins(_stage(image.reshape(3, 5, -1), theirs, "net.0.b1"), rows=2, cols=3)
    tokens = _stage(image, theirs, "net.2.b1").flatten(0, 1) @ theirs["readout.0.weight"].T + theirs["readout.0.bias"]
    tokens = F.silu(tokens) @ theirs["readout.2.weight"].T + theirs["readout.2.bias"]
    want = torch.cat([tokens, theirs["eos_tokens"][0]])
    torch.testing.assert_close(connector(features, GRID)[0], want, atol=2e-5, rtol=1e-5)


def test_depth_zero_leaves_the_average_and_the_mlp() -> None:
    kinds = [block.kind for block in c_abs(depth=0, mlp_depth=3, has_position=False).blocks]
    assert kinds == ["adaptive_pool", "linear", "activation", "linear", "activation", "linear"]


@pytest.mark.parametrize("name", ["c_abstractor", "d_abstractor"])
def test_end_tokens_come_last_and_are_counted(name: str) -> None:
    spec = {"c_abstractor": c_abs, "d_abstractor": d_abs}[name](num_eos_tokens=2)
    assert spec.num_tokens(GRID) == 8
    tokens = spec.build(vision_dim=8, llm_dim=6)(torch.randn(2, 15, 8), GRID)
    assert torch.equal(tokens[0, 6:], tokens[1, 6:])
    assert not torch.allclose(tokens[0, :6], tokens[1, :6])


def test_an_mlp_without_a_linear_is_refused() -> None:
    with pytest.raises(SpecError, match="needs an MLP of at least 1 Linear, got mlp_depth=0"):
        c_abs(mlp_depth=0)
    with pytest.raises(SpecError, match="reg_stage needs a depth of at least 1 block, got -1"):
        c_abs(depth=-1)


@pytest.mark.parametrize(("in_dim", "squeezed"), [(6, 2), (10, 2), (11, 3), (32, 8), (42, 10)])
def test_the_squeeze_is_a_quarter_of_what_enters_rounded_as_python_rounds(in_dim: int, squeezed: int) -> None:
    tensors = published_tensors(build(c_abs(), vision_dim=in_dim), layout="honeybee_c_abs")
    assert tensors["net.0.b1.se.fc1.weight"].shape == (squeezed, 8, 1, 1)


def test_too_few_channels_to_squeeze_are_refused() -> None:
    with pytest.raises(SpecError, match="reg_stage squeezes 2 channels to a quarter, which is none"):
        c_abs().build(vision_dim=2, llm_dim=6)


# Learned positions


@pytest.mark.parametrize("spec", [c_abs(), d_abs()], ids=lambda spec: spec.name)
def test_another_grid_than_the_learned_one_is_refused_unless_positions_are_resized(spec: on.ConnectorSpec) -> None:
    with pytest.raises(GridError, match=r"learned for a 3 x 5 grid, but the features lie on 5 x 3: set pos_grid"):
        spec.num_tokens(on.Grid(5, 3))
    resizing = {"c_abstractor": c_abs, "d_abstractor": d_abs}[spec.name](other_grid="resize")
    contract.gives_the_planned_tokens(resizing.build(vision_dim=8, llm_dim=6), on.Grid(5, 3))


@torch.no_grad()
def test_resized_positions_stay_in_their_rows_and_columns() -> None:
    rows, cols = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    block = GridPositions(rows=4, cols=6, other_grid="resize").build(2)
    block.table.copy_(torch.stack((rows, cols), -1).flatten(0, 1))
    assert torch.equal(block(torch.zeros(1, 24, 2), on.Grid(4, 6))[0], block.table)
    frames = block(torch.zeros(1, 96, 2), on.Grid(8, 6, frames=2)).reshape(2, 8, 6, 2)
    assert torch.equal(frames[0], frames[1])
    larger = frames[0]
    assert (larger[1:, :, 0] > larger[:-1, :, 0]).all()
    torch.testing.assert_close(larger[:, :, 1], cols[:1].expand(8, 6))


def test_positions_need_a_grid() -> None:
    with pytest.raises(SpecError, match="grid_positions needs a grid of at least 1 x 1, got 0 x 5"):
        GridPositions(rows=0, cols=5)


# Both


@pytest.mark.parametrize("spec", [c_abs(), d_abs(), d_abs(pooled_v_target="none")], ids=lambda spec: spec.name)
@torch.no_grad()
def test_a_video_gives_the_tokens_of_its_frames(spec: on.ConnectorSpec) -> None:
    connector = build(spec)
    frames = torch.randn(3, 15, 8)
    video = connector(frames.reshape(1, 45, 8), on.Grid(3, 5, frames=3))
    torch.testing.assert_close(video[0], connector(frames, GRID).flatten(0, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("grid", [GRID, on.Grid(3, 5, frames=2)], ids=str)
@pytest.mark.parametrize(
    "spec",
    [
        c_abs(depth=2, num_eos_tokens=1),
        c_abs(depth=0),
        c_abs(hidden_dim=12),
        d_abs(num_layers=2),
        d_abs(hidden_dim=12, pooled_v_target="none", num_eos_tokens=1),
    ],
    ids=lambda spec: spec.name,
)
def test_operations_are_counted(spec: on.ConnectorSpec, grid: on.Grid) -> None:
    contract.counts_its_flops(spec.build(vision_dim=8, llm_dim=6), grid)


@pytest.mark.parametrize(
    ("spec", "layout"),
    [
        (c_abs(num_eos_tokens=2, has_norm=True), "honeybee_c_abs"),
        (c_abs(depth=0, num_eos_tokens=1), "honeybee_c_abs"),
        (d_abs(num_eos_tokens=2, hidden_dim=12), "honeybee_d_abs"),
        (d_abs(pooled_v_target="none", has_position=False), "honeybee_d_abs"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_published_tensors_go_out_and_come_back(spec: on.ConnectorSpec, layout: str) -> None:
    connector, twin = build(spec), build(spec)
    tensors = published_tensors(connector, layout=layout)
    if "eos_tokens" in tensors:
        assert tensors["eos_tokens"].ndim == 3
    load_published(twin, tensors, layout=layout)
    assert all(torch.equal(a, b) for a, b in zip(connector.parameters(), twin.parameters(), strict=True))


def test_a_spec_resolved_for_another_width_is_not_built() -> None:
    resolved = c_abs(has_position=False).resolve(vision_dim=12, llm_dim=6)
    with pytest.raises(SpecError, match="reg_stage was resolved for 12 channels, but 8 come in"):
        resolved.build(vision_dim=8, llm_dim=6)


def test_a_width_that_is_right_already_costs_nothing() -> None:
    block = FitWidth(dim=8, in_dim=8)
    assert block.num_params(8) == 0
    assert block.flops(GRID, 8) == 0
    assert block.activation_values(GRID, 8) == GRID.size * 8
    assert not RegStage(dim=8, in_dim=8).has_projected_shortcut
