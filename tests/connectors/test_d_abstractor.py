"""D-Abstractor: Honeybee's projector with deformable attention."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from transformers import DeformableDetrConfig
from transformers.initialization import meta_device_safe_creation_ops
from transformers.models.deformable_detr.modeling_deformable_detr import DeformableDetrDecoderLayer

import opticnerve as on
from connectors import by_hand, contract
from connectors.abstractors import GRID, build, d_abs
from opticnerve.checkpoints import load_published, published_tensors
from opticnerve.connectors.blocks.deformable import DeformableDecoder, initial_points
from opticnerve.connectors.blocks.deformable_attention import DeformableAttention
from opticnerve.errors import SpecError
from opticnerve.grid import Queries
from parity.golden import tensor_cases


class Theirs(nn.Module):
    """Honeybee's forward pass over transformers' own decoder layers, on a grid that need not be square."""

    def __init__(self, *, target: str, dim: int, num_layers: int) -> None:
        super().__init__()
        config = DeformableDetrConfig(
            d_model=dim,
            decoder_attention_heads=2,
            decoder_n_points=3,
            decoder_ffn_dim=12,
            num_feature_levels=1,
            attn_implementation="eager",
        )
        self.target = target
        self.layers = nn.ModuleList(DeformableDetrDecoderLayer(config) for _ in range(num_layers))
        self.query_position_embeddings = nn.Embedding(6, 2 * dim if target == "none" else dim)
        self.reference_points = nn.Parameter(torch.rand(1, 6, 2))

    def published(self) -> dict[str, Tensor]:
        """The tensors by the names of transformers 4.38, which Honeybee's release has."""
        return {
            name.replace("self_attn.o_proj", "self_attn.out_proj").replace(".mlp.fc", ".fc"): tensor
            for name, tensor in self.state_dict().items()
        }

    def forward(self, features: Tensor) -> Tensor:
        learned = self.query_position_embeddings.weight.expand(len(features), -1, -1)
        pooled = torch.stack([by_hand.bins(image.reshape(3, 5, -1), rows=2, cols=3) for image in features])
        pooled = pooled.flatten(1, 2)
        position, content = {
            "query": (pooled, learned),
            "tgt": (learned, pooled),
            "none": learned.chunk(2, dim=-1),
        }[self.target]
        for layer in self.layers:
            content = layer(
                content,
                object_queries_position_embeddings=position,
                reference_points=self.reference_points.expand(len(features), -1, -1)[:, :, None],
                spatial_shapes=torch.tensor([[3, 5]]),
                spatial_shapes_list=[(3, 5)],
                level_start_index=torch.tensor([0]),
                encoder_hidden_states=features,
            )
        return content


