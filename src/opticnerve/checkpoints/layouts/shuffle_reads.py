"""From the settings of families with a pixel shuffle to their connectors."""

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.layout import Reading, Shapes, Views
from opticnerve.checkpoints.layouts.read import activation, side
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import (
    GLU,
    LLM,
    VISION,
    Activation,
    BlockSpec,
    Branches,
    Linear,
    Merge,
    Norm,
    SincosPositions,
)


def _reading(
    config: Config, name: str, *blocks: BlockSpec, views: Views, vision_dim: int = 0, num_levels: int = 1
) -> Reading:
    """Put the blocks of a family together, with the widths of its config."""
    inside = _inside(name)
    return Reading(
        spec=ConnectorSpec(name=name, blocks=blocks, num_levels=num_levels),
        vision_dim=num_levels * (vision_dim or int(config.get(f"{inside}vision_config.hidden_size"))),
        llm_dim=int(config.get(f"{inside}text_config.hidden_size")),
        views=views,
    )


def _inside(name: str) -> str:
    """Return where the settings of the vision-language model are."""
    return "vlm_config." if name == "colmodernvbert" else ""


def _unshuffle(factor: int) -> Merge:
    return Merge(rows=factor, cols=factor)


def _got_tiles(config: Config) -> Views:
    """Describe a model with the image processor of GOT-OCR 2: InternVL's tiles."""
    tile = side(config.get("vision_config.image_size", 0))
    return Views(
        policy=f"1 to 12 tiles of {tile} px, and a thumbnail after several",
        patch_px=side(config.get("vision_config.patch_size", 0)),
        tile_px=tile,
        tiling="internvl" if tile else "",
        tiling_options={"tile_px": tile} if tile else {},
    )


def _tiles(config: Config, *, policy: str, vision: str = "vision_config") -> Views:
    """Describe a model that cuts images into tiles in a way of its own."""
    tile = side(config.get(f"{vision}.image_size", 0))
    patch = side(config.get(f"{vision}.patch_size", 0))
    return Views(policy=policy.format(tile=tile), patch_px=patch, tile_px=tile)


def _native(config: Config, policy: str = "native size") -> Views:
    return Views(policy=policy, patch_px=side(config.get("vision_config.patch_size", 0)))


