"""From what a published layout says of images to tiling and scales, with the arithmetic of the family's processor."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from opticnerve.checkpoints import Views
from opticnerve.checkpoints.config import Config
from opticnerve.encoders import EncoderInfo
from opticnerve.errors import PlanError
from opticnerve.tiling import TILINGS, PlainTiling, Tiling
from opticnerve.views import Sight


def known_views(layout: str, views: Views, config: Config, processor: Config) -> Views:
    """Add the tiling to views of a family whose tiling is the planner's own.

    Args:
        layout: name of the layout.
        views: as the layout reads them.
        config: settings of the model.
        processor: settings of its image processor, empty where there are none.
    """
    if views.tiling or layout not in _OWN:
        return views
    return _OWN[layout](views, config, processor)


def _idefics3(views: Views, config: Config, processor: Config) -> Views:
    tile = _side(processor, "max_image_size.longest_edge") or views.tile_px
    longest = _side(processor, "size.longest_edge") or 4 * tile
    options = {"tile_px": tile, "longest_px": longest}
    return replace(views, tile_px=tile, tiling="idefics3", tiling_options=options)


def _pixtral(views: Views, config: Config, processor: Config) -> Views:
    if config.get("vision_config.model_type", "") != "pixtral":
        return views
    longest = _side(processor, "size.longest_edge") or int(config.get("vision_config.image_size"))
    factor = views.patch_px * int(config.get("spatial_merge_size", 1))
    return replace(views, tiling="pixtral", tiling_options={"longest_px": longest, "factor_px": factor})


def _side(processor: Config, path: str) -> int:
    """Read a side in pixels from the settings of an image processor; 0 where they do not say."""
    return int(processor.get(path, None) or processor.get(f"image_processor.{path}", None) or 0)


_OWN: Mapping[str, Callable[[Views, Config, Config], Views]] = MappingProxyType(
    {"idefics3": _idefics3, "smolvlm": _idefics3, "mistral3": _pixtral, "llava": _pixtral}
)


def make_sight(info: EncoderInfo, views: Views, *, tiling: Tiling, vision_dim: int) -> Sight:
    """Say how a published model sees images.

    Args:
        info: of its encoder, which may know nothing of tokens that are kept or patches that are merged inside.
        views: how it looks at images.
        tiling: of those views.
        vision_dim: channels that the connector reads, all levels and scales together.
    """
    is_dynamic = views.tiling == "dynamic_s2"
    return Sight(
        info=replace(
            info,
            dim=vision_dim // len(views.scales),
            patch_px=views.patch_px or info.patch_px,
            native_px=(views.tile_px, views.tile_px) if views.tile_px else info.native_px,
            num_prefix=views.num_prefix,
        ),
        tiling=tiling,
        scales=(1,) if is_dynamic else views.scales,
    )


def find_tiling(views: Views, *, name: str) -> Tiling:
    """Find the tiling that cuts images as a published model does.

    Args:
        views: how the model looks at images.
        name: of the model.

    Raises:
        PlanError: no tiling does what its processor does.
    """
    if views.tiling in TILINGS:
        return TILINGS[views.tiling].from_dict(views.tiling_options)
    if views.is_one_view and views.tile_px:
        side = round(views.tile_px * max(views.scales))
        return PlainTiling(height_px=side, width_px=side)
    policy = views.policy or "its settings do not say how"
    raise PlanError(
        f"{name} cuts images in a way that no tiling does, so its visual tokens are not known ({policy}): plan its "
        f"encoder, method and LLM with the nearest tiling (--encoder, --method, --llm, --tiling)"
    )
