"""Granite 4 Vision in transformers: a window Q-Former for each layer of the LLM that image features are added in."""

from collections.abc import Sequence

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.entries import Entry, ignored, module
from opticnerve.checkpoints.layout import Layout, Reading, Shapes, Views
from opticnerve.checkpoints.layouts.read import activation, side
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import LLM, BlockSpec, Branches, Linear, Norm, WindowQFormer
from opticnerve.connectors.blocks.window_qformer import WindowStart
from opticnerve.errors import CheckpointError

_CORNERS: tuple[WindowStart, ...] = ("top_left", "top_right", "bottom_left", "bottom_right")


def _granite4_vision(config: Config, shapes: Shapes) -> Reading:
    """Granite 4 Vision's projectors, one for each layer of the LLM that image features are added in.

    The features are the encoder's layers of `deepstack_layer_map`, in its order, and then `spatial_vision_layer` (once
    more where it is among them), without a CLS token. Out come, side by side on the channels, the tokens for the LLM's
    layers of the map, then those of the four corners, for the layers in `spatial_target_layers`. The LLM's embeddings
    at these places are 0. The newline at the end of each row of tokens is the tiling's.
    """
    del shapes
    function = config.get("qformer_config.hidden_act")
    if activation(function) != "gelu":
        raise CheckpointError(f'the Q-Former has exact GELU only, but qformer_config.hidden_act is "{function}"')
    num_layers = len(config.get("deepstack_layer_map") or ())
    spatial = Branches(branches=tuple(_granite_branch(config, corner) for corner in _CORNERS))
    levels = tuple(_granite_branch(config, "mean") for _ in range(num_layers))
    block = Branches(branches=(*levels, (spatial,)), reads="split") if levels else spatial
    tile = side(config.get("vision_config.image_size"))
    return Reading(
        spec=ConnectorSpec(name="granite4_vision", blocks=(block,), num_levels=1 + num_layers),
        vision_dim=(1 + num_layers) * int(config.get("vision_config.hidden_size")),
        llm_dim=int(config.get("text_config.hidden_size")),
        views=Views(
            policy=f"AnyRes: tiles of {tile} px after a base view; a learned image_newline ends each row of the map",
            patch_px=side(config.get("vision_config.patch_size")),
            tile_px=tile,
            tiling="anyres",
            tiling_options={
                "tile_px": tile,
                "pinpoints": [[int(height), int(width)] for height, width in config.get("image_grid_pinpoints")],
                "rounds_unpad": True,
            },
        ),
    )


def _granite_branch(config: Config, start: WindowStart) -> tuple[BlockSpec, ...]:
    rate = config.get("downsample_rate")
    if rate is None:
        raise CheckpointError(f"{config.source} does not say downsample_rate in its config.json, such as 4/8")
    few, many = str(rate).split("/")
    core = "qformer_config"
    return (
        Norm(norm="layer", eps=1e-6),
        WindowQFormer(
            side=int(many),
            query_side=int(few),
            start=start,
            num_layers=int(config.get(f"{core}.num_hidden_layers")),
            num_heads=int(config.get(f"{core}.num_attention_heads")),
            cross_attention_freq=int(config.get(f"{core}.cross_attention_frequency")),
            feed_forward_dim=int(config.get(f"{core}.intermediate_size")),
            eps=float(config.get(f"{core}.layer_norm_eps")),
        ),
        Linear(dim=LLM),
    )


def _granite_example() -> Reading:
    """Read the settings of granite-4.0-3b-vision that matter here."""
    values = {
        "model_type": "granite4_vision",
        "downsample_rate": "4/8",
        "deepstack_layer_map": [[-19, 9], [-13, 6], [-7, 3], [-1, 0]],
        "image_grid_pinpoints": [
            [384 * rows, 384 * cols] for rows in range(1, 11) for cols in range(1, 10 // rows + 1)
        ],
        "text_config": {"model_type": "granite4_vision_text", "hidden_size": 2560},
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": 1152,
            "num_hidden_layers": 27,
            "image_size": 384,
            "patch_size": 16,
        },
    }
    return _granite4_vision(Config.of(values, source="granite-4.0-3b-vision"), {})


