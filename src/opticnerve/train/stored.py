"""Folders of stored images that a stage trains on: they have to be what the stage's model would see."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from opticnerve.data.stored.folder import StoredFolder
from opticnerve.encoders import weights_sha256
from opticnerve.train.errors import TrainingError
from opticnerve.train.recipe import Data, PicturesData, Stage
from opticnerve.train.starts import Start

_MOST_SHOWN = 5
"""Differences that an error names."""


def stored_of(data: Data) -> str:
    """Say which folder of stored images data name.

    Args:
        data: a source.

    Returns:
        The folder; "" where pictures are read.
    """
    return data.stored if isinstance(data, PicturesData) else ""


def open_folders(stage: Stage, start: Start) -> dict[str, StoredFolder]:
    """Open the folders of stored images that a stage names, and compare what made them with its model.

    Args:
        stage: names the data and what trains.
        start: the model and its processor, as the stage has them.

    Returns:
        The folders by their names.

    Raises:
        DataError: a folder cannot be opened.
        TrainingError: a part that stored images come from trains, the stage reads pictures as well, or another model
            made a folder.
    """
    names = dict.fromkeys(name for data in stage.data if (name := stored_of(data)))
    folders = {name: StoredFolder(name) for name in names}
    if not folders:
        return {}
    _check_stage(stage, {folder.kind for folder in folders.values()})
    made = _described(start)
    for name, folder in folders.items():
        settings = folder.about["settings"]
        keys = [key for key in made["settings"] if folder.kind == "tokens" or not key.startswith("connector")]
        theirs = {**_sight(folder.about["sight"]), **{key: settings.get(key) for key in keys}}
        ours = {**made["sight"], **{key: made["settings"][key] for key in keys}}
        found = list(differences(theirs, ours))
        if found:
            raise TrainingError(
                f'stage "{stage.name}" cannot train on {name}, which was encoded otherwise than its model would: '
                f"{'; '.join(found[:_MOST_SHOWN])}. Encode again with the model's settings, or change the recipe."
            )
    return folders


def differences(theirs: object, ours: object, place: str = "") -> Iterator[str]:
    """Name the settings that differ.

    Args:
        theirs: of a folder, as JSON has them.
        ours: of a model, likewise.
        place: of both, dotted.

    Yields:
        One short text for each.
    """
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in dict.fromkeys([*theirs, *ours]):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            inner = f"{place}.{key}" if place else str(key)  # pyright: ignore[reportUnknownArgumentType]
            yield from differences(theirs.get(key), ours.get(key), inner)  # pyright: ignore
        return
    if theirs != ours:
        yield f"{place} is {_short(theirs, place)} there, {_short(ours, place)} here"


def _check_stage(stage: Stage, kinds: set[str]) -> None:
    """Refuse a stage that trains what stored images come from, or that has its images in several ways."""
    opened = {name.split(".")[0] for name, rate in stage.open.items() if rate}
    what = " and ".join(sorted(kinds))
    start = f'stage "{stage.name}" trains on stored {what}'
    has_pictures = any(not stored_of(data) for data in stage.data)
    if "encoder" in opened:
        raise TrainingError(f"{start}, which do not change with the encoder: leave the encoder frozen.")
    if len(kinds) > 1:
        raise TrainingError(f"{start}: take features alone, or tokens alone.")
    if has_pictures and (kinds == {"tokens"} or not stage.cache_features):
        raise TrainingError(f'{start}, and on data without "stored": give each of its data a folder.')
    if kinds == {"tokens"} and ("connector" in opened or stage.elastic):
        raise TrainingError(
            f"{start}, which do not change with the connector: leave it frozen and without elastic budgets, or encode "
            f"with --keep features."
        )


def _described(start: Start) -> dict[str, Any]:
    """Say what stored images of a model depend on, in the words of encode.json."""
    image_processor, parts = start.processor.image_processor, start.model.parts
    settings = {
        "levels": list(getattr(parts["encoder"], "levels", ())),
        "encoder_sha256": weights_sha256(parts["encoder"]),
        "connector": image_processor.spec.to_dict(),
        "connector_sha256": weights_sha256(parts["connector"]),
    }
    return json.loads(json.dumps({"sight": _sight(image_processor.sight.to_dict()), "settings": settings}))


def _sight(sight: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what the encoder was called: its weights say which one it is."""
    info = {key: value for key, value in sight.get("info", {}).items() if key != "name"}
    return {**sight, "info": info}


def _short(value: Any, place: str) -> str:  # noqa: ANN401 - JSON
    if place.endswith("sha256") and isinstance(value, str):
        return f"{value[:12]}..."
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
