"""Tilings, flags and links of the documentation."""

from dataclasses import MISSING, fields

import pytest

from docs import pages
from opticnerve.multiscale import S2
from opticnerve.tiling import LLAVA_NEXT_PINPOINTS, TILINGS

PAGES = sorted(
    [
        *pages.ROOT.glob("docs/**/*.md"),
        *(pages.ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    ]
)


def section(text: str, title: str) -> str:
    """The text below a heading, up to the next of its level."""
    return text.split(f"\n## {title}\n", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]


@pytest.mark.parametrize("name", TILINGS)
def test_the_tiling_page_names_every_option_of_a_tiling_with_its_default(name: str) -> None:
    text = section((pages.ROOT / "docs" / "tiling.md").read_text(), name)
    documented = {option: default for option, default, *_ in pages.option_rows(text)}
    defaults = {field.name: field.default for field in fields(TILINGS[name]) if field.default is not MISSING}
    wanted = {option: pages.written(value) for option, value in defaults.items() if value != LLAVA_NEXT_PINPOINTS}
    assert documented.keys() == defaults.keys()
    assert {option: documented[option] for option in wanted} == wanted


def test_the_s2_page_names_every_option_with_its_default() -> None:
    rows = pages.option_rows((pages.METHOD_PAGES / "s2.md").read_text())
    assert {row[0]: row[1] for row in rows} == {field.name: pages.written(field.default) for field in fields(S2)}


def test_the_compress_page_names_every_flag() -> None:
    from opticnerve.cli.flags import ConnectorFlags, OutputFlags, ViewFlags

    text = (pages.ROOT / "docs" / "compress.md").read_text()
    hidden = {"method_option", "tiling_option"}
    for group in (ConnectorFlags, ViewFlags, OutputFlags):
        for field in fields(group):
            if field.name not in hidden:
                is_shown = field.default is not False and field.default != ""
                cell = f" `{field.default}` " if is_shown else " "
                assert f"| `--{field.name.replace('_', '-')}` |{cell}|" in text


def test_the_encode_page_names_every_flag() -> None:
    from opticnerve.cli.encode import KeptFlags, RunFlags

    text = (pages.ROOT / "docs" / "encode.md").read_text()
    for group in (KeptFlags, RunFlags):
        for field in fields(group):
            if field.name != "method_option":
                is_shown = field.default is not False and field.default not in ("", None)
                cell = f" `{field.default}` " if is_shown else " "
                assert f"| `--{field.name.replace('_', '-')}` |{cell}|" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(pages.ROOT)))
def test_links_within_the_project_lead_somewhere(page: pages.Path) -> None:
    for link in pages.links(page.read_text()):
        target, _, anchor = link.partition("#")
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), f"{page.name} links {link}"
        if anchor and found.suffix == ".md":
            assert anchor in pages.anchors(found.read_text()), f"{page.name} links {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(pages.ROOT)))
def test_code_blocks_are_closed_and_doctests_end_before_the_fence(page: pages.Path) -> None:
    lines = page.read_text().splitlines()
    fences = [number for number, line in enumerate(lines) if line.startswith("```")]
    assert len(fences) % 2 == 0
    for start, end in zip(fences[::2], fences[1::2], strict=True):
        if lines[start].startswith("```pycon"):
            assert not lines[end - 1].strip(), f"line {end + 1}: a doctest needs an empty line before the fence"
