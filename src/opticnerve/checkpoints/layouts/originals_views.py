"""How models of original repositories look at images, from the config.json that those repositories write."""

import ast
import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.layout import Views
from opticnerve.checkpoints.layouts.read import side
from opticnerve.tiling import parse_pinpoints

_CLIP_MEAN_RGB = (122, 116, 104)
_SIGLIP_MEAN_RGB = (127, 127, 127)
_MERGES: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "flat": {"merge": "flat", "has_newline": False},
        "spatial": {"merge": "spatial", "has_newline": False},
        "spatial_unpad": {"merge": "spatial_unpad", "has_newline": True},
    }
)
"""LLaVA's mm_patch_merge_type as options of our tiling. image_newline is stored beside the projector, not in it."""


_ONE_VIEW = frozenset({"", "pad", "square", "resize"})
"""image_aspect_ratio of models that see every image once; without "pad" CLIP's is cropped and SigLIP's stretched."""


def llava(config: Config) -> Views:
    """Read LLaVA's settings, which MobileVLM and TokenPacker share."""
    tower = str(config.get("mm_vision_tower", None) or config.get("vision_tower", None) or "").lower()
    patch, tile = _tower(tower)
    ratio = str(config.get("image_aspect_ratio", None) or "")
    num_prefix = int("clip" in tower and config.get("mm_vision_select_feature", "patch") == "cls_patch")
    if config.get("s2", False):
        return _s2(config, patch=patch, num_prefix=num_prefix)
    policy, tiling, options = f"fixed {tile} px" if tile else "", "", dict[str, object]()
    if tile and ratio == "pad":
        rgb = _SIGLIP_MEAN_RGB if "siglip" in tower else _CLIP_MEAN_RGB
        policy, tiling = f"padded to a square of {tile} px", "plain"
        options = {"height_px": tile, "width_px": tile, "fit": "pad", "pad_rgb": list(rgb)}
    elif tile and "anyres" in ratio:
        policy, options = f"tiles of {tile} px and a view of the whole image", _anyres(config, ratio, tile=tile)
        tiling = "anyres" if options else ""
    elif tile and "siglip" in tower and ratio in {"", "square", "resize"}:
        tiling, options = "plain", {"height_px": tile, "width_px": tile}
    return Views(
        policy=policy,
        patch_px=patch,
        tile_px=tile,
        is_one_view=tile > 0 and ratio in _ONE_VIEW,
        num_prefix=num_prefix,
        tiling=tiling,
        tiling_options=options,
    )


def vila(config: Config) -> Views:
    """Read VILA's and NVILA's settings: those of the whole model, if they are there."""
    patch = side(config.get("vision_tower_cfg.patch_size", 0))
    tile = side(config.get("vision_tower_cfg.image_size", 0))
    ratio = str(config.get("image_aspect_ratio", None) or "")
    if config.get("dynamic_s2", False) or ratio == "dynamic_s2":
        return _dynamic_s2(config, patch=patch)
    if config.get("s2", False):
        return _s2(config, patch=patch)
    if not tile:
        return Views(patch_px=patch)
    if ratio == "resize":
        return stretched(tile, patch)
    policy = f"tiles of {tile} px and a thumbnail" if ratio == "dynamic" else f"{ratio or 'fixed'} {tile} px"
    return Views(policy=policy, patch_px=patch, tile_px=tile, is_one_view=ratio in _ONE_VIEW)


def internvl(config: Config) -> Views:
    """Read InternVL-Chat's settings."""
    tile = side(config.get("force_image_size", None) or config.get("vision_config.image_size", 0))
    options: dict[str, object] = {"height_px": tile, "width_px": tile}
    policy, tiling = f"fixed {tile} px", "plain"
    if config.get("dynamic_image_size", False):
        most, has_thumbnail = int(config.get("max_dynamic_patch", 6)), bool(config.get("use_thumbnail", False))
        policy, tiling = f"up to {most} tiles of {tile} px" + " and a thumbnail" * has_thumbnail, "internvl"
        options = {
            "tile_px": tile,
            "min_tiles": int(config.get("min_dynamic_patch", 1)),
            "max_tiles": most,
            "has_thumbnail": has_thumbnail,
        }
    elif config.get("pad2square", False):
        policy, tiling, options = f"padded to a square of {tile} px", "", {}
    return Views(
        policy=policy,
        patch_px=side(config.get("vision_config.patch_size", 14)),
        tile_px=tile,
        is_one_view=tile > 0 and not config.get("dynamic_image_size", False),
        tiling=tiling if tile else "",
        tiling_options=options if tile else {},
    )


