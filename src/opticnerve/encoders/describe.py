"""An encoder as plain data, without its weights, and the encoder that is built from it: no folder, no hub."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal, cast

from torch import nn

from opticnerve.encoders.base import Encoder, EncoderInfo
from opticnerve.encoders.bundled_encoder import BundledEncoder
from opticnerve.encoders.towers import TowerPlan
from opticnerve.encoders.trim import trim
from opticnerve.encoders.vision_tower import VisionTower
from opticnerve.errors import EncoderError

_HOME = "transformers.models."
_NOT_OF_THE_TOWER = ("dtype", "torch_dtype", "_name_or_path", "transformers_version", "architectures")


def describe_encoder(encoder: Encoder) -> dict[str, Any]:
    """Write down everything but the weights: what it is built from, its layers and what is known of it.

    Args:
        encoder: what `load_encoder` returned.

    Returns:
        Plain values, ready for JSON.

    Raises:
        EncoderError: it is an encoder of the caller's own.
    """
    data: dict[str, Any] = {"info": encoder.info.to_dict()}
    if isinstance(encoder, BundledEncoder):
        return {"kind": "bundled", "levels": list(encoder.levels), **data}
    if not isinstance(encoder, VisionTower):
        raise EncoderError(
            f'encoder "{encoder.name}" is a {type(encoder).__name__}, which cannot be written down: take "bundled" '
            f"or a vision tower of transformers, from `load_encoder`"
        )
    plan = encoder.plan
    config: dict[str, Any] = plan.config.to_dict()
    return {
        "kind": "transformers",
        "levels": list(encoder.levels),
        "num_tower_prefix": encoder.num_tower_prefix,
        "module": plan.cls.__module__,
        "cls": plan.cls.__name__,
        "config": {key: value for key, value in config.items() if key not in _NOT_OF_THE_TOWER},
        **data,
    }


def build_encoder(description: Mapping[str, Any], *, attention: Literal["auto", "eager"] = "auto") -> Encoder:
    """Build an encoder from what `describe_encoder` wrote, with random weights: the caller loads its own.

    Args:
        description: plain values.
        attention: "auto" takes the fastest that the tower has.

    Raises:
        EncoderError: something is missing, or it is not a model class of transformers.
    """
    try:
        kind, levels = description["kind"], tuple(description["levels"])
        info = EncoderInfo.from_dict(description["info"])
        if kind == "bundled":
            from opticnerve.encoders.bundled import BundledEncoderModel

            return BundledEncoder(info, model=BundledEncoderModel(), levels=levels).eval()
        if kind != "transformers":
            raise EncoderError(f'an encoder is "bundled" or "transformers", got "{kind}": update this library')
        plan = _plan(description)
        num_prefix = description["num_tower_prefix"]
    except KeyError as error:
        raise EncoderError(f"the description of an encoder lacks {error}: this library did not write it") from error
    chosen = {} if attention == "auto" else {"attn_implementation": attention}
    model = cast(nn.Module, plan.cls._from_config(plan.fresh_config(), **chosen))
    trim(model, plan, levels=levels)
    return VisionTower(info, plan=plan, model=model, levels=levels, num_prefix=num_prefix).eval()


def _plan(description: Mapping[str, Any]) -> TowerPlan:
    from transformers import PreTrainedModel

    module, name = str(description["module"]), str(description["cls"])
    # Only transformers' own model classes are ever looked up: a config from anywhere must not import what it likes.
    cls = getattr(import_module(module), name, None) if module.startswith(_HOME) else None
    if not (isinstance(cls, type) and issubclass(cls, PreTrainedModel)):
        raise EncoderError(f'"{module}.{name}" is no model class of transformers: update transformers, or load again')
    config = cast(Any, cls).config_class.from_dict(dict(description["config"]))
    return TowerPlan(config=config, cls=cls, path="")
