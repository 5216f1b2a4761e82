"""Readers of mergers: from the config of a family that puts neighbours side by side to its blocks.

Qwen's mergers read patches block by block, so that four in a row are neighbours; ours read them in raster order, and
the numbers that come out are the same. How many pixels an image may have is in a release's preprocessor_config.json,
which is not read: `Views` has what the image processor's code says.
"""

from dataclasses import replace

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.layout import Reading, Shapes, Views
from opticnerve.checkpoints.layouts.read import activation
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import (
    IN,
    LLM,
    VISION,
    Activation,
    BlockSpec,
    Branches,
    Dim,
    FrameMean,
    Linear,
    Merge,
    MergeFrames,
    Norm,
)
from opticnerve.connectors.blocks.linear import ActivationKind
from opticnerve.connectors.blocks.norm import NormKind

_ENCODERS = ("vision_config", "thinker_config.vision_config", "vlm_config.vision_config")
"""Where a config has the encoder's settings: a model inside another one has them deeper."""


def qwen(
    config: Config,
    shapes: Shapes,
    *,
    name: str,
    norm: NormKind = "layer",
    dim: str = "hidden_size",
    llm: str = "out_hidden_size",
    side: str = "spatial_merge_size",
) -> Reading:
    """Read a merger of Qwen: a norm for each patch, and an MLP as wide as the merged patches.

    Args:
        config: of the whole model.
        shapes: not needed.
        name: of the family.
        norm: its kind.
        dim: what the config calls the width of the patches.
        llm: what it calls the width that comes out.
        side: what it calls the patches a side that become one.
    """
    del shapes
    encoder = next((path for path in _ENCODERS if config.get(path, None) is not None), _ENCODERS[0])
    factor = int(config.get(f"{encoder}.{side}"))
    return Reading(
        spec=ConnectorSpec(name=name, blocks=(Norm(norm=norm, eps=1e-6), *_mlp(factor))),
        vision_dim=int(config.get(f"{encoder}.{dim}")),
        llm_dim=int(config.get(f"{encoder}.{llm}")),
        views=_native(int(config.get(f"{encoder}.patch_size")), factor),
    )


def deepstack(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read Qwen3-VL's mergers: they norm the patches of the last layer, but the merged tokens of the layers before."""
    main = qwen(config, shapes, name=name)
    paths = (f"{encoder}.deepstack_visual_indexes" for encoder in _ENCODERS)
    layers = next((found for path in paths if (found := config.get(path, None))), ())
    if not layers:
        return main
    norm, merge, *mlp = main.spec.blocks
    branches = ((norm, merge, *mlp), *[(merge, norm, *mlp)] * len(layers))
    blocks = (Branches(branches=branches, reads="split"),)
    return replace(
        main,
        spec=ConnectorSpec(name=name, blocks=blocks, num_levels=len(branches)),
        vision_dim=main.vision_dim * len(branches),
    )


def hyperclovax(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read Qwen2.5-VL's merger and the Linear after it."""
    merger = qwen(config, shapes, name=name, norm="rms")
    blocks = (*merger.spec.blocks[:-1], Linear(dim=merger.llm_dim), Linear())
    return replace(
        merger,
        spec=ConnectorSpec(name=name, blocks=blocks),
        llm_dim=int(config.get("text_config.hidden_size")),
    )


def projector(config: Config, shapes: Shapes, *, name: str, eps: float = 1e-6, tiling: str = "") -> Reading:
    """Read a projector outside the encoder, whose hidden width, activation and biases may be settings.

    Args:
        config: of the whole model.
        shapes: not needed.
        name: of the family.
        eps: of the norm.
        tiling: that of this library which does what the family's image processor does.
    """
    del shapes
    side = int(config.get("vision_config.spatial_merge_size"))
    mlp = _mlp(
        side,
        int(config.get("projector_hidden_size", 0)) or IN,
        function=activation(config.get("projector_hidden_act", "gelu")),
        has_bias=bool(config.get("projector_bias", True)),
    )
    return _reading(config, name, Norm(eps=eps), *mlp, views=_native(_patch(config), side, tiling=tiling))


def kimi(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read Kimi K2.5's projector, and the mean over frames before it."""
    del shapes
    rows, cols = (int(side) for side in config.get("vision_config.merge_kernel_size"))
    blocks = (
        FrameMean(),
        Norm(eps=float(config.get("projection_layer_norm_eps"))),
        Merge(rows=rows, cols=cols),
        Linear(dim=IN),
        Activation(),
        Linear(),
    )
    views = _native(_patch(config), rows, tiling="", policy="native size, padded")
    return _reading(config, name, *blocks, views=views)


def minimax(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read MiniMax-M3's two MLPs: one for each patch, one for the merged patches."""
    del shapes
    side, hidden = int(config.get("vision_config.spatial_merge_size")), int(config.get("projector_hidden_size"))
    views = _native(_patch(config), side, min_pixels=4 * 28 * 28, max_pixels=451584)
    return _reading(config, name, Linear(dim=hidden), Activation(), Linear(), *_mlp(side, hidden), views=views)


def ernie(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read ERNIE 4.5 VL's resampler: neighbours side by side, then two frames; a still image counts twice."""
    del shapes
    side = int(config.get("vision_config.spatial_merge_size"))
    merged = VISION * side**2
    mlp = (
        Linear(dim=merged),
        Activation(),
        Linear(dim=merged),
        Norm(eps=float(config.get("vision_config.rms_norm_eps"))),
    )
    blocks = (
        Merge(rows=side, cols=side),
        *mlp,
        MergeFrames(frames=int(config.get("vision_config.temporal_merge_size")), still="repeat"),
        *mlp,
        Linear(),
        Norm(norm="rms", eps=float(config.get("text_config.rms_norm_eps"))),
    )
    views = _native(_patch(config), side, min_pixels=56 * 56, max_pixels=28 * 28 * 6177)
    return _reading(config, name, *blocks, views=views)


def inkling(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read Inkling 2's merger, which stands in the encoder and has no norm."""
    del shapes
    side = int(config.get("vision_config.spatial_merge_size"))
    mlp = _mlp(
        side,
        int(config.get("vision_config.projection_hidden_dim")),
        function=activation(config.get("vision_config.hidden_act")),
        has_bias=bool(config.get("vision_config.projector_bias")),
    )
    views = _native(_patch(config), side, tiling="", policy="native size, padded")
    return replace(_reading(config, name, *mlp, views=views), llm_dim=int(config.get("vision_config.text_hidden_size")))


def _reading(config: Config, name: str, *blocks: BlockSpec, views: Views) -> Reading:
    return Reading(
        spec=ConnectorSpec(name=name, blocks=blocks),
        vision_dim=int(config.get("vision_config.hidden_size")),
        llm_dim=int(config.get("text_config.hidden_size")),
        views=views,
    )


def _mlp(
    side: int, hidden: Dim = IN, *, function: ActivationKind = "gelu", has_bias: bool = True
) -> tuple[BlockSpec, ...]:
    return (
        Merge(rows=side, cols=side),
        Linear(dim=hidden, has_bias=has_bias),
        Activation(function=function),
        Linear(dim=LLM, has_bias=has_bias),
    )


def _patch(config: Config) -> int:
    return int(config.get("vision_config.patch_size"))


def _native(patch: int, side: int, *, tiling: str = "qwen", policy: str = "native size", **pixels: int) -> Views:
    options = {"factor_px": patch * side, **pixels} if tiling else {}
    return Views(policy=policy, patch_px=patch, tiling=tiling, tiling_options=options)
