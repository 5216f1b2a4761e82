"""Every method has a page, and the page tells the truth about its options."""

import inspect
import re

import pytest

from docs import pages
from opticnerve import Grid, method
from opticnerve.connectors import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_page_in_the_navigation(name: str) -> None:
    page = pages.page_of(name)
    assert page.is_file(), f"write {page.relative_to(pages.ROOT)}"
    assert f"methods/{page.name}" in (pages.ROOT / "mkdocs.yml").read_text()


@pytest.mark.parametrize("name", METHODS)
def test_the_page_names_every_option_with_its_default(name: str) -> None:
    rows = pages.option_rows(pages.page_of(name).read_text())
    documented = {(option, default) for option, default, *_ in rows}
    parameters = inspect.signature(METHODS[name]).parameters
    wanted = {(option, pages.written(parameter.default)) for option, parameter in parameters.items()}
    assert wanted <= documented, f"missing: {sorted(wanted - documented)}"


@pytest.mark.parametrize("page", sorted(pages.METHOD_PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_a_page_names_no_option_that_does_not_exist(page: pages.Path) -> None:
    names = pages.methods_on(page)
    known = {option for name in names for option in inspect.signature(METHODS[name]).parameters}
    if names:
        assert {option for option, *_ in pages.option_rows(page.read_text())} <= known


@pytest.mark.parametrize("name", METHODS)
def test_the_page_follows_a_grid_through_the_operation_and_costs_it(name: str) -> None:
    text = pages.page_of(name).read_text()
    for heading in ("## Options", "## Published models", "## Keeps and loses", "## Traps", "## Cost"):
        assert heading in text, f"{pages.page_of(name).name} has no {heading}"
    assert re.search(r"^## A \d+ x \d+ grid", text, flags=re.MULTILINE)
    assert text.count("```pycon") >= 3


@pytest.mark.parametrize("name", METHODS)
def test_the_readme_has_the_tokens_and_parameters_of_every_method(name: str) -> None:
    spec = method(name)
    params = spec.num_params(vision_dim=1024 * spec.num_levels, llm_dim=2048)
    (row,) = re.findall(rf"^\| \[`{name}`\].*$", (pages.ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert f"| {spec.num_tokens(Grid(24, 24))} | {params / 1e6:.1f} M |" in row


@pytest.mark.parametrize("name", METHODS)
def test_the_guide_links_every_method(name: str) -> None:
    guide = (pages.METHOD_PAGES / "index.md").read_text()
    assert f"| [{name}](" in guide or f", [{name}](" in guide
