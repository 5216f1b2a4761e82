"""Options are checked where they are given: strings are read as what they stand for, the rest is refused in words."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from pydantic import TypeAdapter, ValidationError, validate_call

from opticnerve.errors import SpecError, UnknownNameError

P = ParamSpec("P")
R = TypeVar("R")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function check its arguments against its annotations before it runs.

    Args:
        function: a method of the registry, all of whose options are keywords.

    Returns:
        The same function. It raises an UnknownNameError for an option that it does not have, and a SpecError for a
        value that its annotation does not allow.
    """

    @cache
    def validated() -> Callable[P, R]:
        return validate_call(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        refuse_unknown(f"option of {function.__name__}", kwargs, inspect.signature(function).parameters)
        try:
            return validated()(*args, **kwargs)
        except ValidationError as error:
            raise spec_error(function.__name__, error) from error

    return call


def validate(kind: type[R], options: Mapping[str, Any], *, what: str) -> R:
    """Build a dataclass from plain data.

    Args:
        kind: the dataclass.
        options: its fields.
        what: what the message calls it.

    Raises:
        SpecError: a value that its annotation does not allow.
    """
    try:
        return TypeAdapter(kind).validate_python(dict(options))
    except ValidationError as error:
        raise spec_error(what, error) from error


def refuse_unknown(kind: str, given: Mapping[str, object], known: Mapping[str, object]) -> None:
    """Refuse names that are not known.

    Raises:
        UnknownNameError: lists the nearest.
    """
    for name in given:
        if name not in known:
            raise UnknownNameError(kind, name, known)


def spec_error(what: str, error: ValidationError) -> SpecError:
    """Put one thing that is wrong into one line: the first of those that lie deepest."""
    first = max(error.errors(), key=lambda found: len(found["loc"]))
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, SpecError):
        return cause
    where = ".".join(str(part) for part in first["loc"])
    return SpecError(f"{what}, {where}: {first['msg']}, got {first['input']!r}")
