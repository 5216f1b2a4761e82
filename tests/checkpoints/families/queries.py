"""Families whose connector has learned queries; their model runs, on an encoder that says what it is told to."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AriaConfig,
    AriaForConditionalGeneration,
    Blip2Config,
    Blip2ForConditionalGeneration,
    EvollaConfig,
    EvollaForProteinText2Text,
    GitConfig,
    GitForCausalLM,
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    IdeficsConfig,
    IdeficsForVisionText2Text,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipVideoConfig,
    InstructBlipVideoForConditionalGeneration,
    Kosmos2_5Config,
    Kosmos2_5ForConditionalGeneration,
    Kosmos2Config,
    Kosmos2ForConditionalGeneration,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from checkpoints.families.harness import Family, Recorded, features
from opticnerve import Grid
from opticnerve.connectors import TextTokens

VISION: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 28,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}
LLM: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 40,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 20,
    "vocab_size": 64,
}
OPT: dict[str, Any] = {
    "model_type": "opt",
    "hidden_size": 40,
    "word_embed_proj_dim": 40,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "ffn_dim": 8,
    "vocab_size": 16,
    "max_position_embeddings": 16,
}
QFORMER: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 44,
    "vocab_size": 13,
    "max_position_embeddings": 9,
}
BLIP: dict[str, Any] = {
    "vision_config": VISION,
    "qformer_config": QFORMER,
    "text_config": OPT,
    "num_query_tokens": 6,
    "image_token_index": 15,
}


@contextmanager
def encoder_says(encoder: Any, **output: Any) -> Iterator[None]:
    """Let an encoder give what it is told to."""
    encoder.forward = lambda *args, **kwargs: BaseModelOutputWithPooling(**output)
    try:
        yield
    finally:
        del encoder.forward


def pixels(batch: int) -> Tensor:
    return torch.ones(batch, 3, 56, 56)


def _image_features(model: Any, encoder: Any, x: Tensor, **inputs: Any) -> Tensor:
    """Run their path from the encoder's output to the visual tokens."""
    with encoder_says(encoder, last_hidden_state=x, hidden_states=(x,)):
        return model.get_image_features(pixels(len(x)), **inputs).pooler_output


def _blip_2() -> Any:
    return Blip2ForConditionalGeneration(Blip2Config(**BLIP))


@torch.no_grad()
def _record_blip_2(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    for grid in (Grid(4, 4, prefix=1), Grid(3, 5, prefix=1)):
        x = features(2, grid.size, 24)
        found.append(Recorded(features=x, grid=grid, output=_image_features(model, model.vision_model, x)))
    return found


TEXT = TextTokens(
    ids=torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]]), mask=torch.tensor([[True] * 4, [True, True, False, False]])
)


def _instructblip() -> Any:
    return InstructBlipForConditionalGeneration(InstructBlipConfig(**BLIP))


