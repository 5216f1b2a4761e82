"""How the models of a Linear or an MLP look at images."""

from collections.abc import Callable
from dataclasses import replace

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.layout import Views
from opticnerve.checkpoints.layouts.read import fixed_view, side

Look = Callable[[Config], Views]
"""From settings to views."""


def fixed(policy: str = "") -> Look:
    """Make the reader of the views of a model whose processor cuts to one size in a way that no tiling of ours does."""

    def look(config: Config) -> Views:
        return replace(fixed_view(config, policy=policy, num_prefix=count_cls(config)), tiling="", tiling_options={})

    return look


def count_cls(config: Config) -> int:
    """Count the CLS tokens that are left among the features."""
    keeps = config.get("vision_feature_select_strategy", "default") == "full"
    return int(keeps and config.get("vision_config.model_type", "") == "clip_vision_model")


def llava(config: Config) -> Views:
    """Read one size, cut out of the middle; or Pixtral's native sizes."""
    patch = side(config.get("vision_config.patch_size", 0))
    if config.get("vision_config.model_type", "") == "pixtral":
        return Views(policy="native size; special tokens of the LLM end each row and the image", patch_px=patch)
    return fixed()(config)


def anyres(config: Config) -> Views:
    """Read AnyRes, whose pinpoints are (height, width) in transformers; features whose CLS is kept cannot be tiled."""
    one, tile = fixed_view(config, num_prefix=count_cls(config)), side(config.get("vision_config.image_size"))
    most = str(config.get("vision_aspect_ratio", "")).removeprefix("anyres_max_")
    return replace(
        one,
        policy=f"AnyRes: tiles of {tile} px after a base view; a learned image_newline ends each row of the map",
        is_one_view=False,
        tiling="" if one.num_prefix else "anyres",
        tiling_options={
            "tile_px": tile,
            "pinpoints": [[int(height), int(width)] for height, width in config.get("image_grid_pinpoints")],
            "max_map_tiles": int(most) if most.isdigit() else None,
            "rounds_unpad": True,
        }
        if not one.num_prefix
        else {},
    )


def fast_vlm(config: Config) -> Views:
    """Say what FastViTHD takes: its five stages reduce 64 times a side, which no setting says."""
    is_vit_hd = config.get("vision_config.architecture", "") == "fastvit_mci3"
    return Views(
        policy="fixed size; a convolutional encoder with a stride of 64 px",
        patch_px=64 if is_vit_hd else 0,
    )


def native(policy: str, *, tiling: str = "") -> Look:
    """Make the reader of the views of a model that takes any size in whole patches."""

    def look(config: Config) -> Views:
        patch = side(config.get("vision_config.patch_size"))
        return Views(
            policy=policy, patch_px=patch, tiling=tiling, tiling_options={"factor_px": patch} if tiling else {}
        )

    return look


def perception_lm(config: Config) -> Views:
    """Read the settings of its encoder in timm."""
    tile = side(config.get("vision_config.model_args.img_size", 0))
    patch = side(config.get("vision_config.model_args.patch_size", 0))
    cls = "its CLS is dropped" if config.get("vision_use_cls_token", True) else "there is no CLS"
    return Views(policy=f"tiles and a thumbnail; {cls}", patch_px=patch, tile_px=tile)


padded: Look = fixed("fixed size, padded to a square in the mean colour")
"""The views of the DeepSeek-VL and Janus processors."""
