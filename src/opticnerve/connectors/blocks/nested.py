"""Blocks within blocks, as plain data and back."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from opticnerve.connectors.blocks.base import BlockSpec
from opticnerve.connectors.checked import refuse_unknown, validate
from opticnerve.errors import SpecError, UnknownNameError


def block_to_dict(block: BlockSpec) -> dict[str, Any]:
    """Return a block as plain data, blocks within it too."""
    return {"kind": block.kind, **{field.name: _plain(getattr(block, field.name)) for field in fields(block)}}


def block_from_dict(entry: object) -> BlockSpec:
    """Read what `block_to_dict` gave.

    Raises:
        SpecError: something is missing, unknown or of the wrong type.
        UnknownNameError: there is no block of that kind.
    """
    from opticnerve.connectors.blocks import BLOCKS

    if not isinstance(entry, Mapping):
        raise SpecError(f'a block is a JSON object with a "kind", got {entry!r}')
    options = dict(cast("Mapping[str, Any]", entry))
    kind = str(options.pop("kind", "?"))
    if kind not in BLOCKS:
        raise UnknownNameError("block", kind, BLOCKS)
    refuse_unknown(f"field of block {kind}", options, {field.name: field for field in fields(BLOCKS[kind])})
    return validate(BLOCKS[kind], options, what=f'block "{kind}"')


def read_blocks(value: object) -> tuple[tuple[BlockSpec, ...], ...]:
    """Read lists of lists of blocks; blocks that are blocks already stay as they are.

    Raises:
        SpecError: there are no lists of blocks.
    """
    if not isinstance(value, list | tuple):
        raise SpecError(f"branches are lists of blocks, got {value!r}")
    found: list[tuple[BlockSpec, ...]] = []
    for branch in cast("list[object]", value):
        if not isinstance(branch, list | tuple):
            raise SpecError(f"a branch is a list of blocks, got {branch!r}")
        blocks = cast("list[object]", branch)
        found.append(tuple(one if isinstance(one, BlockSpec) else block_from_dict(one) for one in blocks))
    return tuple(found)


def _plain(value: object) -> object:
    if isinstance(value, BlockSpec):
        return block_to_dict(value)
    if isinstance(value, tuple | list):
        return [_plain(one) for one in cast("tuple[object, ...]", value)]
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: getattr(value, field.name) for field in fields(cast(Any, value))}
    return value
