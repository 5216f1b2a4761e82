"""Original repositories whose connector puts neighbours side by side: InternVL, MiniGPT-v2, nanoVLM."""

from functools import partial

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.entries import Entry
from opticnerve.checkpoints.layout import Layout, Reading, Shapes, Views
from opticnerve.checkpoints.layouts import originals_views, sequential
from opticnerve.checkpoints.layouts.read import shape, side
from opticnerve.connectors import ConnectorSpec, methods
from opticnerve.errors import CheckpointError


def _internvl(config: Config, shapes: Shapes) -> Reading:
    """The order of the tokens is in no tensor: v1, which is the default of the config class, has them by column."""
    if not config.is_known:
        config.get("ps_version")
    ratio, version = float(config.get("downsample_ratio", 0.5)), config.get("ps_version", "v1")
    if version not in {"v1", "v2"}:
        raise CheckpointError(f'{config.source} has ps_version "{version}"; known: v1, v2')
    factor, merged = round(1 / ratio), shape(shapes, "mlp1.0.weight")[0]
    return Reading(
        spec=methods.pixel_shuffle(factor=factor, version=version),
        vision_dim=merged // factor**2,
        llm_dim=shape(shapes, "mlp1.1.weight")[0],
        views=originals_views.internvl(config),
    )


def _minigpt_v2(config: Config, shapes: Shapes) -> Reading:
    """Without ln_vision in the file, features must come normed: training froze it with the encoder."""
    del config
    llm_dim, merged = shape(shapes, "llama_proj.weight")
    has_norm = "ln_vision.weight" in shapes
    spec = methods.concat_strip(has_norm=has_norm)
    return Reading(spec=spec, vision_dim=merged // 4, llm_dim=llm_dim, views=originals_views.stretched(448, 14))


def _minigpt_v2_entries(spec: ConnectorSpec) -> tuple[Entry, ...]:
    has_norm = len(sequential.weighted(spec)) > 1
    return sequential.minigpt_v2(spec) if has_norm else sequential.named(spec, "llama_proj")


def _nanovlm(config: Config, shapes: Shapes) -> Reading:
    factor = int(config.get("mp_pixel_shuffle_factor"))
    llm_dim, merged = shape(shapes, "proj.weight")
    tile, patch = side(config.get("vit_img_size", 0)), side(config.get("vit_patch_size", 0))
    views = originals_views.stretched(tile, patch)
    if most := int(config.get("max_img_size", None) or 0):
        policy = f"tiles of {tile} px of an image of up to {most} px, and a view of the whole image"
        views = Views(policy=policy, patch_px=patch, tile_px=tile)
    spec = methods.pixel_shuffle(factor=factor, has_norm=False, hidden=(), has_bias=False)
    return Reading(spec=spec, vision_dim=merged // factor**2, llm_dim=llm_dim, views=views)


def _internvl2_8b() -> Reading:
    config = Config(
        {
            "ps_version": "v2",
            "force_image_size": 448,
            "dynamic_image_size": True,
            "use_thumbnail": True,
            "max_dynamic_patch": 12,
        }
    )
    return _internvl(config, {"mlp1.0.weight": (4096,), "mlp1.1.weight": (4096, 4096)})


def _nanovlm_450m() -> Reading:
    config = Config({"mp_pixel_shuffle_factor": 4, "vit_img_size": 512, "vit_patch_size": 16, "max_img_size": 1536})
    return _nanovlm(config, {"proj.weight": (960, 12288)})


TABLE: tuple[Layout, ...] = (
    Layout(
        name="internvl_chat",
        title="InternVL-Chat 1.2 to InternVL3",
        home="original",
        method="pixel shuffle + MLP",
        read=_internvl,
        entries=sequential.internvl,
        marks=("mlp1.0.weight", "mlp1.0.bias", "mlp1.1.weight", "mlp1.3.weight"),
        owns=("mlp1.",),
        model_types=("internvl_chat",),
        example=_internvl2_8b,
        tested="golden (v2); a slow reference (v1)",
    ),
    Layout(
        name="minigpt_v2",
        title="MiniGPT-v2",
        home="original",
        method="concat + Linear",
        read=_minigpt_v2,
        entries=_minigpt_v2_entries,
        marks=("llama_proj.weight", "llama_proj.bias"),
        lacks=("query_tokens",),
        owns=("llama_proj.", "ln_vision."),
        example=partial(_minigpt_v2, Config(), {"llama_proj.weight": (4096, 5632), "ln_vision.weight": (1408,)}),
        tested="golden",
    ),
    Layout(
        name="nanovlm",
        title="nanoVLM",
        home="original",
        method="pixel shuffle + Linear",
        read=_nanovlm,
        entries=sequential.nanovlm,
        marks=("proj.weight",),
        lacks=("proj.bias",),
        at=("MP.",),
        example=_nanovlm_450m,
        tested="golden",
    ),
)