def internvl(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read InternVL's: what is put side by side is normed."""
    del shapes
    act = activation(config.get("projector_hidden_act"))
    return _reading(
        config,
        name,
        _unshuffle(int(1 / float(config.get("downsample_ratio")))),
        Norm(norm="layer", eps=1e-5),
        Linear(dim=LLM),
        Activation(function=act),
        Linear(dim=LLM),
        views=_got_tiles(config),
    )


def lfm2_vl(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read LFM2-VL's, where the norm and the biases are optional."""
    del shapes
    has_bias = bool(config.get("projector_bias"))
    norm = (Norm(norm="layer", eps=1e-5),) if config.get("projector_use_layernorm") else ()
    return _reading(
        config,
        name,
        _unshuffle(int(config.get("downsample_factor"))),
        *norm,
        Linear(dim=int(config.get("projector_hidden_size")), has_bias=has_bias),
        Activation(function=activation(config.get("projector_hidden_act"))),
        Linear(dim=LLM, has_bias=has_bias),
        views=_native(config, policy="native size; large images in tiles, with a thumbnail after them"),
    )


def aya_vision(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read Aya Vision's gated projector."""
    del shapes
    hidden = int(config.get("alignment_intermediate_size", 0) or config.get("text_config.hidden_size"))
    return _reading(
        config,
        name,
        _unshuffle(int(config.get("downsample_factor"))),
        Norm(norm="layer", eps=float(config.get("adapter_layer_norm_eps"))),
        GLU(hidden_dim=hidden // 2, dim=LLM, function="silu", has_bias=True),
        views=_got_tiles(config),
    )


def cohere2_vision(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read Command A Vision's: Aya Vision's without the norm."""
    del shapes
    return _reading(
        config,
        name,
        _unshuffle(int(config.get("downsample_factor"))),
        GLU(hidden_dim=int(config.get("alignment_intermediate_size")) // 2, dim=LLM, function="silu", has_bias=True),
        views=_tiles(config, policy="tiles of {tile} px, and a thumbnail after several"),
    )


def nemotron_h_omni(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read Nemotron's; a model whose LLM has layers that predict several tokens has a norm before the merge."""
    del shapes
    eps = float(config.get("vision_config.layer_norm_eps"))
    is_normed = int(config.get("text_config.num_nextn_predict_layers", 0)) > 0
    return _reading(
        config,
        name,
        *((Norm(norm="layer", eps=eps),) if is_normed else ()),
        _unshuffle(int(1 / float(config.get("downsample_ratio")))),
        Norm(norm="rms", eps=1e-5),
        Linear(dim=int(config.get("projector_hidden_size")), has_bias=False),
        Activation(function="relu_squared"),
        Linear(dim=LLM, has_bias=False),
        vision_dim=int(config.get("vision_hidden_size")),
        views=_native(config),
    )


def idefics3(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read Idefics3's and SmolVLM's."""
    del shapes
    return _reading(
        config,
        name,
        _unshuffle(int(config.get("scale_factor"))),
        Linear(dim=LLM, has_bias=False),
        views=_tiles(config, policy="tiles of {tile} px, and the whole image after them"),
    )


def modernvbert(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read ModernVBERT's, also inside ColModernVBERT; UltraVBERT's has a norm at the end."""
    del shapes
    inside = _inside(name)
    norm = (Norm(norm="rms", eps=float(config.get("text_config.rms_norm_eps"))),) if name == "ultravbert" else ()
    policy = "tiles of {tile} px, and the whole image after them"
    return _reading(
        config,
        name,
        _unshuffle(int(config.get(f"{inside}pixel_shuffle_factor"))),
        Linear(dim=LLM, has_bias=False),
        *norm,
        views=_tiles(config, policy=policy, vision=f"{inside}vision_config"),
    )


def granite_docling(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read one of two paths: the coarse one, or the fine one with half the factor and four times the tokens.

    Both have the norms and the last Linear in common. The density router, which picks a path for a whole page from the
    features of all its tiles, is not part of the connector.
    """
    del shapes
    factor = int(config.get("vision_config.scale_factor")) // (2 if name == "granite_docling_fine" else 1)
    deep = len(config.get("vision_config.deepstack_visual_indexes"))
    main = (
        Norm(norm="layer", eps=1e-5),
        _unshuffle(factor),
        Linear(dim=LLM, has_bias=False),
        SincosPositions(),
        Norm(norm="layer", eps=1e-5),
        Activation(),
        Linear(dim=LLM, has_bias=False),
        Norm(norm="layer", eps=1e-5),
    )
    merger = (_unshuffle(factor), Norm(norm="layer", eps=1e-5), Linear(dim=LLM), Activation(), Linear(dim=LLM))
    stack = Branches(branches=(main, *[merger] * deep), reads="split") if deep else None
    return _reading(
        config,
        name,
        *((stack,) if stack else main),
        num_levels=1 + deep,
        views=_tiles(config, policy="tiles of {tile} px, and a thumbnail after several"),
    )


def llama4(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read Llama 4's: the adapter at the end of its encoder, and the Linear after it.

    The merged width is `intermediate_size`, as in the code; in the default config it is not four times `hidden_size`.
    """
    del shapes
    ratio = float(config.get("vision_config.pixel_shuffle_ratio"))
    return _reading(
        config,
        name,
        _unshuffle(round(1 / ratio)),
        Linear(dim=int(config.get("vision_config.projector_input_dim")), has_bias=False),
        Activation(),
        Linear(dim=int(config.get("vision_config.projector_output_dim")), has_bias=False),
        Activation(),
        Linear(dim=LLM, has_bias=False),
        vision_dim=round(int(config.get("vision_config.intermediate_size")) * ratio**2),
        views=_tiles(config, policy="tiles of {tile} px, and a thumbnail after several"),
    )


def muse(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read Muse's: its adapter, the Linear after it, and a norm without weights."""
    del shapes
    factor, hidden = int(config.get("vision_config.merge_size")), int(config.get("projector_hidden_size"))
    act = Activation(function=activation(config.get("projector_hidden_act")))
    return _reading(
        config,
        name,
        Merge(rows=factor, cols=factor, order="channel_row_col"),
        Linear(dim=hidden, has_bias=False),
        act,
        Linear(dim=hidden, has_bias=False),
        act,
        Linear(dim=LLM, has_bias=False),
        Norm(norm="rms_no_scale", eps=float(config.get("text_config.rms_norm_eps"))),
        views=_native(config),
    )


def mistral3(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read Mistral 3's.

    transformers drops a last row or column that has no partner; its processor makes none, and ours refuses them.
    """
    del shapes
    factor = int(config.get("spatial_merge_size"))
    has_bias = bool(config.get("multimodal_projector_bias", False))
    longest = side(config.get("vision_config.image_size", 0))
    return _reading(
        config,
        name,
        Norm(norm="rms", eps=float(config.get("text_config.rms_norm_eps"))),
        Merge(rows=factor, cols=factor, order="channel_row_col"),
        Linear(dim=VISION, has_bias=False),
        Linear(dim=LLM, has_bias=has_bias),
        Activation(function=activation(config.get("projector_hidden_act", "gelu"))),
        Linear(dim=LLM, has_bias=has_bias),
        views=Views(
            policy=f"native size, at most {longest} px a side",
            patch_px=side(config.get("vision_config.patch_size", 0)),
        ),
    )
