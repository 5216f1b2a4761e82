"""From a name to what the planner needs: the catalogue first, then a folder, then the hub."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from opticnerve.checkpoints import read_settings
from opticnerve.encoders import Layers
from opticnerve.errors import CheckpointError, OpticNerveError, PlanError
from opticnerve.planner import catalogue
from opticnerve.planner.catalogue import Row
from opticnerve.planner.encoder import BuiltEncoder, EncoderCosts, module_depth
from opticnerve.planner.llm import LLM
from opticnerve.planner.llm_config import read_llm
from opticnerve.planner.vit import can_read_vit, read_vit


def find_llm(name: str) -> LLM:
    """Find a language model.

    Args:
        name: of the catalogue, with or without its owner; a folder with a config.json; or a name on the hub.

    Raises:
        PlanError: there is no such model, or its settings lack something.
    """
    row = find_row(name, catalogue.llms())
    return read_llm(row.facts if row else _settings(name, "LLM", catalogue.llms()), name=row.name if row else name)


def find_encoder(name: str, *, layers: Layers = "last") -> EncoderCosts:
    """Find a vision encoder, cut to the layers that are read.

    Args:
        name: "bundled"; of the catalogue, with or without its owner; a folder with a config.json; or a name on the hub.
        layers: as for `load_encoder`.

    Raises:
        PlanError: there is no such encoder, or its settings lack something.
        EncoderError: it has no such layer, or it is not a vision tower.
    """
    from opticnerve.encoders import sketch_encoder

    if name != "bundled":
        row = find_row(name, catalogue.encoders())
        settings = row.facts if row else _settings(name, "encoder", catalogue.encoders())
        if can_read_vit(settings):
            return read_vit(settings, name=row.name if row else name, layers=layers)
    encoder = sketch_encoder(name, layers=layers)
    return BuiltEncoder(encoder=encoder, depth=module_depth(encoder))


def find_row(name: str, rows: Mapping[str, Row]) -> Row | None:
    """Find a row of the catalogue by its name, with or without the owner, in capitals or not.

    Args:
        name: what is looked for.
        rows: of one kind.

    Returns:
        None where there is no such row, or a folder of that name lies here.
    """
    if name in rows:
        return rows[name]
    wanted = name.lower()
    found = [row for row in rows.values() if wanted in (row.name.lower(), row.short_name.lower())]
    return found[0] if found and not Path(name).is_dir() else None


def _settings(name: str, kind: str, rows: Mapping[str, Row]) -> Mapping[str, Any]:
    """Read the settings of what the catalogue does not have.

    Raises:
        PlanError: they cannot be read; the message lists the nearest names of the catalogue.
    """
    try:
        return read_settings(name)
    except CheckpointError as error:
        raise unknown(name, kind, rows, error) from error


def unknown(name: str, kind: str, rows: Mapping[str, Row], error: OpticNerveError) -> PlanError:
    """Make the error for a name that is nowhere.

    Args:
        name: what was looked for.
        kind: what it should have been, in a word.
        rows: of the catalogue.
        error: why it is in no folder and not on the hub.
    """
    names = {row.short_name.lower(): row.name for row in rows.values()}
    near = get_close_matches(name.rpartition("/")[2].lower(), list(names), n=3, cutoff=0.4)
    hint = f"Nearest of {len(rows)}: {', '.join(names[one] for one in near)}" if near else f"It has {len(rows)}"
    return PlanError(f'{kind} "{name}" is not in the catalogue. {hint}. Nor can it be read elsewhere: {error}')
