"""What is wrong with a recipe: one line a fault, with its place, what was given and what is needed."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from textwrap import shorten
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from opticnerve.train.recipe import Recipe

MISSING = "???"
"""A text that begins so stands for a value that only the caller knows; what follows says what it is."""

_WIDTH = 80
"""Characters of a given value that a line shows."""
_Json = dict[str, Any]


def missing_values(data: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Find the values that the caller still has to set.

    Args:
        data: nested mappings and lists.
        place: of the data, dotted.

    Yields:
        The place of each, and what it has to be.
    """
    if isinstance(data, str) and data.startswith(MISSING):
        yield place, data.removeprefix(MISSING).strip() or "no description"
    entries: Iterator[tuple[object, object]] | None = None
    if isinstance(data, Mapping):
        entries = iter(cast("Mapping[object, object]", data).items())
    elif isinstance(data, list | tuple):
        entries = iter(enumerate(cast("list[object]", data)))
    for key, value in entries or ():
        yield from missing_values(value, f"{place}.{key}" if place else str(key))


def explain(error: ValidationError, kind: type[BaseModel] = Recipe, *, called: str = "a recipe") -> list[str]:
    """Write each fault that pydantic found as one line.

    Args:
        error: from `model_validate`.
        kind: what was read.
        called: the same in words.

    Returns:
        Lines such as "stages.0.batch_size: Input should be a valid integer, got 'many'".
    """
    schema = kind.model_json_schema()
    found = [one for one in error.errors(include_url=False) if not (one["type"] == "too_short" and one["input"])]
    lines: list[str] = []
    for fault in found:
        place, holder = _walk(schema, fault["loc"])
        where = ".".join(place) or "the whole"
        if fault["type"] == "extra_forbidden":
            lines.append(_unknown(place, holder, called))
        elif fault["type"] == "missing":
            lines.append(f"{where} is needed, and is not there")
        elif fault["type"] == "value_error":
            lines.append(f"{where} {fault['msg'].removeprefix('Value error, ')}")
        else:
            lines.append(f"{where}: {fault['msg']}, got {shorten(repr(fault['input']), _WIDTH)}")
    return lines


def _unknown(place: list[str], node: _Json, called: str) -> str:
    known = sorted(node.get("properties", {}))
    near = get_close_matches(place[-1], known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    owner = ".".join(place[:-1]) or called
    return f'unknown key "{place[-1]}" in {owner}.{hint} Known: {", ".join(known)}.'


def _walk(schema: _Json, location: tuple[int | str, ...]) -> tuple[list[str], _Json]:
    """Follow a fault's location through the schema.

    Returns:
        The place without the tags of unions that pydantic puts in it, and the schema of what holds the last key.
    """
    place: list[str] = []
    node = _resolved(schema, schema)
    holder = node
    for part in location:
        if part in node.get("discriminator", {}).get("mapping", {}):
            node = _resolved({"$ref": node["discriminator"]["mapping"][part]}, schema)
            continue
        place.append(str(part))
        holder = node
        if isinstance(part, int):
            node = _resolved(node.get("items", {}), schema)
        else:
            node = _resolved(node.get("properties", {}).get(part, node.get("additionalProperties", {})), schema)
    return place, holder


def _resolved(node: object, schema: _Json) -> _Json:
    """Follow references, and look into "this or null"."""
    if not isinstance(node, dict):
        return {}
    found = cast("_Json", node)
    if "$ref" in found:
        return _resolved(schema["$defs"][found["$ref"].rsplit("/", 1)[-1]], schema)
    if "anyOf" in found:
        return next((_resolved(one, schema) for one in found["anyOf"] if "$ref" in one), found)
    return found
