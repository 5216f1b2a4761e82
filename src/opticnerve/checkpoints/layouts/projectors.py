"""Families of transformers whose connector is an MLP like LLaVA's, with or without a norm or pool around it."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.entries import Entry
from opticnerve.checkpoints.layout import Layout, Reading, Shapes
from opticnerve.checkpoints.layouts import linears
from opticnerve.checkpoints.layouts import projector_views as views
from opticnerve.checkpoints.layouts.read import activation
from opticnerve.checkpoints.layouts.sequential import named
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import LLM, Activation, BlockSpec, Linear, Norm, Pool
from opticnerve.errors import CheckpointError

Read = Callable[[Config, Shapes], Reading]
Around = Callable[[Config], tuple[BlockSpec, ...]]


def _nothing(config: Config) -> tuple[BlockSpec, ...]:
    del config
    return ()


def _mlp(
    name: str,
    look: views.Look,
    *,
    before: Around = _nothing,
    after: Around = _nothing,
    width: str = "vision_config.hidden_size",
) -> Read:
    """Make the reader of Linear, activation, Linear.

    Args:
        name: of the connector.
        look: reads the views.
        before: reads the blocks before it.
        after: reads the blocks after it.
        width: the setting that holds the width of one level of features.
    """

    def read(config: Config, shapes: Shapes) -> Reading:
        del shapes
        has_bias = bool(config.get("multimodal_projector_bias", True))
        layers = config.get("vision_feature_layer", -2)
        num_levels = len(cast("list[int]", layers)) if isinstance(layers, list | tuple) else 1
        blocks = (
            *before(config),
            Linear(dim=LLM, has_bias=has_bias),
            Activation(function=activation(config.get("projector_hidden_act", "gelu"))),
            Linear(dim=LLM, has_bias=has_bias),
            *after(config),
        )
        return Reading(
            spec=ConnectorSpec(name=name, blocks=blocks, num_levels=num_levels),
            vision_dim=num_levels * int(config.get(width)),
            llm_dim=int(config.get("text_config.hidden_size")),
            views=look(config),
        )

    return read


def _vipllava_norm(config: Config) -> tuple[BlockSpec, ...]:
    return (Norm(norm="layer", eps=float(config.get("projector_layernorm_eps"))),)


def _next_video_pool(config: Config) -> tuple[BlockSpec, ...]:
    mode, factor = config.get("spatial_pool_mode"), int(config.get("spatial_pool_stride"))
    match mode:
        case "average" | "max":
            return (Pool(factor=factor, mode=mode, odd="drop"),)
        case _:
            raise CheckpointError(
                f'the pool of llava_next_video is read in mode "average" or "max", got spatial_pool_mode="{mode}"; '
                f'images are not pooled: layout "llava_next_video_image" reads the projector alone'
            )


def _one_in_four(config: Config) -> tuple[BlockSpec, ...]:
    del config
    return (Pool(factor=2, mode="bilinear"),)


def _perception_lm_pool(config: Config) -> tuple[BlockSpec, ...]:
    factor = int(config.get("projector_pooling_ratio"))
    return (Pool(factor=factor, odd="overlap"),) if factor > 1 else ()


def _perception_lm_example() -> Reading:
    """Perception-LM 1B; transformers' defaults name no width."""
    config = {
        "vision_config": {"model_args": {"embed_dim": 1024, "img_size": [448, 448]}},
        "vision_use_cls_token": False,
        "projector_pooling_ratio": 2,
        "text_config": {"hidden_size": 2048},
    }
    return _PERCEPTION_LM(Config(config, source="Perception-LM 1B"), {})


def _linear_1_2(spec: ConnectorSpec) -> tuple[Entry, ...]:
    return named(spec, "linear_1", "linear_2")


def _linear1_2(spec: ConnectorSpec) -> tuple[Entry, ...]:
    return named(spec, "linear1", "linear2")


def _vipllava_entries(spec: ConnectorSpec) -> tuple[Entry, ...]:
    return named(spec, "projector_layernorm", "linear_1", "linear_2")


