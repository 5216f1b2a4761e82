"""From the settings of a published vision transformer (config.json) to its costs, without building it."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from opticnerve.encoders import EncoderInfo, Layers
from opticnerve.encoders.levels import resolve_levels
from opticnerve.encoders.normalisation import FAMILIES
from opticnerve.errors import PlanError
from opticnerve.planner.vit_families import OUTER_KINDS, VIT_FAMILIES, Family, Traits
from opticnerve.planner.vit_tower import ViT, VitLayer

_DEFAULT_PATCHES = 32
"""Side in patches of the image that planning starts from where a tower has no native size."""


def can_read_vit(settings: Mapping[str, Any]) -> bool:
    """Tell whether these are settings of a vision transformer whose costs are known in closed form.

    Args:
        settings: the content of config.json, of the vision model or of a model that holds one.
    """
    return _kind(settings) in VIT_FAMILIES


def read_vit(settings: Mapping[str, Any], *, name: str, layers: Layers = "last") -> ViT:
    """Read a vision transformer's settings.

    Args:
        settings: the content of config.json; of a composite (CLIP, SigLIP, a vision-language model), its
            vision_config is taken.
        name: what messages and tables call it.
        layers: as for `load_encoder`: the finished output, or indices into the hidden states, which are joined on the
            channels. Layers after the last one needed are not counted; nor are heads and mergers.

    Raises:
        PlanError: a setting is missing or cannot be, or the family is not known.
        EncoderError: there is no such layer.
    """
    kind = _kind(settings)
    if kind not in VIT_FAMILIES:
        raise PlanError(
            f'{name}: the costs of a "{kind}" model are not known in closed form; they are for '
            f"{', '.join(VIT_FAMILIES)}. Load it with `sketch_encoder`, and plan with that"
        )
    found = _Settings(values=_inner(settings), name=name, family=VIT_FAMILIES[kind])
    levels = resolve_levels(layers, num_layers=found.depth, name=name)
    depth = max(*levels, 1) if levels else found.depth
    return ViT(
        about=_info(found, levels, name),
        layer=_layer(found),
        depth=depth,
        num_prefix=found.num_prefix,
        patch_values=found.patch_values,
        num_outside=_num_outside(found, is_finished=not levels),
        window_patches=found.window_patches,
        num_windowed=sum(index not in found.full_layers for index in range(depth)),
    )


def _inner(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    vision = settings.get("vision_config")
    return cast(Mapping[str, Any], vision) if isinstance(vision, Mapping) else settings


def _kind(settings: Mapping[str, Any]) -> str:
    kind = str(_inner(settings).get("model_type") or settings.get("model_type") or "")
    return OUTER_KINDS.get(kind, kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Settings:
    """Settings of a tower, looked up under its family's names."""

    values: Mapping[str, Any]
    name: str
    family: Family

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401
        """Return a setting; one that is null counts as not there.

        Raises:
            PlanError: it is not there and has no default.
        """
        value = self.values.get(key)
        value = default if value is None else value
        if value is None:
            raise PlanError(
                f'{self.name}: its config.json does not say "{key}", which the cost of a "{self.family.kind}" model '
                f"needs: take the config.json of the vision model itself, or of the whole vision-language model"
            )
        return value

    def whole(self, key: str, default: int | None = None) -> int:
        """Return a whole number.

        Raises:
            PlanError: it is not there and has no default, or it is no such number.
        """
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise PlanError(f"{self.name}: its config.json has {key}={value!r}, which must be a whole number")
        return value

    def square(self, key: str) -> int:
        """Return the side of a square, given as one number or as two equal ones.

        Raises:
            PlanError: it is not there, or it is not square.
        """
        value = self.get(key)
        if not isinstance(value, (list, tuple)):
            return self.whole(key)
        sides = cast(Sequence[int], value)
        if len(set(sides)) != 1:
            raise PlanError(
                f"{self.name}: its config.json has {key}={list(sides)}, and encoders are planned for squares alone: "
                f"both sides must be the same"
            )
        return int(sides[0])

    @property
    def traits(self) -> Traits:
        """What it has, its family's habits and its own settings together."""
        traits = self.family.traits
        for key, switch in self.family.switches.items():
            if self.values.get(key) is not None:
                traits = traits | switch.traits if self.values[key] == switch.on else traits - switch.traits
        return traits

    @property
    def dim(self) -> int:
        return self.whole(self.family.width)

    @property
    def depth(self) -> int:
        return self.whole(self.family.depth)

    @property
    def patch_px(self) -> int:
        return self.square("patch_size")

    @property
    def merge(self) -> int:
        """Patches a side of a block."""
        return self.whole("spatial_merge_size") if self.family.is_block_ordered else 1

    @property
    def window_patches(self) -> int:
        if not self.family.has_windows:
            return 0
        return self.whole("window_size") // self.patch_px // self.merge * self.merge

    @property
    def full_layers(self) -> Collection[int]:
        """Layers that attend to everything."""
        if not self.family.has_windows:
            return range(self.depth)
        return frozenset(cast(Sequence[int], self.get("fullatt_block_indexes")))

    @property
    def patch_values(self) -> int:
        is_clip = self.family.is_block_ordered
        frames = self.whole("temporal_patch_size") if is_clip else 1
        return self.whole("in_channels" if is_clip else "num_channels", default=3) * frames * self.patch_px**2

    @property
    def num_prefix(self) -> int:
        registers = self.whole("num_register_tokens") if self.family.has_registers else 0
        return self.family.num_class_tokens + registers

    @property
    def native_px(self) -> int:
        if self.family.size == "image_size":
            return self.square("image_size")
        if self.family.size == "num_patches":
            return math.isqrt(self.whole("num_patches")) * self.patch_px
        return _DEFAULT_PATCHES * self.patch_px

    @property
    def mlp_dim(self) -> int:
        if self.family.middle != "mlp_ratio":
            return self.whole(self.family.middle)
        middle = int(self.dim * float(self.get("mlp_ratio")))
        # DINOv2's rule for SwiGLU: two thirds, rounded up to a multiple of 8.
        return (int(middle * 2 / 3) + 7) // 8 * 8 if "gated" in self.traits else middle

    @property
    def norm_values(self) -> int:
        return self.dim if "rms" in self.traits else 2 * self.dim


