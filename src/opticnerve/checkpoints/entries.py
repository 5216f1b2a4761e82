"""Published tensors and ours: which is which, and how to turn one into the other, both ways."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
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
    """The published shape, where ours holds the same numbers in another one; -1 for a side that follows from the rest,
    () where the shape is the same."""
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
    found = faults(entries, {name: tuple(one.shape) for name, one in tensors.items()}, like)
    if found:
        raise CheckpointError(found[0])
    state: dict[str, Tensor] = {}
    for entry in _used(entries, like):
        tensor = tensors[entry.theirs]
        tensor = tensor.T if entry.is_transposed else tensor
        parts = _parts(entry, like)
        pieces = cast("tuple[Tensor, ...]", tensor.split(parts)) if parts else (tensor,) * len(entry.ours)
        for name, piece in zip(entry.ours, pieces, strict=True):
            state[name] = piece.reshape(like[name].shape).contiguous()
    return state


def faults(entries: Sequence[Entry], shapes: Mapping[str, tuple[int, ...]], like: Mapping[str, Tensor]) -> list[str]:
    """Say what keeps published tensors from being read, one sentence each; nothing if they fit.

    Args:
        entries: the layout.
        shapes: of the published tensors by name, without the prefix of the whole model.
        like: our state dict, for names and shapes.

    Raises:
        CheckpointError: the layout is not one to one with our tensors.
    """
    used = _used(entries, like)
    idle = {entry.theirs for entry in entries if not entry.ours}
    found = [sentence for entry in used if (sentence := _misshapen(entry, shapes, like))]
    odd = _difference("published tensors", have=shapes.keys() - idle, need=[entry.theirs for entry in used])
    return found + [odd] * bool(odd)


def _misshapen(entry: Entry, shapes: Mapping[str, tuple[int, ...]], like: Mapping[str, Tensor]) -> str:
    """Say what is wrong with the shape of one tensor, and why it may be so; "" if nothing is."""
    if entry.theirs not in shapes:
        return ""
    given, ours = shapes[entry.theirs], like[entry.ours[0]]
    wanted = _filled(entry.shape, ours) or tuple(ours.shape)
    if parts := _parts(entry, like):
        wanted = (sum(parts), *wanted[1:])
    if entry.is_transposed:
        wanted = wanted[::-1]
    if given == wanted:
        return ""
    if 0 in given:
        return is_empty(entry.theirs, given)
    needed = tuple(ours.shape) if len(entry.ours) == 1 else wanted
    sentence = f"{entry.theirs} has shape {given}, but {entry.ours[0]} of this connector is {needed}: "
    if sorted(given) == sorted(wanted):
        return sentence + "the same sides in another order, so this is another family, or another layout of it"
    return sentence + "build the connector with the widths and options of the checkpoint"


def is_empty(name: str, shape: tuple[int, ...]) -> str:
    """Say why a published tensor may hold nothing.

    Args:
        name: of the tensor.
        shape: with a 0 in it.
    """
    return (
        f"{name} is empty, of shape {shape}: it was saved from sharded weights (ZeRO-3, FSDP) without gathering them; "
        f"convert the training checkpoint first (zero_to_fp32.py), and pass what comes out"
    )


def _filled(shape: tuple[int, ...], like: Tensor) -> tuple[int, ...]:
    """Replace the one side that a layout leaves open, -1, by what our tensor makes of it."""
    known = prod(side for side in shape if side >= 0)
    return tuple(like.numel() // known if side < 0 else side for side in shape)


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


def _parts(entry: Entry, like: Mapping[str, Tensor]) -> list[int]:
    """List how many rows of a published tensor each of ours is, where it holds several; else nothing."""
    return [like[name].shape[0] if like[name].ndim else 1 for name in entry.ours] if len(entry.ours) > 1 else []


def _compare(what: str, *, have: Iterable[str], need: Iterable[str]) -> None:
    if odd := _difference(what, have=have, need=need):
        raise CheckpointError(odd)


def _difference(what: str, *, have: Iterable[str], need: Iterable[str]) -> str:
    missing, extra = sorted(set(need) - set(have)), sorted(set(have) - set(need))
    if not missing and not extra:
        return ""
    return (
        f"{what} do not match this connector: missing {', '.join(missing) or 'none'}; left over "
        f"{', '.join(extra) or 'none'}. Build the connector with the options of the checkpoint"
    )
