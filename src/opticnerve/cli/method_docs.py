"""What a method's docstring says, part by part."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass

from opticnerve.connectors import Width


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One option of a method."""

    name: str
    """Its name."""
    default: str
    """Its default, as one types it."""
    meaning: str
    """What it does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodDocs:
    """The parts of a docstring; each one line, empty where it has none."""

    summary: str
    """The first line."""
    keeps: str
    """What the method keeps."""
    loses: str
    """What it loses."""
    source: str
    """The paper and the code."""
    differs: str
    """What differs from the source."""
    example: str
    """The worked example."""
    options: tuple[Option, ...]
    """In the order of the signature."""


def read_docs(method: Callable[..., object]) -> MethodDocs:
    """Read a method's docstring and signature.

    Args:
        method: a value of `METHODS`.
    """
    text = inspect.getdoc(method) or ""
    body, _, arguments = text.partition("\nArgs:\n")
    arguments = re.split(r"\n(?:Returns|Raises):\n", arguments)[0]
    meanings = {
        match[1]: _line(match[2])
        for match in re.finditer(r"^    (\w+): (.*(?:\n {5,}.*)*)", arguments, flags=re.MULTILINE)
    }
    options = tuple(
        Option(name=name, default=written(parameter.default), meaning=meanings.get(name, ""))
        for name, parameter in inspect.signature(method).parameters.items()
    )
    return MethodDocs(
        summary=_line(body.split("\n\n")[0]),
        keeps=_part(body, "Keeps"),
        loses=_part(body, "Loses"),
        source=_part(body, "Source"),
        differs=_part(body, "Differs"),
        example=_part(body, "Example"),
        options=options,
    )


def written(value: object) -> str:
    """Write a default as one would type it; widths in words."""
    if isinstance(value, Width):
        name = {"in": "own", "vision": "vision", "llm": "llm"}[value.of]
        times = f"{value.times} x " if value.times != 1 else ""
        over = f" / {value.over}" if value.over != 1 else ""
        return f"{times}{name} width{over}"
    if isinstance(value, tuple):
        return ",".join(written(item) for item in value) or "()"  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _part(body: str, name: str) -> str:
    """Return a paragraph, or the part of one, that begins with a name and a colon, up to the next name."""
    match = re.search(rf"\b{name}: (.*?)(?=\n\n|\sLoses: |\nDiffers: |\Z)", body, flags=re.DOTALL)
    return _line(match[1]) if match else ""


def _line(text: str) -> str:
    return " ".join(text.split())
