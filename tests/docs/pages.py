"""The documentation as text: pages, tables of options, links."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from opticnerve import Width
from opticnerve.connectors import METHODS

ROOT = Path(__file__).parents[2]
METHOD_PAGES = ROOT / "docs" / "methods"
SHARED_PAGES: Mapping[str, str] = {"linear": "mlp"}
"""Methods that are described on the page of another."""


def page_of(method: str) -> Path:
    """The page of a method."""
    return METHOD_PAGES / f"{SHARED_PAGES.get(method, method)}.md"


def methods_on(page: Path) -> list[str]:
    """The methods that a page describes."""
    return [name for name in METHODS if page_of(name) == page]


def option_rows(text: str) -> list[list[str]]:
    """The cells of all rows of all option tables of a page: name, default and the rest, without backticks."""
    rows: list[list[str]] = []
    is_options = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if cells[:1] == ["option"]:
            is_options = True
        elif not cells:
            is_options = False
        elif is_options and cells[0].startswith("`"):
            rows.append([cells[0].strip("`"), cells[1].strip("`"), *cells[2:]])
    return rows


def written(value: object) -> str:
    """A default as the pages write it, which is as the code writes it."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Width):
        name = {"in": "IN", "vision": "VISION", "llm": "LLM"}[value.of]
        return name + (f" * {value.times}" if value.times > 1 else "") + (f" // {value.over}" if value.over > 1 else "")
    if isinstance(value, tuple):
        return f"({', '.join(map(written, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def links(text: str) -> Iterator[str]:
    """The targets of all links of a page, code left out."""
    without_code = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    for match in re.finditer(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", without_code, flags=re.MULTILINE):
        yield match[1] or match[2]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as the site and code hosts make them."""
    titles = re.findall(r"^#+ +(.+?) *$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\](\(.*?\))?", r"\1", title).lower()).replace(" ", "-")
        for title in titles
    }
