"""Our connectors give the numbers of transformers' own modules, weights copied over by the published names."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3MultiModalProjector
from transformers.models.idefics3.modeling_idefics3 import Idefics3Connector
from transformers.models.internvl.modeling_internvl import InternVLModel, InternVLMultiModalProjector
from transformers.models.llama4.modeling_llama4 import Llama4MultiModalProjector, Llama4VisionPixelShuffleMLP
from transformers.models.llava_next.modeling_llava_next import LlavaNextMultiModalProjector
from transformers.models.llava_onevision.modeling_llava_onevision import (
    LlavaOnevisionModel,
    LlavaOnevisionMultiModalProjector,
)
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLPatchMerger
from transformers.models.qwen2_vl.modeling_qwen2_vl import PatchMerger
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionPatchMerger
from transformers.models.smolvlm.modeling_smolvlm import SmolVLMConnector

from opticnerve import Connector, ConnectorSpec, Grid, methods
from opticnerve.checkpoints import load_published

VISION_DIM, LLM_DIM = 24, 40


def config(**values: Any) -> SimpleNamespace:
    """A configuration of the fields that a module reads."""
    return SimpleNamespace(**values)


def randomised(module: nn.Module) -> nn.Module:
    """Give every tensor random values: norms that start at 1 and 0 would hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.eval()


def copied(spec: ConnectorSpec, theirs: nn.Module, *, layout: str) -> Connector:
    """Our connector with the weights of a transformers module."""
    connector = spec.build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)
    load_published(connector, theirs.state_dict(), layout=layout)
    return connector


def features(*grids: Grid) -> Tensor:
    return torch.randn(2, sum(grid.size for grid in grids), VISION_DIM, generator=torch.Generator().manual_seed(1))


def close(got: Tensor, want: Tensor) -> None:
    assert got.shape == want.shape
    torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("ratio", "grid"), [(0.5, Grid(8, 6)), (0.25, Grid(8, 8))])
@torch.no_grad()
def test_internvl(ratio: float, grid: Grid) -> None:
    settings = config(
        vision_config=config(hidden_size=VISION_DIM),
        text_config=config(hidden_size=LLM_DIM),
        downsample_ratio=ratio,
        projector_hidden_act="gelu",
    )
    theirs = randomised(InternVLMultiModalProjector(settings))
    x = features(grid)
    shuffled = InternVLModel.pixel_shuffle(None, x.unflatten(1, (grid.rows, grid.cols)), ratio).flatten(1, 2)
    ours = copied(methods.pixel_shuffle(factor=round(1 / ratio)), theirs, layout="internvl")
    close(ours(x, grid), theirs(shuffled))


@torch.no_grad()
def test_llama_4() -> None:
    vision = config(
        pixel_shuffle_ratio=0.5,
        hidden_size=VISION_DIM,
        projector_input_dim=32,
        projector_output_dim=32,
        intermediate_size=4 * VISION_DIM,
        projector_dropout=0.0,
        vision_output_dim=32,
    )
    inner = randomised(Llama4VisionPixelShuffleMLP(vision))
    outer = randomised(Llama4MultiModalProjector(config(vision_config=vision, text_config=config(hidden_size=LLM_DIM))))
    spec = methods.pixel_shuffle(has_norm=False, hidden=(32, 32), has_bias=False)
    ours = spec.build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)
    for block, weight in zip((1, 3, 5), (*inner.parameters(), *outer.parameters()), strict=True):
        ours.blocks[block].linear.weight.copy_(weight)
    x = features(Grid(6, 6))
    close(ours(x, Grid(6, 6)), outer(inner(x)))


@torch.no_grad()
def test_gemma_3() -> None:
    settings = config(
        vision_config=config(hidden_size=VISION_DIM, layer_norm_eps=1e-6, image_size=64, patch_size=8),
        text_config=config(hidden_size=LLM_DIM),
        mm_tokens_per_image=4,
    )
    theirs = randomised(Gemma3MultiModalProjector(settings))
    spec = methods.pool(factor=4, place="before", norm="rms_one_plus", hidden=(), has_bias=False)
    x = features(Grid(8, 8))
    close(copied(spec, theirs, layout="gemma3")(x, Grid(8, 8)), theirs(x))


