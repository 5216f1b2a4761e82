"""VILA and NVILA, whose releases keep the projector in a folder of its own, mm_projector, with its own config.json."""

import re
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.entries import Entry
from opticnerve.checkpoints.layout import Layout, Reading, Shapes
from opticnerve.checkpoints.layouts import originals_views, sequential
from opticnerve.checkpoints.layouts.originals_shapes import mlp_depth, projector_type
from opticnerve.checkpoints.layouts.read import shape
from opticnerve.connectors import ConnectorSpec, methods
from opticnerve.connectors.blocks import LLM, VISION, Activation, BlockSpec, Dim, Linear, Merge, Norm
from opticnerve.errors import CheckpointError

TYPES = ("v2l_projector", "llava_llama", "vila")
_FUNNELS: Mapping[str, tuple[Dim, ...]] = MappingProxyType(
    {
        "3x3_fix": (VISION * 3, LLM),
        "3x3_s2": (VISION * 3, VISION, VISION // 3, LLM),
        "3x3_s2_new": (VISION * 4, VISION * 2, VISION, VISION // 3, LLM),
    }
)
"""Hidden widths of VILA's deeper projectors, without "mlp_downsample_"."""


def _vila(config: Config, shapes: Shapes) -> Reading:
    """The kind is in the folder's own config, in that of the whole model, or to be seen from the number of layers.

    The merged tokens come row by row, as the current repository has them for every kind; until late 2024
    "mlp_downsample" gave them column by column.
    """
    kind = projector_type(config)
    num_hidden = sum(bool(re.fullmatch(r"layers\.\d+\.weight", name)) for name in shapes) // 2
    if not kind.startswith("mlp_downsample"):
        found = [name for name, hidden in _FUNNELS.items() if len(hidden) == num_hidden]
        kind = "mlp_downsample_" + (found[0] if found else "2x2_fix")
    name = kind.removeprefix("mlp_downsample").removeprefix("_")
    if name not in {"", "2x2_fix", *_FUNNELS}:
        raise CheckpointError(f'{config.source} has an mm_projector_type "{kind}" that is not known')
    factor = 3 if name in _FUNNELS else 2
    blocks: list[BlockSpec] = [Merge(rows=factor, cols=factor, odd="pad")]
    for dim in _FUNNELS.get(name, (LLM,)):
        if len(blocks) == 1 or factor == 3:
            blocks.append(Norm(eps=1e-5))
        blocks += [Linear(dim=dim), Activation()]
    spec = ConnectorSpec(name="vila", blocks=(*blocks, Linear()))
    merged = shape(shapes, "layers.1.weight")[0]
    last = max(int(one.split(".")[1]) for one in shapes if re.fullmatch(r"layers\.\d+\.weight", one))
    return Reading(
        spec=spec,
        vision_dim=merged // factor**2,
        llm_dim=shape(shapes, f"layers.{last}.weight")[0],
        views=originals_views.vila(config),
    )


def _mlp(config: Config, shapes: Shapes) -> Reading:
    llm_dim, vision_dim = shape(shapes, "layers.0.weight")
    spec = methods.mlp(depth=mlp_depth(config, shapes, start="layers."))
    return Reading(spec=spec, vision_dim=vision_dim, llm_dim=llm_dim, views=originals_views.vila(config))


def _linear(config: Config, shapes: Shapes) -> Reading:
    llm_dim, vision_dim = shape(shapes, "layers.weight")
    return Reading(spec=methods.linear(), vision_dim=vision_dim, llm_dim=llm_dim, views=originals_views.vila(config))


def _whole(spec: ConnectorSpec) -> tuple[Entry, ...]:
    return sequential.named(spec, "layers")


def _layers(spec: ConnectorSpec) -> tuple[Entry, ...]:
    return sequential.numbered(spec, prefix="layers.", offset=0)


def _nvila_8b() -> Reading:
    config = Config({"dynamic_s2": True, "s2_scales": "448,896,1344", "s2_resize_output_to_scale_idx": -1})
    config.values["vision_tower_cfg"] = {"patch_size": 14, "image_size": 448}
    shapes = {"layers.1.weight": (4 * 3456,), "layers.2.weight": (3584, 4 * 3456), "layers.4.weight": (3584, 3584)}
    return _vila(config, shapes)


TABLE: tuple[Layout, ...] = (
    Layout(
        name="vila",
        title="VILA-1.5, NVILA",
        home="original",
        method="concat + MLP",
        read=_vila,
        entries=_layers,
        marks=("layers.1.weight", "layers.1.bias", "layers.2.weight", "layers.4.weight"),
        lacks=("layers.0.weight",),
        owns=("layers.",),
        model_types=TYPES,
        example=_nvila_8b,
        tested="golden (2x2); a slow reference (3x3)",
    ),
    Layout(
        name="vila_mlp",
        title="VILA with mlp2x_gelu",
        home="original",
        method="MLP",
        read=_mlp,
        entries=_layers,
        marks=("layers.0.weight", "layers.0.bias", "layers.2.weight"),
        lacks=("layers.1.weight",),
        owns=("layers.",),
        model_types=TYPES,
        example=partial(Reading, spec=methods.mlp(), vision_dim=1152, llm_dim=4096),
        tested="a slow reference",
    ),
    Layout(
        name="vila_linear",
        title="VILA with a Linear",
        home="original",
        method="Linear",
        read=_linear,
        entries=_whole,
        marks=("layers.weight", "layers.bias"),
        owns=("layers.",),
        model_types=TYPES,
        example=partial(Reading, spec=methods.linear(), vision_dim=1024, llm_dim=4096),
        tested="a slow reference",
    ),
)