def _info(found: _Settings, levels: tuple[int, ...], name: str) -> EncoderInfo:
    family, native = found.family, found.native_px
    return EncoderInfo(
        name=name,
        dim=found.dim * max(len(levels), 1),
        patch_px=found.patch_px,
        native_px=(native, native),
        step_px=found.patch_px * found.merge,
        is_any_size=family.can_interpolate or "table" not in found.traits,
        num_prefix=0,
        normalisation=FAMILIES[family.kind],
    )


def _layer(found: _Settings) -> VitLayer:
    dim, middle, traits = found.dim, found.mlp_dim, found.traits
    is_gated = "gated" in traits
    small = 2 * found.norm_values + dim * len(traits & {"query_bias", "key_bias", "value_bias", "out_bias"})
    small += dim + (2 if is_gated else 1) * middle if "mlp_bias" in traits else 0
    small += 2 * dim * len(traits & {"layer_scale", "query_key_norm"})
    # The quick GELU, x sigmoid(1.702 x), holds its input, the sigmoid and their product.
    num_wide = 3 if is_gated or found.values.get("hidden_act") == "quick_gelu" else 2
    return VitLayer(dim=dim, mlp_dim=middle, is_gated=is_gated, num_small=small, num_wide=num_wide)


def _num_outside(found: _Settings, *, is_finished: bool) -> int:
    dim, traits, family = found.dim, found.traits, found.family
    rows = found.num_prefix + len(traits & {"patch_bias", "mask_token"})
    if "table" in traits:
        patches = (found.native_px // found.patch_px) ** 2
        rows += found.whole(family.table) if family.table else family.num_class_tokens + patches
    norms = ("first_norm" in traits) + (is_finished and "last_norm" in traits)
    rows += 2 if is_finished and "last_layer_norm" in traits else 0
    return rows * dim + norms * found.norm_values