@torch.no_grad()
def _record_instructblip(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    words = {"qformer_input_ids": TEXT.ids, "qformer_attention_mask": TEXT.mask.long()}
    for grid in (Grid(4, 4, prefix=1), Grid(3, 5, prefix=1)):
        x = features(2, grid.size, 24)
        output = _image_features(model, model.vision_model, x, **words)
        found.append(Recorded(features=x, grid=grid, output=output, text=TEXT))
    return found


def _instructblipvideo() -> Any:
    config = {name: value for name, value in BLIP.items() if name != "image_token_index"}
    return InstructBlipVideoForConditionalGeneration(InstructBlipVideoConfig(**config, video_token_index=15))


@torch.no_grad()
def _record_instructblipvideo(model: Any) -> list[Recorded]:
    """Two videos of three frames: every frame is an image, and has the instruction of its video."""
    frames, found = 3, list[Recorded]()
    words = {"qformer_input_ids": TEXT.ids, "qformer_attention_mask": TEXT.mask.long()}
    text = TextTokens(ids=TEXT.ids.repeat_interleave(frames, 0), mask=TEXT.mask.repeat_interleave(frames, 0))
    for grid in (Grid(4, 4, prefix=1), Grid(3, 5, prefix=1)):
        x = features(2 * frames, grid.size, 24)
        with encoder_says(model.vision_model, last_hidden_state=x):
            videos = pixels(2 * frames).unflatten(0, (2, frames))
            output = model.get_video_features(videos, **words).pooler_output
        found.append(Recorded(features=x, grid=grid, output=output.reshape(2 * frames, 6, 40), text=text))
    return found


def _idefics(*, has_qk_norm: bool = True) -> Any:
    config = IdeficsConfig(
        vocab_size=64,
        hidden_size=40,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        use_resampler=True,
        vision_config={
            "embed_dim": 24,
            "image_size": 56,
            "patch_size": 14,
            "intermediate_size": 28,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        },
        perceiver_config={
            "resampler_n_latents": 5,
            "resampler_depth": 2,
            "resampler_n_heads": 3,
            "resampler_head_dim": 10,
            "qk_layer_norms_perceiver": has_qk_norm,
        },
    )
    return IdeficsForVisionText2Text(config)


@torch.no_grad()
def _record_idefics(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    for grid in (Grid(4, 4, prefix=1), Grid(3, 5, prefix=1)):
        x = features(2, grid.size, 24)
        output = model.model(
            input_ids=torch.ones(1, 3, dtype=torch.long),
            attention_mask=torch.ones(1, 3),
            image_encoder_embeddings=x[None],
            image_attention_mask=torch.ones(1, 3, 2),
        ).image_hidden_states
        found.append(Recorded(features=x, grid=grid, output=output.reshape(2, 5, 24)))
    return found


def _idefics2() -> Any:
    perceiver = {
        "hidden_size": 40,
        "rms_norm_eps": 1e-3,
        "resampler_n_latents": 5,
        "resampler_depth": 2,
        "resampler_n_heads": 4,
        "resampler_head_dim": 6,
        "num_key_value_heads": 2,
    }
    text = {**LLM, "model_type": "mistral"}
    return Idefics2ForConditionalGeneration(
        Idefics2Config(vision_config=VISION, perceiver_config=perceiver, text_config=text, image_token_id=63)
    )


@torch.no_grad()
def _record_idefics2(model: Any) -> list[Recorded]:
    """A whole square, and an image of three rows with a row of padding below."""
    found: list[Recorded] = []
    for grid in (Grid(4, 4), Grid(3, 4)):
        x = features(2, 16, 24)
        mask = torch.zeros(1, 2, 56, 56, dtype=torch.bool)
        mask[..., : 14 * grid.rows, :] = True
        with encoder_says(model.model.vision_model, last_hidden_state=x):
            (output,) = model.model.get_image_features(pixels(2)[None], mask).pooler_output
        found.append(Recorded(features=x[:, : grid.size], grid=grid, output=output.reshape(2, 5, 40)))
    return found


def _aria() -> Any:
    vision = {**VISION, "model_type": "idefics3_vision"}
    text = {**LLM, "model_type": "aria_text", "moe_num_experts": 2, "moe_topk": 1, "moe_num_shared_experts": 1}
    return AriaForConditionalGeneration(
        AriaConfig(
            vision_config=vision, text_config=text, projector_patch_to_query_dict={16: 3, 36: 5}, image_token_index=63
        )
    )


@torch.no_grad()
def _record_aria(model: Any) -> list[Recorded]:
    """Squares of two sizes, and images that are padded to one of them."""
    found: list[Recorded] = []
    for grid in (Grid(4, 4), Grid(6, 6), Grid(4, 2), Grid(3, 6)):
        side = max(grid.rows, grid.cols)
        square = features(2, side * side, 24)
        mask = torch.zeros(2, side * 14, side * 14, dtype=torch.bool)
        mask[:, : grid.rows * 14 - 5, : grid.cols * 14 - 5] = True
        x = square.unflatten(1, (side, side))[:, : grid.rows, : grid.cols].flatten(1, 2)
        output = _image_features(model.model, model.model.vision_tower, square, pixel_mask=mask)
        found.append(Recorded(features=x, grid=grid, output=output))
    return found


KOSMOS: dict[str, Any] = {
    "text_config": {
        "embed_dim": 40,
        "ffn_dim": 48,
        "layers": 1,
        "attention_heads": 4,
        "vocab_size": 64,
        "max_position_embeddings": 32,
    },
    "latent_query_num": 5,
}


def _kosmos2() -> Any:
    return Kosmos2ForConditionalGeneration(Kosmos2Config(vision_config=VISION, **KOSMOS))


@torch.no_grad()
def _record_kosmos2(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    for grid in (Grid(4, 4, prefix=1), Grid(3, 5, prefix=1)):
        x = features(2, grid.size, 24)
        found.append(Recorded(features=x, grid=grid, output=_kosmos2_features(model, x)))
    return found


def _kosmos2_features(model: Any, x: Tensor) -> Tensor:
    """Run the projection as `Kosmos2Model.get_image_features` does; the model for generation runs it in `forward`."""
    normed = model.vision_model.model.post_layernorm(x)
    tokens, _ = model.image_to_text_projection(torch.nn.functional.normalize(normed, dim=-1))
    return tokens


def _kosmos2_5() -> Any:
    vision = {
        "hidden_size": 24,
        "patch_embed_hidden_size": 12,
        "intermediate_size": 28,
        "head_dim": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "max_num_patches": 20,
    }
    return Kosmos2_5ForConditionalGeneration(Kosmos2_5Config(vision_config=vision, **KOSMOS))


@torch.no_grad()
def _record_kosmos2_5(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    for grid in (Grid(4, 4), Grid(3, 5), Grid(1, 20)):
        x = features(2, grid.size, 24)
        with encoder_says(model.vision_model, last_hidden_state=x):
            words = torch.ones(2, 9, dtype=torch.long)
            marks = torch.tensor([[0, 1, 1, 1, 1, 1, 0, 0, 0]] * 2)
            output = model(words, flattened_patches=x, image_embeds_position_mask=marks).image_embeds
        found.append(Recorded(features=x, grid=grid, output=output))
    return found


def _git() -> Any:
    return GitForCausalLM(
        GitConfig(
            vision_config={**VISION, "layer_norm_eps": 1e-3},
            vocab_size=64,
            hidden_size=40,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=48,
            max_position_embeddings=32,
        )
    )


@torch.no_grad()
def _record_git(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    for grid in (Grid(4, 4, prefix=1), Grid(3, 5, prefix=1)):
        x = features(2, grid.size, 24)
        kept: list[Tensor] = []
        hook = model.git.visual_projection.register_forward_hook(lambda *call, kept=kept: kept.append(call[2]))
        with encoder_says(model.git.image_encoder, last_hidden_state=x):
            model(input_ids=torch.ones(2, 3, dtype=torch.long), pixel_values=pixels(2))
        hook.remove()
        found.append(Recorded(features=x, grid=grid, output=kept[0]))
    return found


def _evolla() -> Any:
    protein = {
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 28,
        "vocab_size": 16,
    }
    return EvollaForProteinText2Text(
        EvollaConfig(
            protein_encoder_config=protein,
            **{name: value for name, value in LLM.items() if name != "model_type"},
            aligner_num_add_layers=1,
            resampler_depth=2,
            resampler_dim_head=5,
            resampler_heads=3,
            resampler_num_latents=6,
            resampler_ff_mult=2,
        )
    )


@torch.no_grad()
def _record_evolla(model: Any) -> list[Recorded]:
    """A protein that fills its row, and one with padding after it."""
    found: list[Recorded] = []
    encoder = model.model.protein_encoder
    for grid in (Grid(1, 11), Grid(1, 7)):
        x = features(2, 11, 24)
        mask = (torch.arange(11) < grid.cols).float().expand(2, -1)
        with encoder_says(encoder.model, last_hidden_state=x):
            output = encoder(input_ids=torch.ones(2, 11, dtype=torch.long), attention_mask=mask)
        found.append(Recorded(features=x[:, : grid.cols], grid=grid, output=output.sequence_compressor_output))
    return found


ROWS = (
    Family(name="blip_2", layout="blip_2", build=_blip_2, record=_record_blip_2),
    Family(name="instructblip", layout="instructblip", build=_instructblip, record=_record_instructblip),
    Family(
        name="instructblipvideo",
        layout="instructblipvideo",
        build=_instructblipvideo,
        record=_record_instructblipvideo,
    ),
    Family(name="idefics", layout="idefics", build=_idefics, record=_record_idefics),
    Family(name="idefics2", layout="idefics2", build=_idefics2, record=_record_idefics2),
    Family(name="aria", layout="aria", build=_aria, record=_record_aria),
    Family(name="kosmos2", layout="kosmos2", build=_kosmos2, record=_record_kosmos2),
    Family(name="kosmos2_5", layout="kosmos2_5", build=_kosmos2_5, record=_record_kosmos2_5),
    Family(name="git", layout="git", build=_git, record=_record_git),
    Family(name="evolla", layout="evolla", build=_evolla, record=_record_evolla),
)
