"""Put a vision-language model together: an encoder, a tiling, a connector and a causal language model, by name."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from torch import nn
from typing_extensions import Unpack

from opticnerve.connectors import ConnectorSpec, method
from opticnerve.connectors.blocks import TextQFormer
from opticnerve.encoders import Layers, Prefix, describe_encoder
from opticnerve.errors import SpecError
from opticnerve.views import TiledEncoder, ViewSettings, fitting_method
from opticnerve.vlm.causal import OpticNerveForConditionalGeneration
from opticnerve.vlm.config import OpticNerveConfig
from opticnerve.vlm.image_processor import OpticNerveImageProcessor
from opticnerve.vlm.language_model import add_image_token, choose_template, read_llm, set_generation, short_name
from opticnerve.vlm.processor import OpticNerveProcessor
from opticnerve.vlm.projector import Projector
from opticnerve.vlm.templates import MARKERS


class Views(TypedDict, total=False):
    """How images are seen; what is left out has the default of `ViewSettings`."""

    encoder: str
    layers: Layers | str
    prefix: Prefix
    tiling: str
    tiling_options: Mapping[str, object]
    scales: tuple[int | float, ...]


def assemble(
    *,
    llm: str | Path,
    method: str = "mlp",
    method_options: Mapping[str, object] | None = None,
    template: str = "llm",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **views: Unpack[Views],
) -> tuple[OpticNerveForConditionalGeneration, OpticNerveProcessor]:
    """Put a model together. Encoder and LLM keep their weights; the connector's are random.

    Args:
        llm: folder or hub name of a causal language model of transformers, with its tokenizer.
        method: name of the connector's method.
        method_options: options of the method; what is left out has its default.
        template: "llm" for the tokenizer's own chat template, or a name of `TEMPLATES`.
        seed: of the connector's weights. The state of torch's own generator is left as it was.
        dtype: of all weights.
        views: `encoder`, `layers`, `prefix`, `tiling`, `tiling_options` and `scales`, as `ViewSettings` has them.

    Returns:
        The model in eval mode, on the CPU, and its processor.

    Raises:
        EncoderError: there is no such encoder or layer.
        UnknownNameError: there is no such tiling, method, template or option.
        SpecError: the parts do not fit each other, or the LLM cannot be read or has no chat template.
    """
    options = dict(method_options or {})
    settings: dict[str, Any] = dict(views)
    with torch.random.fork_rng(devices=[]):  # whatever is made below may draw from torch's own generator
        tiled = _load(ViewSettings(**settings), num_levels=_spec(method, options).num_levels)
        spec = fitting_method(method, tiled.sight, options)
        language_model, tokenizer = read_llm(str(llm), dtype)
        tokenizer.chat_template = choose_template(template, tokenizer, str(llm))
        image_token_id = add_image_token(tokenizer, language_model)
        torch.manual_seed(seed)
        projector = _projector(tiled, spec, language_model)
    set_generation(language_model, tokenizer, markers=MARKERS.get(template, ()))
    config = OpticNerveConfig(
        text_config=language_model.config,
        encoder=describe_encoder(tiled.encoder),
        tiling=tiled.tiling.to_dict(),
        scales=list(tiled.scales),
        connector=spec.to_dict(),
        image_token_id=image_token_id,
        dtype=dtype,
    )
    parts = {"vision_tower": tiled.encoder.to(dtype), "multi_modal_projector": projector.to(dtype)}
    model = _join(config, {**parts, "llm": language_model})
    image_processor = OpticNerveImageProcessor(sight=tiled.sight.to_dict(), connector=spec.to_dict())
    processor = OpticNerveProcessor(image_processor, tokenizer, chat_template=tokenizer.chat_template)
    processor.num_image_tokens(*tiled.encoder.native_px)  # refuses parts that do not fit before the first image does
    return model, processor


def _spec(name: str, options: Mapping[str, object]) -> ConnectorSpec:
    spec = method(name, **options)
    if any(isinstance(block, TextQFormer) for block in spec.blocks):
        raise SpecError(
            f'"{name}" reads the instruction, which a prompt with several images has no one place for: set '
            f"reads_text=False"
        )
    return spec


def _load(settings: ViewSettings, *, num_levels: int) -> TiledEncoder:
    tiled = settings.load(num_levels=num_levels)
    info = replace(tiled.encoder.info, name=short_name(tiled.encoder.name))
    tiled.encoder.info, tiled.sight = info, replace(tiled.sight, info=info)
    return tiled


def _projector(tiled: TiledEncoder, spec: ConnectorSpec, llm: nn.Module) -> Projector:
    llm_dim = int(cast("Any", llm).get_input_embeddings().embedding_dim)
    out_dim = spec.out_dim(vision_dim=tiled.dim, llm_dim=llm_dim)
    if out_dim != llm_dim:
        raise SpecError(
            f'the connector "{spec.name}" makes visual tokens {out_dim} wide, but the LLM\'s embeddings are {llm_dim} '
            f"wide: let its last block end in the LLM's width"
        )
    return Projector(tiled.sight, spec, llm_dim=llm_dim).eval()


def _join(config: OpticNerveConfig, parts: Mapping[str, nn.Module]) -> OpticNerveForConditionalGeneration:
    """Build the model without memory, and put the parts in the places of those that it has made."""
    with torch.device("meta"):
        model = OpticNerveForConditionalGeneration(config)
    for name, part in parts.items():
        setattr(model.model, name, part)
    model.generation_config = model.model.llm.generation_config
    return model.eval()