def minicpm(config: Config) -> Views:
    """Read MiniCPM-V's settings: slices since 2.0, in slice_config since 2.5."""
    patch, tile = side(config.get("patch_size", 14)), side(config.get("image_size", 448))
    if not config.get("slice_mode", False):
        return Views(policy=f"fixed {tile} px", patch_px=patch, tile_px=tile, is_one_view=True)
    most = int(config.get("slice_config.max_slice_nums", None) or config.get("max_slice_nums", 9))
    scale = int(config.get("slice_config.scale_resolution", None) or config.get("scale_resolution", 448))
    return Views(
        policy=f"a view of about {scale} px and up to {most} slices of as much",
        patch_px=patch,
        tiling="minicpm",
        tiling_options={"max_slices": most, "scale_px": scale, "multiple_px": patch},
    )


def stretched(tile: int, patch: int, *, num_prefix: int = 0) -> Views:
    """Describe a model that stretches every image to one square."""
    return Views(
        policy=f"fixed {tile} px",
        patch_px=patch,
        tile_px=tile,
        is_one_view=tile > 0,
        num_prefix=num_prefix,
        tiling="plain" if tile else "",
        tiling_options={"height_px": tile, "width_px": tile} if tile else {},
    )


def _tower(name: str) -> tuple[int, int]:
    """Read patch and image size out of an encoder's name, "clip-vit-large-patch14-336"; 0 where it does not say."""
    found = re.search(r"patch(\d+)(?:-(\d+))?", name)
    if found is None:
        return 0, 0
    return int(found[1]), int(found[2] or (224 if "openai/clip" in name else 0))


def _scales(config: Config) -> list[int]:
    return sorted(int(scale) for scale in str(config.get("s2_scales", "336,672,1008")).split(","))


def _s2(config: Config, *, patch: int, num_prefix: int = 0) -> Views:
    """S2 cuts what the image processor made for the largest scale, so none of our tilings is quite the same."""
    scales = _scales(config)
    return Views(
        policy=f"S2: {', '.join(map(str, scales))} px",
        patch_px=patch,
        tile_px=scales[0],
        is_one_view=True,
        num_prefix=num_prefix,
        scales=tuple(scale / scales[0] for scale in scales),
    )


def _dynamic_s2(config: Config, *, patch: int) -> Views:
    scales, most = _scales(config), int(config.get("max_tiles", 12))
    return Views(
        policy=f"dynamic S2: {', '.join(map(str, scales))} px, up to {most} tiles",
        patch_px=patch,
        tile_px=scales[0],
        tiling="dynamic_s2",
        tiling_options={
            "tile_px": scales[0],
            "scales_px": scales,
            "max_tiles": most,
            "output_scale": int(config.get("s2_resize_output_to_scale_idx", 0)),
        },
        scales=tuple(scale / scales[0] for scale in scales),
    )


def _anyres(config: Config, ratio: str, *, tile: int) -> dict[str, object]:
    """List the options of our AnyRes tiling; none where a setting has no match in it."""
    merge = str(config.get("mm_patch_merge_type", None) or "flat")
    pinpoints = config.get("image_grid_pinpoints", None)
    if merge not in _MERGES or not pinpoints:
        return {}
    if isinstance(pinpoints, str) and pinpoints.lstrip().startswith("["):
        pinpoints = ast.literal_eval(pinpoints.strip())
    text = pinpoints if isinstance(pinpoints, str) else json.dumps(pinpoints)
    sizes = parse_pinpoints(text, tile_px=tile)
    if any(length % tile for size in sizes for length in size):
        return {}
    options: dict[str, object] = {"tile_px": tile, "pinpoints": [list(size) for size in sizes], **_MERGES[merge]}
    most = re.search(r"anyres_max_(\d+)", ratio)
    if most and merge == "spatial_unpad":
        options["max_map_tiles"] = int(most[1])
    return options
