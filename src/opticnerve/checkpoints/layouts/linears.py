"""Families of transformers whose connector is one Linear, or a few of them that are not LLaVA's."""

from collections.abc import Callable
from dataclasses import replace

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.entries import Entry, module
from opticnerve.checkpoints.layout import Layout, Reading, Shapes, Views
from opticnerve.checkpoints.layouts.projector_views import fixed, padded
from opticnerve.checkpoints.layouts.read import activation, fixed_view, side
from opticnerve.checkpoints.layouts.sequential import named
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import LLM, Activation, Branches, Linear
from opticnerve.errors import CheckpointError

Read = Callable[[Config, Shapes], Reading]
_PROJECTOR = ("multi_modal_projector.",)


def _hybrid(config: Config, shapes: Shapes) -> Reading:
    del shapes
    high = 4 * int(config.get("high_res_vision_config.output_channels"))
    low, llm_dim = int(config.get("vision_config.hidden_size")), int(config.get("text_config.hidden_size"))
    if high != low:
        raise CheckpointError(
            f"the two encoders of deepseek_vl_hybrid must be equally wide, as in the published models, to lie side by "
            f"side as levels: got {high} channels of SAM and {low} of SigLIP"
        )
    look = fixed("one size for each encoder; the features of SAM, which sees the larger, are the first level")
    half = (Linear(dim=LLM // 2),)
    blocks = (Branches(branches=(half, half), reads="split"), Activation(), Linear())
    return Reading(
        spec=ConnectorSpec(name="deepseek_vl_hybrid", blocks=blocks, num_levels=2),
        vision_dim=2 * low,
        llm_dim=llm_dim,
        views=look(config),
    )


def _hybrid_example() -> Reading:
    """DeepSeek-VL 7B; transformers' defaults are of unequal widths."""
    config = Config.of(
        {
            "model_type": "deepseek_vl_hybrid",
            "vision_config": {
                "model_type": "siglip_vision_model",
                "hidden_size": 1024,
                "image_size": 384,
                "patch_size": 16,
            },
            "text_config": {"model_type": "llama", "hidden_size": 4096},
        }
    )
    return _hybrid(config, {})


def _hybrid_entries(spec: ConnectorSpec) -> tuple[Entry, ...]:
    del spec
    return (
        *module("blocks.0.branches.0.0.linear", "high_res_vision_proj"),
        *module("blocks.0.branches.1.0.linear", "vision_proj"),
        *module("blocks.2.linear", "proj"),
    )


def _janus(config: Config, shapes: Shapes) -> Reading:
    del shapes
    dim, function = int(config.get("vision_config.projection_dim")), activation(config.get("vision_config.hidden_act"))
    deeper = (Activation(function=function), Linear(dim=dim)) * (int(config.get("vision_config.depth")) - 1)
    return Reading(
        spec=ConnectorSpec(name="janus", blocks=(Linear(dim=dim), *deeper)),
        vision_dim=int(config.get("vision_config.hidden_size")),
        llm_dim=int(config.get("text_config.hidden_size")),
        views=padded(config),
    )


def _janus_entries(spec: ConnectorSpec) -> tuple[Entry, ...]:
    num = sum(isinstance(block, Linear) for block in spec.blocks)
    return named(spec, "fc1", *(f"hidden_layers.{index}" for index in range(num - 1)))


def _paligemma(name: str, *, root: str = "", is_padded: bool = False) -> Read:
    """Make the reader of PaliGemma's one Linear.

    Args:
        name: of the connector.
        root: where PaliGemma's settings are, with a dot at the end.
        is_padded: whether the processor pads the image instead of stretching it.
    """

    def read(config: Config, shapes: Shapes) -> Reading:
        del shapes
        dim = int(config.get(f"{root}vision_config.projection_dim"))
        seen = fixed_view(config, vision=f"{root}vision_config")
        if is_padded:
            seen = replace(seen, policy=f"{seen.policy}, padded to a square", tiling="", tiling_options={})
        return Reading(
            spec=ConnectorSpec(name=name, blocks=(Linear(dim=dim),)),
            vision_dim=int(config.get(f"{root}vision_config.hidden_size")),
            llm_dim=dim,
            views=seen,
        )

    return read


def _mllama(config: Config, shapes: Shapes) -> Reading:
    """Read the one Linear.

    Its features are as MllamaVisionModel gives them out: the last layer's channels, then those of the intermediate
    layers channel by channel (channel 0 of each layer, channel 1 of each layer, ...). So they are one level here:
    layers that lie side by side would be read wrongly.
    """
    del shapes
    tile, num = side(config.get("vision_config.image_size")), int(config.get("vision_config.max_num_tiles"))
    return Reading(
        spec=ConnectorSpec(name="mllama", blocks=(Linear(),)),
        vision_dim=int(config.get("vision_config.vision_output_dim")),
        llm_dim=int(config.get("text_config.hidden_size")),
        views=Views(
            policy=f"up to {num} tiles of {tile} px; the LLM reads the tokens by cross-attention; features as the "
            "encoder gives them out, its intermediate layers interleaved channel by channel",
            patch_px=side(config.get("vision_config.patch_size")),
            tile_px=tile,
            num_prefix=1,
        ),
    )


def _linear(spec: ConnectorSpec) -> tuple[Entry, ...]:
    return named(spec, "linear")


def _bare(spec: ConnectorSpec) -> tuple[Entry, ...]:
    return named(spec, "")


TABLE: tuple[Layout, ...] = (
    Layout(
        name="deepseek_vl_hybrid",
        title="DeepSeek-VL 7B",
        home="transformers",
        method="MLP over two encoders",
        read=_hybrid,
        entries=_hybrid_entries,
        marks=("high_res_vision_proj.weight", "vision_proj.weight", "proj.weight"),
        at=("aligner.",),
        model_types=("deepseek_vl_hybrid",),
        example=_hybrid_example,
    ),
    Layout(
        name="janus",
        title="Janus, Janus-Pro",
        home="transformers",
        method="MLP",
        read=_janus,
        entries=_janus_entries,
        marks=("fc1.weight",),
        at=("model.aligner.",),
        model_types=("janus",),
    ),
    Layout(
        name="paligemma",
        title="PaliGemma, PaliGemma 2",
        home="transformers",
        method="Linear",
        read=_paligemma("paligemma"),
        entries=_linear,
        marks=("linear.weight", "linear.bias"),
        at=_PROJECTOR,
        model_types=("paligemma",),
    ),
    Layout(
        name="colpali",
        title="ColPali",
        home="transformers",
        method="Linear",
        read=_paligemma("colpali", root="vlm_config."),
        entries=_linear,
        marks=("linear.weight", "linear.bias"),
        at=_PROJECTOR,
        model_types=("colpali",),
    ),
    Layout(
        name="pi0",
        title="Pi0",
        home="transformers",
        method="Linear",
        read=_paligemma("pi0", root="vlm_config.", is_padded=True),
        entries=_linear,
        marks=("linear.weight", "linear.bias"),
        at=_PROJECTOR,
        model_types=("pi0",),
    ),
    Layout(
        name="mllama",
        title="Llama 3.2 Vision",
        home="transformers",
        method="Linear over several layers",
        read=_mllama,
        entries=_bare,
        marks=("weight", "bias"),
        at=_PROJECTOR,
        model_types=("mllama",),
    ),
)
