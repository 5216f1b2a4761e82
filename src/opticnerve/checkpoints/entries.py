"""Published tensors and ours: which is which, and how to turn one into the other, both ways."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from opticnerve.errors import CheckpointError


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One published tensor and the tensors of ours that it holds."""

    theirs: str
    """The published name, without the prefix of the whole model."""
    ours: tuple[str, ...]
    """Our names; several are stacked on the first axis in the published tensor, in this order; none for a tensor that
    we read over because it does nothing."""
    is_transposed: bool = False
    """Whether the published matrix is (in, out) and used as x @ W."""
    shape: tuple[int, ...] = ()
    """The published shape, where ours holds the same numbers in another one; () where it is the same."""
    reason: str = ""
    """Why the tensor does nothing, where `ours` is empty."""


def module(ours: str, theirs: str, *leaves: str) -> tuple[Entry, ...]:
    """List the entries of a module whose tensors have the same names on both sides.

    Args:
        ours: our name of the module.
        theirs: the published name of the module; may be empty.
        leaves: the tensors; weight and bias if none are named.
    """
    prefix = f"{theirs}." if theirs else ""
    return tuple(Entry(theirs=f"{prefix}{leaf}", ours=(f"{ours}.{leaf}",)) for leaf in leaves or ("weight", "bias"))


def ignored(theirs: str, *leaves: str, reason: str) -> tuple[Entry, ...]:
    """List published tensors that do nothing: they may be there or not, and are not written back.

    Args:
        theirs: the published name of the module that holds them.
        leaves: the tensors; weight and bias if none are named.
        reason: why they do nothing.
    """
    return tuple(Entry(theirs=f"{theirs}.{leaf}", ours=(), reason=reason) for leaf in leaves or ("weight", "bias"))


def from_published(
    entries: Sequence[Entry], tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Turn published tensors into our state dict.

    Args:
        entries: the layout.
        tensors: the published tensors by name, without the prefix of the whole model.
        like: our state dict, for names and shapes.

    Returns:
        A state dict that `load_state_dict` takes as it is.

    Raises:
        CheckpointError: a tensor is missing, left over, or of another shape.
    """
    idle = {entry.theirs for entry in entries if not entry.ours}
    entries = _used(entries, like)
    _compare("published tensors", have=tensors.keys() - idle, need=[entry.theirs for entry in entries])
    state: dict[str, Tensor] = {}
    for entry in entries:
        tensor = tensors[entry.theirs]
        tensor = tensor.T if entry.is_transposed else tensor
        rows = [like[name].shape[0] if like[name].ndim else 1 for name in entry.ours]
        is_stacked = len(entry.ours) > 1 and sum(rows) == tensor.shape[0]
        parts = cast("tuple[Tensor, ...]", tensor.split(rows)) if is_stacked else (tensor,) * len(rows)
        for name, part in zip(entry.ours, parts, strict=True):
            if part.shape != _published_shape(entry, like[name]):
                raise CheckpointError(
                    f"{entry.theirs} has shape {tuple(tensors[entry.theirs].shape)}, but {name} of this connector is "
                    f"{tuple(like[name].shape)}: build the connector with the widths and options of the checkpoint"
                )
            state[name] = part.reshape(like[name].shape).contiguous()
    return state


def to_published(entries: Sequence[Entry], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn our state dict into published tensors: the exact inverse of `from_published`, without ignored tensors.

    Args:
        entries: the layout.
        state: our state dict.

    Raises:
        CheckpointError: the layout has no name for a tensor of ours, or names one that is not there.
    """
    entries = _used(entries, state)
    tensors: dict[str, Tensor] = {}
    for entry in entries:
        tensor = state[entry.ours[0]] if len(entry.ours) == 1 else torch.cat([state[name] for name in entry.ours])
        tensor = tensor.T if entry.is_transposed else tensor
        tensors[entry.theirs] = tensor.reshape(entry.shape or tensor.shape).contiguous()
    return tensors


def _used(entries: Sequence[Entry], ours: Mapping[str, Tensor]) -> list[Entry]:
    """Take the entries that hold tensors of ours, and refuse a layout that is not one to one with them."""
    used = [entry for entry in entries if entry.ours]
    _compare("tensors of the layout", have=[name for entry in used for name in entry.ours], need=ours)
    twice = sorted(name for name, times in Counter(entry.theirs for entry in used).items() if times > 1)
    if twice:
        raise CheckpointError(f"the layout has one name for several tensors of the connector: {', '.join(twice)}")
    return used


def _published_shape(entry: Entry, ours: Tensor) -> torch.Size:
    """Say how a published tensor, or its part that one of ours is, must be shaped after any transposition."""
    return ours.reshape(entry.shape).shape if entry.shape else ours.shape


def _compare(what: str, *, have: Iterable[str], need: Iterable[str]) -> None:
    missing, extra = sorted(set(need) - set(have)), sorted(set(have) - set(need))
    if missing or extra:
        raise CheckpointError(
            f"{what} do not match this connector: missing {', '.join(missing) or 'none'}; left over "
            f"{', '.join(extra) or 'none'}. Build the connector with the options of the checkpoint"
        )
