"""Mean and deviation of pixels: the checkpoint's own, its family's, or the caller's."""

from dataclasses import dataclass
from typing import Any

from opticnerve.errors import EncoderError


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalisation:
    """Pixels from 0 to 1 become (pixel - mean) / std."""

    mean: tuple[float, float, float]
    """Of red, green and blue."""
    std: tuple[float, float, float]
    """Of red, green and blue, above 0."""

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise EncoderError(
                f"normalisation needs three means and three deviations above 0, got mean={self.mean}, std={self.std}"
            )

    def to_dict(self) -> dict[str, list[float]]:
        """Return mean and deviation as lists, ready for JSON."""
        return {"mean": list(self.mean), "std": list(self.std)}


OPENAI_CLIP = Normalisation(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))
IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
HALF = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

FAMILIES: dict[str, Normalisation] = {
    "aimv2_vision_model": OPENAI_CLIP,
    "blip_2_vision_model": OPENAI_CLIP,
    "clip_vision_model": OPENAI_CLIP,
    "dinov2": IMAGENET,
    "dinov2_with_registers": IMAGENET,
    "dinov3_vit": IMAGENET,
    "idefics2_vision": HALF,
    "idefics3_vision": HALF,
    "instructblip_vision_model": OPENAI_CLIP,
    "intern_vit_6b": IMAGENET,
    "internvl_vision": IMAGENET,
    "pixtral": OPENAI_CLIP,
    "qwen2_5_vl_vision": OPENAI_CLIP,
    "qwen2_vl_vision": OPENAI_CLIP,
    "qwen3_vl_vision": HALF,
    "siglip2_vision_model": HALF,
    "siglip_vision_model": HALF,
    "smolvlm_vision": HALF,
    "vit": HALF,
}
"""Model type -> what the family's published checkpoints use."""


def choose_normalisation(processor: dict[str, Any], *, family: str, name: str) -> Normalisation:
    """Take the checkpoint's own normalisation, or its family's where it has none.

    Args:
        processor: the checkpoint's image processor settings; empty where there are none.
        family: transformers' model type of the vision tower.
        name: the encoder, as it stands in the message.

    Raises:
        EncoderError: neither is known.
    """
    if "image_mean" in processor and "image_std" in processor:
        return Normalisation(mean=_three(processor["image_mean"]), std=_three(processor["image_std"]))
    if family not in FAMILIES:
        raise EncoderError(
            f'encoder "{name}" has no preprocessor_config.json, and the usual mean and deviation of its family '
            f'"{family}" are not known: pass normalisation=Normalisation(mean=..., std=...)'
        )
    return FAMILIES[family]


def _three(values: int | float | list[float]) -> tuple[float, float, float]:
    red, green, blue = [values] * 3 if isinstance(values, (int, float)) else values
    return red, green, blue
