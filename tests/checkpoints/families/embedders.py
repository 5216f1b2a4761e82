"""Families that pool and project with bare norms, and those without an encoder."""

from typing import Any
from unittest.mock import patch

import torch
import transformers as hf
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.gemma3n import modeling_gemma3n as gemma3n

from checkpoints.families.harness import Family, Recorded, features
from opticnerve import Grid

TEXT: dict[str, Any] = {
    "hidden_size": 40,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 64,
}
LAST_IS_FULL = {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]}
SIGLIP: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 7,
}
GEMMA3 = {"text_config": TEXT, "vision_config": SIGLIP, "mm_tokens_per_image": 16}
GEMMA4_VISION: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "patch_size": 4,
    "position_embedding_size": 32,
    "rms_norm_eps": 1e-2,
}


def _giving(encoder: nn.Module, **outputs: Any) -> Any:
    """Let an encoder give stated outputs, whatever it is asked."""
    return patch.object(encoder, "forward", lambda *_, **__: BaseModelOutputWithPooling(**outputs))


def _gemma3() -> Any:
    return hf.Gemma3ForConditionalGeneration(hf.Gemma3Config(**GEMMA3))


def _gemma3_rest() -> Any:
    """Its last row and column of patches are left over by the pool."""
    config = {**GEMMA3, "vision_config": {**SIGLIP, "image_size": 63}}
    return hf.Gemma3ForConditionalGeneration(hf.Gemma3Config(**config))


def _shieldgemma2() -> Any:
    return hf.ShieldGemma2ForImageClassification(hf.ShieldGemma2Config(**GEMMA3))


def _t5gemma2() -> Any:
    return hf.T5Gemma2ForConditionalGeneration(hf.T5Gemma2Config(encoder=GEMMA3, decoder=TEXT))


@torch.no_grad()
def _record_gemma3(model: Any) -> list[Recorded]:
    (projector,) = (one for name, one in model.named_modules() if name.endswith("multi_modal_projector"))
    side = projector.patches_per_image
    x = features(2, side**2, 24)
    return [Recorded(features=x, grid=Grid(side, side), output=projector(x))]


class _Gemma3n(gemma3n.Gemma3nPreTrainedModel):
    """Gemma 3n without its encoder, which is timm's."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.vision_tower = nn.Identity()
        self.embed_vision = gemma3n.Gemma3nMultimodalEmbedder(config.vision_config, config.text_config)
        self.embed_audio = gemma3n.Gemma3nMultimodalEmbedder(config.audio_config, config.text_config)
        self.post_init()


def _gemma3n() -> Any:
    config = hf.Gemma3nConfig(
        text_config={"hidden_size": 40},
        vision_config={"hidden_size": 24, "vocab_size": 5, "rms_norm_eps": 1e-3},
        audio_config={"hidden_size": 16, "vocab_size": 5},
        vision_soft_tokens_per_image=16,
    )
    return _Gemma3n(config)


@torch.no_grad()
def _record_gemma3n(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    for grid in (Grid(4, 4), Grid(2, 8)):
        x = features(2, grid.size, 24)
        maps = x.mT.unflatten(2, (grid.rows, grid.cols)).clone()
        with _giving(model.vision_tower, last_hidden_state=maps):
            output = gemma3n.Gemma3nModel.get_image_features(model, None, return_dict=True).pooler_output
        found.append(Recorded(features=x, grid=grid, output=output))
    return found


def _standardised(model: Any) -> Any:
    """Give the fixed numbers of Gemma 4's encoder values that hide nothing."""
    generator = torch.Generator().manual_seed(5)
    for name, buffer in model.named_buffers():
        if name.endswith(("std_bias", "std_scale")):
            buffer.copy_(1 + torch.randn(buffer.shape, generator=generator))
    return model


def _gemma4(*, standardize: bool) -> Any:
    text = {**TEXT, **LAST_IS_FULL, "global_head_dim": 8, "hidden_size_per_layer_input": 0}
    vision = {**GEMMA4_VISION, "standardize": standardize}
    config = hf.Gemma4Config(text_config=text, vision_config=vision, audio_config=None)
    return _standardised(hf.Gemma4ForConditionalGeneration(config))