def _readout(spec: ConnectorSpec) -> tuple[Entry, ...]:
    return named(spec, "readout.0", "readout.2")


_PERCEPTION_LM = _mlp(
    "perception_lm", views.perception_lm, after=_perception_lm_pool, width="vision_config.model_args.embed_dim"
)


def _row(name: str, title: str, method: str, read: Read, *, of: str = "", is_default: bool = True) -> Layout:
    """Write a row whose Linears are linear_1 and linear_2 of multi_modal_projector.

    Args:
        name: of the layout.
        title: the models.
        method: in a few words.
        read: its reader.
        of: the model type, where it is not the name.
        is_default: whether the model type alone means this layout; if not, it is read only when it is asked for.
    """
    kind = of or name
    return Layout(
        name=name,
        title=title,
        home="transformers",
        method=method,
        read=read,
        entries=_linear_1_2,
        marks=("linear_1.weight", "linear_2.weight") if is_default else (),
        at=("multi_modal_projector.",),
        model_types=(kind,) if is_default else (),
        example=None if is_default else lambda: read(Config.default(kind), {}),
    )


_VIDEO_LLAMA_3 = _row(
    "video_llama_3",
    "VideoLLaMA 3, videos",
    "bilinear pool + MLP",
    _mlp("video_llama_3", views.native("video frames at native size"), before=_one_in_four),
)
_VIDEO_LLAMA_3_IMAGE = _row(
    "video_llama_3_image",
    "VideoLLaMA 3, images",
    "MLP",
    _mlp("video_llama_3_image", views.native("native size", tiling="qwen")),
    of="video_llama_3",
    is_default=False,
)

TABLE: tuple[Layout, ...] = (
    _row("llava", "LLaVA 1.5", "MLP", _mlp("llava", views.llava)),
    _row("llava_next", "LLaVA-NeXT (LLaVA 1.6)", "MLP", _mlp("llava_next", views.anyres)),
    _row("llava_onevision", "LLaVA-OneVision", "MLP", _mlp("llava_onevision", views.anyres)),
    _row(
        "llava_onevision_video",
        "LLaVA-OneVision, videos",
        "MLP + bilinear pool",
        _mlp(
            "llava_onevision_video",
            views.fixed("video frames; a learned image_newline ends the video"),
            after=_one_in_four,
        ),
        of="llava_onevision",
        is_default=False,
    ),
    _row(
        "llava_next_video",
        "LLaVA-NeXT-Video, videos",
        "pool + MLP",
        _mlp("llava_next_video", views.fixed("video frames"), before=_next_video_pool),
    ),
    _row(
        "llava_next_video_image",
        "LLaVA-NeXT-Video, images",
        "MLP",
        _mlp("llava_next_video_image", views.anyres),
        of="llava_next_video",
        is_default=False,
    ),
    _row(
        "video_llava",
        "Video-LLaVA",
        "MLP",
        _mlp("video_llava", views.fixed("images and video frames of one size; the frames keep their CLS")),
    ),
    _row("fast_vlm", "FastVLM", "MLP", _mlp("fast_vlm", views.fast_vlm)),
    replace(
        _row("vipllava", "ViP-LLaVA", "norm + MLP", _mlp("vipllava", views.fixed(), before=_vipllava_norm)),
        entries=_vipllava_entries,
        marks=("projector_layernorm.weight", "linear_1.weight", "linear_2.weight"),
    ),
    replace(
        _row("perception_lm", "Perception-LM", "MLP + pool", _PERCEPTION_LM),
        example=_perception_lm_example,
    ),
    replace(_VIDEO_LLAMA_3, entries=_readout, marks=("readout.0.weight", "readout.2.weight"), at=("projector.",)),
    replace(_VIDEO_LLAMA_3_IMAGE, entries=_readout, at=("projector.",)),
    replace(
        _row("deepseek_vl", "DeepSeek-VL 1.3B", "MLP", _mlp("deepseek_vl", views.padded)),
        entries=_linear1_2,
        marks=("linear1.weight", "linear2.weight"),
        at=("aligner.",),
    ),
    *linears.TABLE,
)