@pytest.mark.parametrize("target", ["query", "tgt", "none"])
@torch.no_grad()
def test_the_decoder_gives_what_transformers_layers_give(target: str) -> None:
    theirs = Theirs(target=target, dim=8, num_layers=2).eval()
    for name, parameter in theirs.named_parameters():
        if name != "reference_points":
            parameter.copy_(0.4 * torch.randn(parameter.shape))
    spec = d_abs(pooled_v_target=target, num_layers=2, num_points=3, has_position=False)
    connector = build(spec, llm_dim=8)
    load_published(connector, theirs.published(), layout="honeybee_d_abs")
    features = torch.randn(2, 15, 8)
    torch.testing.assert_close(connector(features, GRID), theirs(features), atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_deformable_attention_reads_points_between_patches_of_a_grid_that_is_not_square() -> None:
    attention = DeformableAttention(dim=6, num_heads=2, num_points=3)
    for parameter in attention.parameters():
        parameter.copy_(0.7 * torch.randn(parameter.shape))
    queries, maps, points = torch.randn(2, 4, 6), torch.randn(2, 10, 6), torch.rand(4, 2)
    got = attention(queries, maps, points, rows=2, cols=5)
    offsets = attention.offsets(queries).reshape(2, 4, 2, 3, 2)
    weights = attention.weights(queries).reshape(2, 4, 2, 3).softmax(-1)
    values = attention.value_proj(maps).reshape(2, 2, 5, 2, 3)
    want = torch.zeros(2, 4, 2, 3)
    for image in range(2):
        for query in range(4):
            for head in range(2):
                for point in range(3):
                    right, down = offsets[image, query, head, point].tolist()
                    x, y = points[query, 0].item() * 5 + right, points[query, 1].item() * 2 + down
                    found = by_hand.read(values[image, :, :, head], x, y)
                    want[image, query, head] += weights[image, query, head, point] * found
    torch.testing.assert_close(got, attention.out_proj(want.flatten(2)), atol=2e-5, rtol=1e-5)


def test_reference_points_start_as_recorded() -> None:
    case = next(case for case in tensor_cases() if case.file == "honeybee_dabstractor__8x8_q16.safetensors")
    points = initial_points(DeformableDecoder(rows=4, cols=4, point_rows=8, point_cols=8))
    torch.testing.assert_close(points, case.tensors["initial_reference_points"])


def test_reference_points_start_from_the_first_patch_s_centre_to_the_last_s() -> None:
    points = initial_points(DeformableDecoder(rows=2, cols=3, point_rows=4, point_cols=10)).reshape(2, 3, 2)
    torch.testing.assert_close(points[0, :, 0], torch.tensor([0.05, 0.5, 0.95]))
    torch.testing.assert_close(points[:, 0, 1], torch.tensor([0.125, 0.875]))


def test_heads_start_in_directions_of_their_own_one_patch_further_for_each_point() -> None:
    offsets = DeformableAttention(dim=8, num_heads=4, num_points=2).offsets.bias.detach().reshape(4, 2, 2)
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    torch.testing.assert_close(offsets, torch.stack((directions, 2 * directions), 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("target", ["query", "tgt", "none"])
@torch.no_grad()
def test_pooled_features_are_the_content_only_under_tgt(target: str) -> None:
    connector = build(d_abs(pooled_v_target=target, has_position=False), llm_dim=8)
    decoder = connector.blocks[1]
    layer = decoder.layers[0]
    for part in (layer.talk.out, layer.look.out_proj, layer.think.down):
        part.weight.zero_()
        part.bias.zero_()
    for norm in (layer.talk_norm, layer.look_norm, layer.think_norm):
        norm.weight.fill_(1.0)
        norm.bias.zero_()
    features = torch.randn(1, 15, 8)
    pooled = by_hand.bins(features.reshape(3, 5, 8), rows=2, cols=3).flatten(0, 1)
    content = {"query": decoder.queries, "tgt": pooled, "none": decoder.queries[:, -8:]}[target]
    got = decoder(features, GRID)[0]
    torch.testing.assert_close(got, F.layer_norm(content, (8,)), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("target", ["query", "tgt", "none"])
@pytest.mark.parametrize("vision_dim", [8, 12])
def test_every_parameter_learns_whatever_is_pooled(target: str, vision_dim: int) -> None:
    spec = d_abs(pooled_v_target=target, num_eos_tokens=1)
    contract.teaches_every_parameter(spec.build(vision_dim=vision_dim, llm_dim=6), GRID)


@pytest.mark.parametrize(
    ("hidden_dim", "linears"), [(8, set[str]()), (12, {"input_proj.0.weight", "output_proj.weight"})]
)
def test_linears_stand_only_where_the_widths_differ(hidden_dim: int, linears: set[str]) -> None:
    tensors = published_tensors(build(d_abs(hidden_dim=hidden_dim), llm_dim=8), layout="honeybee_d_abs")
    assert tensors.keys() & {"input_proj.0.weight", "output_proj.weight"} == linears


def test_queries_of_a_video_are_counted_frame_by_frame() -> None:
    assert d_abs().out_grid(on.Grid(3, 5, frames=4)) == Queries(24)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    message = "a deformable decoder cannot divide 8 channels among 3 heads; numbers that fit: 1, 2, 4, 8"
    with pytest.raises(SpecError, match=message):
        d_abs(num_heads=3).build(vision_dim=8, llm_dim=6)


@pytest.mark.parametrize("name", ["num_layers", "num_heads", "num_points"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match=f"deformable_decoder needs {name} of at least 1, got 0"):
        d_abs(**{name: 0})


def test_a_block_that_is_built_without_memory_has_none_whatever_transformers_did_to_linspace() -> None:
    with meta_device_safe_creation_ops(), torch.device("meta"):
        connector = d_abs().build(vision_dim=8, llm_dim=8)
    assert {parameter.device.type for parameter in connector.parameters()} == {"meta"}