def _diffusion_gemma() -> Any:
    experts = {"num_experts": 2, "top_k_experts": 1, "moe_intermediate_size": 8}
    text = {**TEXT, **LAST_IS_FULL, **experts, "global_head_dim": 8}
    config = hf.DiffusionGemmaConfig(text_config=text, vision_config={**GEMMA4_VISION, "standardize": True})
    return _standardised(hf.DiffusionGemmaForBlockDiffusion(config))


def _embedding_gemma2() -> Any:
    text = {**TEXT, **LAST_IS_FULL, "hidden_size_per_layer_input": 8, "embedding_dim": 20}
    vision = {**GEMMA4_VISION, "standardize": True}
    config = hf.EmbeddingGemma2Config(text_config=text, vision_config=vision, audio_config=None)
    return _standardised(hf.EmbeddingGemma2Model(config))


GRIDS = (Grid(6, 6), Grid(3, 9), Grid(9, 3))


def _padded(*grids: Grid, length: int) -> Tensor:
    """The (column, row) of each patch in raster order, as Gemma 4's processor gives them, with -1 after the last."""
    places = torch.full((len(grids), length, 2), -1)
    for row, grid in zip(places, grids, strict=True):
        row[: grid.size] = torch.cartesian_prod(torch.arange(grid.rows), torch.arange(grid.cols)).flip(-1)
    return places


