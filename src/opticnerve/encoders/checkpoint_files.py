"""Read a transformers checkpoint from a folder or the hub; every failure becomes one line that says what to do."""

import copy
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from opticnerve.encoders.towers import TowerConfig, TowerPlan
from opticnerve.encoders.trim import trim
from opticnerve.errors import EncoderError, first_line


def read_config(name: str, *, revision: str) -> TowerConfig:
    """Read a checkpoint's config.

    Args:
        name: folder, or name on the hub.
        revision: branch, tag or commit on the hub.

    Raises:
        EncoderError: there is no such folder, the hub does not answer, or the checkpoint needs its own code.
    """
    from transformers import AutoConfig

    path = Path(name).expanduser()
    if _looks_like_path(name) and not path.is_dir():
        raise EncoderError(
            f'there is no folder "{name}": pass an existing folder with a config.json, a name on the Hugging Face hub '
            f'("owner/model"), or "bundled"'
        )
    try:
        return cast(Any, AutoConfig).from_pretrained(_place(name), revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise EncoderError(_explain(name, error, is_folder=path.is_dir())) from error


def read_processor(name: str, *, revision: str) -> dict[str, Any]:
    """Read a checkpoint's image processor settings; empty where it has none.

    Args:
        name: folder, or name on the hub.
        revision: branch, tag or commit on the hub.
    """
    from transformers import BaseImageProcessor

    try:
        return cast(Any, BaseImageProcessor).get_image_processor_dict(_place(name), revision=revision)[0]
    except OSError:
        return {}


def read_weights(
    plan: TowerPlan, *, name: str, levels: tuple[int, ...], dtype: torch.dtype, revision: str
) -> nn.Module:
    """Read a vision tower's weights, and nothing else of the checkpoint.

    Args:
        plan: the tower.
        name: folder, or name on the hub.
        levels: numbers of the hidden states that are needed; what they do not need is removed.
        dtype: of the weights.
        revision: branch, tag or commit on the hub.

    Raises:
        EncoderError: the weights cannot be read, or some of the tower's are not there.
    """
    inner = {rf"^(?:model\.)?{re.escape(plan.path)}\.(?:vision_model\.)?": ""} if plan.path else {}
    try:
        with _quiet(is_local=Path(name).expanduser().is_dir()):
            model, report = plan.cls.from_pretrained(
                _place(name),
                config=copy.deepcopy(plan.config),
                dtype=dtype,
                revision=revision,
                key_mapping=inner,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise EncoderError(f'cannot read the weights of "{name}": {first_line(error)}') from error
    trim(model, plan, levels=levels)
    needed = {key for key in model.state_dict() if not key.endswith("mask_token")}
    missing = sorted(needed & set(report["missing_keys"]))
    if missing:
        raise EncoderError(
            f'"{name}" lacks {len(missing)} of the {len(needed)} weights of its vision tower ({plan.cls.__name__}), '
            f'first "{missing[0]}": the files are not a complete checkpoint of the model that config.json names'
        )
    return model


def _place(name: str) -> str:
    return str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name


def _looks_like_path(name: str) -> bool:
    return Path(name).expanduser().is_absolute() or name.startswith(".") or name.count("/") > 1


def _explain(name: str, error: Exception, *, is_folder: bool) -> str:
    text = str(error)
    if "trust_remote_code" in text:
        return (
            f'"{name}" needs code from its checkpoint, which is never run here: use a checkpoint in transformers\' own '
            f'format (often published with "-hf" at the end of the name)'
        )
    if "does not recognize this architecture" in text:
        return f'transformers does not know the model type of "{name}": update transformers, or use another checkpoint'
    if is_folder:
        return f'"{name}" holds no transformers checkpoint that can be read: {first_line(error)}'
    return (
        f'cannot fetch "{name}" from the Hugging Face hub ({first_line(error)}) Check the name and the connection, or '
        f'download the model and pass its folder; "bundled" needs no network'
    )


@contextmanager
def _quiet(*, is_local: bool) -> Generator[None]:
    # The loader warns of every weight outside the vision tower; missing ones are checked above. Its progress bar is of
    # use for downloads only.
    from transformers.utils import logging

    before, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if is_local:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if has_bar:
            logging.enable_progress_bar()
