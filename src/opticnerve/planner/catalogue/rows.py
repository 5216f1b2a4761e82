"""The catalogue's rows, read from the YAML files beside this one."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One model of the catalogue."""

    name: str
    """Its name on the Hugging Face hub."""
    source: str
    """Where the facts stand."""
    date: str
    """When they were entered."""
    facts: Mapping[str, Any]
    """For encoders and LLMs their settings, as config.json has them; for whole models and devices see their files."""

    @property
    def short_name(self) -> str:
        """The name without its owner."""
        return self.name.rpartition("/")[2]


@cache
def llms() -> Mapping[str, Row]:
    """Return the language models by name."""
    return _read("llms.yaml")


@cache
def encoders() -> Mapping[str, Row]:
    """Return the vision encoders by name."""
    return _read("encoders.yaml")


@cache
def vlms() -> Mapping[str, Row]:
    """Return whole vision-language models by name."""
    return _read("vlms.yaml")


@cache
def devices() -> Mapping[str, Row]:
    """Return the devices by name."""
    return _read("devices.yaml")


def _read(file: str) -> Mapping[str, Row]:
    rows = yaml.safe_load((files("opticnerve.planner.catalogue") / file).read_text(encoding="utf-8"))
    return {row["name"]: _row(row) for row in rows}


def _row(row: Mapping[str, Any]) -> Row:
    facts = {key: value for key, value in row.items() if key not in ("name", "source", "date")}
    return Row(name=row["name"], source=row["source"], date=str(row["date"]), facts=facts)
