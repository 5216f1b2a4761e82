"""Options of a method or a tiling on the command line, and other texts that stand for values."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from opticnerve.errors import SpecError

_OPTION = re.compile(r"--(method|tiling)\.([A-Za-z][\w-]*)(?:=(.*))?", re.DOTALL)
_GRID = re.compile(r"\d+(x\d+)+")


def fold_options(arguments: Iterable[str]) -> list[str]:
    """Turn `--method.KEY VALUE` into `--method-option KEY=VALUE`, and the same for the tiling.

    The keys are those of the method or tiling that is chosen in the same line, so that the parser cannot know them.

    Args:
        arguments: the command line.

    Raises:
        SpecError: a key has no value.
    """
    return list(_folded(iter(arguments)))


def _folded(arguments: Iterator[str]) -> Iterator[str]:
    for argument in arguments:
        match = _OPTION.fullmatch(argument)
        if match is None:
            yield argument
            continue
        owner, key, value = match.groups()
        if value is None:
            value = next(arguments, "--")
            if value.startswith("--"):
                raise SpecError(f"--{owner}.{key} needs a value: --{owner}.{key} VALUE")
        yield f"--{owner}-option"
        yield f"{key}={value}"


def read_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Read KEY=VALUE pairs, as `fold_options` leaves them.

    Args:
        pairs: keys may have hyphens for underscores.

    Raises:
        SpecError: a pair has no "=".
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign:
            raise SpecError(f'an option is KEY=VALUE, got "{pair}"')
        options[key.replace("-", "_")] = read_value(value)
    return options


def read_value(text: str) -> object:
    """Read a value: a number, true, false, null, "12x12", "1,2,3" or JSON; anything else is a text.

    >>> read_value("6"), read_value("12x12"), read_value("1e-6"), read_value("average"), read_value("672x336,336x672")
    (6, [12, 12], 1e-06, 'average', [[672, 336], [336, 672]])
    """
    if _GRID.fullmatch(text):
        return [int(side) for side in text.split("x")]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    if "," in text:
        return [read_value(part.strip()) for part in text.split(",") if part.strip()]
    return {"True": True, "False": False, "None": None}.get(text, text)


def read_numbers(text: str, *, flag: str) -> tuple[float, ...]:
    """Read numbers between commas.

    Args:
        text: such as "1,2" or "1,1.5".
        flag: the flag, as it stands in the message.

    Raises:
        SpecError: something is not a number.
    """
    try:
        values = [float(part) for part in text.split(",")]
        if not all(map(math.isfinite, values)):
            raise ValueError("not finite")
    except ValueError as error:
        raise SpecError(f'{flag} needs numbers between commas, such as 1,2; got "{text}"') from error
    return tuple(int(value) if value.is_integer() else value for value in values)


def read_grid(text: str) -> tuple[int, int]:
    """Read rows x columns, such as "24x24".

    Raises:
        SpecError: it is not that.
    """
    sides = text.lower().replace(" ", "").split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise SpecError(f'--grid needs rows x columns, such as 24x24; got "{text}"')
    return int(sides[0]), int(sides[1])


def read_layers(text: str) -> tuple[int, ...] | Literal["fitting", "last"]:
    """Read which layers of the encoder to take: "fitting", "last", or whole numbers between commas.

    Raises:
        SpecError: it is none of these.
    """
    if text == "fitting" or text == "last":
        return text
    numbers = read_numbers(text, flag="--layers")
    if not all(isinstance(number, int) for number in numbers):
        raise SpecError(f'--layers needs whole numbers between commas, such as 12,16,22,23; got "{text}"')
    return cast("tuple[int, ...]", numbers)


def read_spec_file(path: str) -> Mapping[str, Any]:
    """Read a connector's YAML or JSON file.

    Raises:
        SpecError: the file is not there, is neither YAML nor JSON, or holds no mapping.
    """
    from pathlib import Path

    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise SpecError(f"--spec {path}: {reason}") from error
    except yaml.YAMLError as error:
        raise SpecError(f"--spec {path}: neither YAML nor JSON: {error}") from error
    if not isinstance(data, dict):
        raise SpecError(f'--spec {path}: needs a mapping such as "method: pool", got {type(data).__name__}')
    return cast("dict[str, Any]", data)
