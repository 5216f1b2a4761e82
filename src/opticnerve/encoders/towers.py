"""Towers: which part of a transformers checkpoint is the vision tower, what feeds it, and what of it is needed."""

import copy
import inspect
import math
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import nn

from opticnerve.encoders.feeds import BlockFeed, Feed, ImageFeed, PatchFeed
from opticnerve.errors import EncoderError

_BLOCK_ORDERED = frozenset({"qwen2_vl_vision", "qwen2_5_vl_vision", "qwen3_vl_vision"})
_PATCHED = frozenset({"siglip2_vision_model"})
_DEFAULT_PATCHES = 32


@runtime_checkable
class TowerConfig(Protocol):
    """What is read of a transformers config, whatever its class."""

    model_type: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerPlan:
    """A vision tower before it is built."""

    config: Any
    """Its transformers config; composite checkpoints' vision part."""
    cls: Any
    """Its transformers model class."""
    path: str
    """Name of the module within the whole checkpoint, "" where the checkpoint is the tower."""

    @property
    def patch_px(self) -> int:
        """Side of a patch."""
        return _square("patch_size", self.config.patch_size)

    @property
    def is_block_ordered(self) -> bool:
        """Its hidden states come block by block."""
        return self.config.model_type in _BLOCK_ORDERED

    @property
    def has_mask(self) -> bool:
        """It masks patches (Idefics, SmolVLM)."""
        return "patch_attention_mask" in inspect.signature(self.cls.forward).parameters

    @property
    def step_px(self) -> int:
        """Both sides of an image must be multiples of this."""
        return self.patch_px * (self.config.spatial_merge_size if self.is_block_ordered else 1)

    @property
    def native_px(self) -> int:
        """Side of the square that its position table is made for; 32 patches where it has none."""
        if self.config.model_type in _PATCHED:
            # The tower's own rule for its table, which is square by construction.
            return math.isqrt(self.config.num_patches) * self.patch_px
        size = getattr(self.config, "image_size", None)
        return _DEFAULT_PATCHES * self.patch_px if size is None else _square("image_size", size)

    @property
    def layers_key(self) -> str:
        """Name of the config's number of layers."""
        return "depth" if hasattr(self.config, "depth") else "num_hidden_layers"

    @property
    def num_layers(self) -> int:
        """Transformer layers."""
        return int(getattr(self.config, self.layers_key))

    def feed(self) -> Feed:
        """Choose how pixels enter."""
        config = self.config
        if config.model_type in _PATCHED:
            return PatchFeed(patch_px=self.patch_px)
        if self.is_block_ordered:
            return BlockFeed(
                patch_px=self.patch_px,
                factor=config.spatial_merge_size,
                num_frames=config.temporal_patch_size,
                window_px=getattr(config, "window_size", 0),
                table_patches=math.isqrt(getattr(config, "num_position_embeddings", 0)),
            )
        has_switch = "interpolate_pos_encoding" in inspect.signature(self.cls.forward).parameters
        return ImageFeed(native_px=(self.native_px, self.native_px), has_switch=has_switch)

    def fresh_config(self) -> Any:  # noqa: ANN401
        """Copy the config, for a model that will change it."""
        return copy.deepcopy(self.config)

    def skeleton(self, *, num_layers: int) -> nn.Module:
        """Build the tower on the meta device, without weights.

        Args:
            num_layers: how many of its layers to build.
        """
        config = self.fresh_config()
        setattr(config, self.layers_key, num_layers)
        with torch.device("meta"):
            # Eager attention costs the same, and unlike the others never looks at the values of a mask.
            return cast(nn.Module, self.cls._from_config(config, attn_implementation="eager")).eval()


def plan_tower(config: TowerConfig, *, name: str) -> TowerPlan:
    """Find the vision tower of a checkpoint.

    Args:
        config: the checkpoint's transformers config.
        name: the encoder, as it stands in the message.

    Raises:
        EncoderError: there is none.
    """
    from transformers import AutoModel

    vision = getattr(config, "vision_config", None)
    if vision is not None:
        return _inner_tower(config, vision, name=name)
    cls = cast(Any, AutoModel)._model_mapping.get(type(config), None)
    if cls is None or "image" not in cls.input_modalities or not hasattr(config, "patch_size"):
        raise EncoderError(
            f'"{name}" is a "{config.model_type}" model, not a vision model that cuts images into patches: pass a '
            f"CLIP, SigLIP, DINO, InternViT, ViT or Qwen-VL checkpoint, or a vision-language model that holds one"
        )
    return TowerPlan(config=config, cls=cls, path="")


def _inner_tower(config: TowerConfig, vision: TowerConfig, *, name: str) -> TowerPlan:
    from transformers import AutoModel, PreTrainedModel

    with torch.device("meta"):
        whole = cast(nn.Module, cast(Any, AutoModel).from_config(config, trust_remote_code=False))
    modules: dict[str, nn.Module] = dict(cast(Any, whole).named_modules())
    for path, module in modules.items():
        if isinstance(module, PreTrainedModel) and type(cast(Any, module).config) is type(vision):
            return TowerPlan(config=vision, cls=type(module), path=path)
    raise EncoderError(f'"{name}" is a "{config.model_type}" model, and no part of it is a vision tower')


def _square(what: str, value: int | tuple[int, int] | list[int]) -> int:
    sides = [value] if isinstance(value, int) else list(value)
    if len(set(sides)) != 1:
        raise EncoderError(f"encoders with {what}={tuple(sides)} are not supported: both sides must be the same")
    return sides[0]
