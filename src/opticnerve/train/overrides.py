"""`--set stages.0.batch_size=4`: change plain data at a dotted path."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, cast

import yaml

from opticnerve.errors import RecipeError

_RIVALS = {"steps": "epochs", "epochs": "steps"}
"""Of these a stage has one: setting it removes the other."""
_DOTTED = "open"
"""Below this key, names have dots of their own: "llm.layers.16-31"."""


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the data with every override applied, in order; the given data stay as they are.

    Args:
        data: nested mappings and lists.
        overrides: KEY=VALUE; a key is a dotted path, in which a number is a place in a list and "*" is all of them.

    Raises:
        RecipeError: an override has no "=", or its path leads nowhere.
    """
    changed = deepcopy(data)
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not key.strip():
            raise RecipeError([f'--set needs KEY=VALUE, such as stages.0.batch_size=4; got "{override}"'])
        _put(changed, key.strip().split("."), read_yaml_value(text), override=override)
    return changed


def read_yaml_value(text: str) -> object:
    """Read a value as YAML; what is not YAML is a text.

    >>> read_yaml_value("[1, 2]"), read_yaml_value("true"), read_yaml_value("{000..099}.tar")
    ([1, 2], True, '{000..099}.tar')
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _put(holder: object, path: Sequence[str], value: object, *, override: str, done: tuple[str, ...] = ()) -> None:
    """Set a value at a path below `holder`, which itself lies at `done`."""
    if isinstance(holder, list):
        items = cast("list[Any]", holder)
        for index in _places(items, path[0], override=override, done=done):
            if len(path) > 1:
                _put(items[index], path[1:], value, override=override, done=(*done, str(index)))
            else:
                items[index] = value
    elif isinstance(holder, dict):
        mapping = cast("dict[str, Any]", holder)
        if done[-1:] == (_DOTTED,):
            path = [".".join(path)]
        if len(path) > 1:
            mapping[path[0]] = {} if mapping.get(path[0]) is None else mapping[path[0]]
            _put(mapping[path[0]], path[1:], value, override=override, done=(*done, path[0]))
        else:
            mapping[path[0]] = value
            if done[:1] == ("stages",) and len(done) == 2 and value is not None:
                mapping.pop(_RIVALS.get(path[0], ""), None)
    else:
        raise RecipeError([f"--set {override}: {'.'.join(done)} is {holder!r}, which holds no {path[0]}"])


def _places(items: Sequence[object], head: str, *, override: str, done: tuple[str, ...]) -> range | tuple[int]:
    if head == "*":
        return range(len(items))
    if head.isdecimal() and int(head) < len(items):
        return (int(head),)
    most = f"0 to {len(items) - 1}" if len(items) > 1 else "0"
    raise RecipeError([f'--set {override}: {".".join(done)} has places {most}, or * for all; got "{head}"'])