@pytest.mark.parametrize(
    ("theirs", "norm", "place", "layout"),
    [
        (PatchMerger(LLM_DIM, VISION_DIM), "layer", "patch", "qwen2_vl"),
        (Qwen2_5_VLPatchMerger(LLM_DIM, VISION_DIM), "rms", "patch", "qwen2_vl"),
        (
            Qwen3VLVisionPatchMerger(config(hidden_size=VISION_DIM, spatial_merge_size=2, out_hidden_size=LLM_DIM)),
            "layer",
            "patch",
            "qwen3_vl_merger",
        ),
        (
            Qwen3VLVisionPatchMerger(
                config(hidden_size=VISION_DIM, spatial_merge_size=2, out_hidden_size=LLM_DIM),
                use_postshuffle_norm=True,
            ),
            "layer",
            "merged",
            "qwen3_vl_merger",
        ),
    ],
    ids=["qwen2", "qwen2.5", "qwen3", "qwen3-deepstack"],
)
@torch.no_grad()
def test_qwen_mergers(theirs: nn.Module, norm: Any, place: Any, layout: str) -> None:
    ours = copied(methods.concat_mlp(norm=norm, norm_place=place), randomised(theirs), layout=layout)
    grids = [Grid(4, 6), Grid(2, 8)]
    raster = features(*grids)[0]
    pieces = raster.split([grid.size for grid in grids])
    blocks = [  # the order in which Qwen's image processor emits patches: one 2 x 2 block after another
        piece.unflatten(0, (grid.rows // 2, 2, grid.cols // 2, 2)).transpose(1, 2).flatten(0, 3)
        for grid, piece in zip(grids, pieces, strict=True)
    ]
    close(ours.packed(raster, grids)[0], theirs(torch.cat(blocks)))


@pytest.mark.parametrize("family", [LlavaNextMultiModalProjector, LlavaOnevisionMultiModalProjector])
@torch.no_grad()
def test_llava_projectors(family: type[nn.Module]) -> None:
    theirs = randomised(family(_llava_config()))
    x = features(Grid(5, 7))
    close(copied(methods.mlp(), theirs, layout="pllava")(x, Grid(5, 7)), theirs(x))


@pytest.mark.parametrize("side", [6, 7])
@torch.no_grad()
def test_llava_onevision_pools_video_after_the_projector(side: int) -> None:
    theirs = randomised(LlavaOnevisionMultiModalProjector(_llava_config()))
    model = config(config=config(vision_config=config(image_size=side, patch_size=1)))
    x = features(Grid(side, side))
    ours = copied(methods.pool(mode="bilinear"), theirs, layout="pllava")
    close(ours(x, Grid(side, side)), LlavaOnevisionModel.apply_pooling(model, theirs(x)))


@pytest.mark.parametrize("family", [Idefics3Connector, SmolVLMConnector])
@pytest.mark.parametrize("factor", [2, 3])
@torch.no_grad()
def test_idefics3_and_smolvlm(family: type[nn.Module], factor: int) -> None:
    settings = config(
        scale_factor=factor, vision_config=config(hidden_size=VISION_DIM), text_config=config(hidden_size=LLM_DIM)
    )
    theirs = randomised(family(settings))
    spec = methods.pixel_shuffle(factor=factor, has_norm=False, hidden=(), has_bias=False)
    x = features(Grid(6, 6))
    close(copied(spec, theirs, layout="idefics3")(x, Grid(6, 6)), theirs(x))


def _llava_config() -> SimpleNamespace:
    return config(
        vision_config=config(hidden_size=VISION_DIM),
        text_config=config(hidden_size=LLM_DIM),
        vision_feature_layer=-1,
        multimodal_projector_bias=True,
        projector_hidden_act="gelu",
    )