@torch.no_grad()
def _record_gemma4(model: Any) -> list[Recorded]:
    (tower,) = (one for name, one in model.named_modules() if name.endswith("vision_tower"))
    owner = next(one for one in model.modules() if hasattr(one, "embed_vision"))
    length = 45
    x = features(len(GRIDS), length, 24)
    with _giving(tower.encoder, last_hidden_state=x):
        pixels = torch.rand(len(GRIDS), length, 48)
        out = owner.get_image_features(pixels, _padded(*GRIDS, length=length), return_dict=True).pooler_output
    tokens = out if isinstance(out, Tensor) else torch.cat(list(out))
    pieces = tokens.split([grid.size // 9 for grid in GRIDS])
    return [
        Recorded(features=own[None, : grid.size], grid=grid, output=piece[None])
        for own, grid, piece in zip(x, GRIDS, pieces, strict=True)
    ]


def _gemma4_unified() -> Any:
    vision = {
        "patch_size": 2,
        "pooling_kernel_size": 2,
        "mm_embed_dim": 24,
        "output_proj_dims": 24,
        "mm_posemb_size": 9,
        "rms_norm_eps": 1e-3,
    }
    text = {**TEXT, **LAST_IS_FULL, "global_head_dim": 8}
    return hf.Gemma4UnifiedForConditionalGeneration(hf.Gemma4UnifiedConfig(text_config=text, vision_config=vision))


@torch.no_grad()
def _record_gemma4_unified(model: Any) -> list[Recorded]:
    embedder, found = model.model.embed_vision, list[Recorded]()
    for grid in (Grid(5, 9), Grid(7, 3)):
        x = features(1, grid.size, 48)
        length = grid.size + 4
        more = torch.cat([x, torch.zeros(1, 4, 48)], dim=1)
        output = embedder(more, _padded(grid, length=length), return_dict=True).pooler_output
        found.append(Recorded(features=x, grid=grid, output=output[:, : grid.size]))
    return found


def _phi4(*, image_size: int) -> Any:
    vision = {**SIGLIP, "image_size": image_size, "image_token_id": 60}
    audio = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_blocks": 1,
        "num_attention_heads": 2,
        "ext_pw_out_channel": 16,
        "depthwise_separable_out_channel": 16,
        "input_size": 16,
        "nemo_conv_channels": 8,
        "audio_token_id": 61,
    }
    text = {key: value for key, value in TEXT.items() if key != "head_dim"}
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = hf.Phi4MultimodalConfig(**text, **tokens, vision_config=vision, audio_config=audio)
    return hf.Phi4MultimodalForCausalLM(config)


@torch.no_grad()
def _record_phi4(model: Any) -> list[Recorded]:
    embed, found = model.model.embed_tokens_extend.image_embed, list[Recorded]()
    is_padded = hasattr(embed, "img_processor_padding")
    for grid in (Grid(5, 5), Grid(4, 4), Grid(7, 7)) if is_padded else (Grid(4, 4), Grid(6, 6)):
        x = features(2, grid.size, 24)
        with _giving(embed.img_processor, hidden_states={embed.layer_idx: x}):
            pooled = embed.get_img_features(torch.zeros(2))
        output = embed.img_projection_down(nn.functional.gelu(embed.img_projection_up(pooled)))
        found.append(Recorded(features=x, grid=grid, output=output))
    return found


def _fuyu() -> Any:
    text = {**TEXT, "model_type": "persimmon"}
    return hf.FuyuForCausalLM(hf.FuyuConfig(patch_size=2, text_config=text))


def _neomme() -> Any:
    config = hf.NeoMMEConfig(**{**TEXT, "num_hidden_layers": 2, "head_dim": 16}, embedding_rank=8, patch_size=2)
    return hf.NeoMMEForMaskedLM(config)


@torch.no_grad()
def _record_pixels(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    for grid in (Grid(3, 5), Grid(4, 2)):
        x = features(2, grid.size, 12)
        output = model.model.get_image_features(x, return_dict=True).last_hidden_state
        found.append(Recorded(features=x, grid=grid, output=output))
    return found


def _florence2() -> Any:
    vision = {
        "depths": (1, 1),
        "patch_size": (7, 3),
        "patch_stride": (4, 2),
        "patch_padding": (3, 1),
        "patch_prenorm": (False, True),
        "embed_dim": (8, 24),
        "num_heads": (2, 2),
        "num_groups": (2, 2),
        "window_size": 2,
        "projection_dim": 40,
        "max_temporal_embeddings": 5,
        "max_position_embeddings": 9,
    }
    text = {
        "model_type": "bart",
        "vocab_size": 64,
        "d_model": 40,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "max_position_embeddings": 32,
    }
    return hf.Florence2ForConditionalGeneration(hf.Florence2Config(vision_config=vision, text_config=text))


@torch.no_grad()
def _record_florence2(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    for grid in (Grid(3, 5), Grid(9, 4)):
        x = features(2, grid.size, 24)
        output = model.model.multi_modal_projector(x.mT.unflatten(2, (grid.rows, grid.cols)))
        found.append(Recorded(features=x, grid=grid, output=output))
    return found


ROWS = (
    Family(name="gemma3", layout="gemma3", build=_gemma3, record=_record_gemma3),
    Family(name="gemma3", layout="gemma3", build=_gemma3_rest, record=_record_gemma3),
    Family(name="shieldgemma2", layout="shieldgemma2", build=_shieldgemma2, record=_record_gemma3),
    Family(name="t5gemma2", layout="t5gemma2", build=_t5gemma2, record=_record_gemma3),
    Family(name="gemma3n", layout="gemma3n", build=_gemma3n, record=_record_gemma3n),
    Family(name="gemma4", layout="gemma4", build=lambda: _gemma4(standardize=True), record=_record_gemma4),
    Family(name="gemma4", layout="gemma4", build=lambda: _gemma4(standardize=False), record=_record_gemma4),
    Family(name="diffusion_gemma", layout="diffusion_gemma", build=_diffusion_gemma, record=_record_gemma4),
    Family(name="embedding_gemma2", layout="embedding_gemma2", build=_embedding_gemma2, record=_record_gemma4),
    Family(name="gemma4_unified", layout="gemma4_unified", build=_gemma4_unified, record=_record_gemma4_unified),
    Family(name="phi4_multimodal", layout="phi4_multimodal", build=lambda: _phi4(image_size=56), record=_record_phi4),
    Family(name="phi4_multimodal", layout="phi4_multimodal", build=lambda: _phi4(image_size=35), record=_record_phi4),
    Family(name="fuyu", layout="fuyu", build=_fuyu, record=_record_pixels),
    Family(name="neomme", layout="neomme", build=_neomme, record=_record_pixels),
    Family(name="florence2", layout="florence2", build=_florence2, record=_record_florence2),
)
