"""From a row of the catalogue of whole models to the model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from opticnerve.checkpoints import LAYOUTS, Reading, Views
from opticnerve.checkpoints.config import Config
from opticnerve.encoders import Layers
from opticnerve.planner import catalogue
from opticnerve.planner.catalogue import Row
from opticnerve.planner.llm_config import read_llm
from opticnerve.planner.model import Separators, VisionLanguageModel
from opticnerve.planner.separators import SEPARATORS
from opticnerve.planner.vit import read_vit
from opticnerve.planner.vlm_sight import find_tiling, known_views, make_sight


def read_row(row: Row) -> VisionLanguageModel:
    """Read a whole model.

    Args:
        row: of `catalogue.vlms`; the first lines of vlms.yaml say what its facts are.
    """
    facts = row.facts
    vision, language = _part(facts["encoder"], catalogue.encoders()), _part(facts["llm"], catalogue.llms())
    encoder = read_vit(vision, name=vision["name"], layers=_layers(facts))
    reading, views = _connector(row, vision, language)
    tiling = find_tiling(views, name=row.name)
    separators = SEPARATORS.get(facts["layout"], Separators())
    return VisionLanguageModel(
        name=row.name,
        encoder=encoder,
        sight=make_sight(encoder.info, views, tiling=tiling, vision_dim=reading.vision_dim),
        spec=reading.spec,
        llm=read_llm(language, name=language["name"]),
        separators=Separators(**facts["separators"]) if "separators" in facts else separators,
    )


def _connector(row: Row, vision: Mapping[str, Any], language: Mapping[str, Any]) -> tuple[Reading, Views]:
    """Read the connector and the views; what the row says of tiles comes before what the layout says."""
    facts = row.facts
    shapes = {name: tuple(shape) for name, shape in facts.get("shapes", {}).items()}
    config = Config({"vision_config": vision, "text_config": language, **facts.get("settings", {})}, source=row.name)
    layout = LAYOUTS[facts["layout"]]
    reading = layout.read(config, shapes)
    views = known_views(layout.name, reading.views, config, Config())
    return reading, replace(views, tiling_options={**views.tiling_options, **facts.get("tiling_options", {})})


def _layers(facts: Mapping[str, Any]) -> Layers:
    return tuple(facts["layers"]) if "layers" in facts else "last"


def _part(named: str | Mapping[str, Any], rows: Mapping[str, Row]) -> Mapping[str, Any]:
    """Return the settings of an encoder or LLM: those of a row by its name, changed where the model's differ."""
    if isinstance(named, str):
        return {"name": named, **rows[named].facts}
    base = str(named.get("like", ""))
    changes = {key: value for key, value in named.items() if key != "like"}
    return {"name": base, **(rows[base].facts if base else {}), **cast("Mapping[str, Any]", changes)}
