"""The planner's page names what the code has."""

from dataclasses import fields
from pathlib import Path

from opticnerve.cli.plan_flags import DemandFlags, ModelFlags
from opticnerve.planner.catalogue.table import catalogue_tables
from opticnerve.planner.detail import GLYPHS_PER_TOKEN, READABLE_PX
from opticnerve.planner.verdict import WORTH_BATCH, WORTH_TIME

PAGE = (Path(__file__).parents[2] / "docs" / "planner.md").read_text()


def test_the_catalogue_on_the_page_is_that_of_the_package() -> None:
    assert catalogue_tables() in PAGE, "run python scripts/catalogue_table.py"


def test_every_flag_is_there_with_its_default() -> None:
    for group in (ModelFlags, DemandFlags):
        for field in fields(group):
            if not field.name.endswith("_option"):
                cell = f" `{field.default}` " if field.default != "" else " "
                assert f"| `--{field.name.replace('_', '-')}` |{cell}|" in PAGE


def test_the_rules_of_thumb_are_those_of_the_code() -> None:
    words = " ".join(PAGE.split())
    assert f"the encoder it must be {READABLE_PX} px" in words
    assert f"hold more than {GLYPHS_PER_TOKEN} characters of running text" in words
    assert f"for latency from a gain of {WORTH_TIME} on, and for throughput where {WORTH_BATCH} times" in words