def _granite_entries(spec: ConnectorSpec) -> tuple[Entry, ...]:
    block = spec.blocks[0]
    if not isinstance(block, Branches):
        raise CheckpointError("this layout is that of a connector of Branches")
    if block.reads == "all":
        return _granite_projectors(block, ours="blocks.0.branches", theirs="spatial_projectors")
    *levels, last = block.branches
    spatial = last[0]
    if not levels or not isinstance(spatial, Branches):
        raise CheckpointError("this layout is that of a connector whose last branch holds Branches")
    ours = "blocks.0.branches"
    return (
        *_granite_projectors(block, ours=ours, theirs="layerwise_projectors", num=len(levels)),
        *_granite_projectors(spatial, ours=f"{ours}.{len(levels)}.0.branches", theirs="spatial_projectors"),
    )


def _granite_projectors(block: Branches, *, ours: str, theirs: str, num: int = 4) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    for number, branch in enumerate(block.branches[:num]):
        entries += _granite_projector(branch, ours=f"{ours}.{number}", theirs=f"{theirs}.{number}")
    return tuple(entries)


def _granite_projector(branch: Sequence[BlockSpec], *, ours: str, theirs: str) -> tuple[Entry, ...]:
    core = branch[1]
    if not isinstance(core, WindowQFormer):
        raise CheckpointError("this layout is that of a connector whose branches hold a window Q-Former")
    norm, middle, linear = (f"{ours}.{index}" for index in range(3))
    entries: list[Entry] = [
        *module(f"{norm}.norm", f"{theirs}.norm"),
        Entry(theirs=f"{theirs}.query", ours=(f"{middle}.queries",)),
        Entry(theirs=f"{theirs}.image_positions", ours=(f"{middle}.positions",)),
        *module(f"{middle}.norm", f"{theirs}.qformer.layernorm"),
        *module(f"{linear}.linear", f"{theirs}.out_linear"),
    ]
    for number in range(core.num_layers):
        layer, other = f"{middle}.layers.{number}", f"{theirs}.qformer.encoder.layer.{number}"
        entries += _post_norm_attention(f"{layer}.talk", f"{other}.attention")
        if number % core.cross_attention_freq == 0:
            entries += _post_norm_attention(f"{layer}.look", f"{other}.crossattention")
        entries += module(f"{layer}.think.feed_forward.up", f"{other}.intermediate_query.dense")
        entries += module(f"{layer}.think.feed_forward.down", f"{other}.output_query.dense")
        entries += module(f"{layer}.think.norm", f"{other}.output_query.LayerNorm")
        for name in ("intermediate.dense", "output.dense", "output.LayerNorm"):
            entries += ignored(f"{other}.{name}", reason="there are no words in this Q-Former")
    return tuple(entries)


def _post_norm_attention(ours: str, theirs: str) -> tuple[Entry, ...]:
    names = {"query": "attention.query", "key": "attention.key", "value": "attention.value", "out": "output.dense"}
    return (
        *(entry for name, other in names.items() for entry in module(f"{ours}.attention.{name}", f"{theirs}.{other}")),
        *module(f"{ours}.norm", f"{theirs}.output.LayerNorm"),
    )


TABLE: tuple[Layout, ...] = (
    Layout(
        name="granite4_vision",
        title="Granite 4 Vision",
        home="transformers",
        method="window Q-Formers at several LLM layers",
        read=_granite4_vision,
        entries=_granite_entries,
        marks=("spatial_projectors.0.query", "spatial_projectors.0.image_positions"),
        at=("model.",),
        owns=("layerwise_projectors.", "spatial_projectors."),
        model_types=("granite4_vision",),
        example=_granite_example,
    ),
)
