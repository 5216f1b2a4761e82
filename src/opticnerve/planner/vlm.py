"""Whole published vision-language models by name: from the catalogue, a folder or the hub."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from opticnerve.checkpoints import LAYOUTS, UNSUPPORTED, Layout, Reading, find, open_checkpoint, read_settings
from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.files import PROCESSORS
from opticnerve.checkpoints.inspection import with_limits
from opticnerve.encoders import Layers
from opticnerve.errors import CheckpointError, OpticNerveError, PlanError
from opticnerve.planner import catalogue
from opticnerve.planner.encoder import EncoderCosts
from opticnerve.planner.llm_config import read_llm
from opticnerve.planner.lookup import find_encoder, find_row, unknown
from opticnerve.planner.model import Separators, VisionLanguageModel
from opticnerve.planner.separators import SEPARATORS
from opticnerve.planner.vlm_rows import read_row
from opticnerve.planner.vlm_sight import find_tiling, known_views, make_sight


def find_model(name: str) -> VisionLanguageModel:
    """Find a whole vision-language model.

    Args:
        name: of the catalogue, with or without its owner; a folder with a config.json; or a name on the hub. Original
            releases, whose config.json does not tell the connector, need their safetensors files beside it; of these
            only headers are read.

    Raises:
        PlanError: there is no such model, its connector or encoder is not known, its settings lack something, or no
            tiling cuts images as it does.
    """
    row = find_row(name, catalogue.vlms())
    if row is not None:
        return read_row(row)
    try:
        settings = read_settings(name)
    except CheckpointError as error:
        raise unknown(name, "model", catalogue.vlms(), error) from error
    found = _find(name, settings)
    config = Config(settings, source=name)
    views = known_views(found.layout.name, with_limits(found.reading.views, found.processor), config, found.processor)
    tiling = find_tiling(views, name=name)
    encoder = _encoder(name, settings)
    family = "pixtral" if views.tiling == "pixtral" else found.layout.name
    return VisionLanguageModel(
        name=name,
        encoder=encoder,
        sight=make_sight(encoder.info, views, tiling=tiling, vision_dim=found.reading.vision_dim),
        spec=found.reading.spec,
        llm=read_llm(settings, name=name),
        separators=SEPARATORS.get(family, Separators()),
    )


def _encoder(name: str, settings: Mapping[str, Any]) -> EncoderCosts:
    """Find the encoder: that of the model itself, or the one that its settings name.

    Raises:
        PlanError: its costs are not known.
    """
    try:
        return find_encoder(str(settings.get("mm_vision_tower") or name), layers=_layers(settings))
    except OpticNerveError as error:
        raise PlanError(
            f"{name}: what its encoder costs is not known: {error}; or plan its parts, with the nearest encoder "
            f"(--encoder, --method, --llm, --tiling)"
        ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """The connector of a model, and the settings of its image processor."""

    layout: Layout
    reading: Reading
    processor: Config


def _find(name: str, settings: Mapping[str, Any]) -> _Found:
    """Read the connector: with the tensors' headers where there are any, else from config.json alone.

    Raises:
        PlanError: the connector is not known.
    """
    try:
        checkpoint = open_checkpoint(name)
    except CheckpointError:
        return _from_settings(name, settings)
    try:
        match = find(checkpoint)
        if _of_images(match.layout) != match.layout:
            match = find(checkpoint, layout=_of_images(match.layout).name, prefix=match.prefix)
    except OpticNerveError as error:
        raise PlanError(f"the connector of {name} is not known, so its tokens are not either: {error}") from error
    return _Found(layout=match.layout, reading=match.reading, processor=checkpoint.processor)


def _from_settings(name: str, settings: Mapping[str, Any]) -> _Found:
    kind = str(settings.get("model_type", ""))
    claimed = [layout for layout in LAYOUTS.values() if kind in layout.model_types and not layout.is_part]
    readable = [layout for layout in claimed if layout.home == "transformers"]
    fitting = [layout for layout in readable if all(key in settings for key in layout.settings)]
    if not fitting:
        raise PlanError(f'the connector of {name}, a "{kind}" model, is not known: {_reason(kind, claimed)}')
    layout = _of_images(max(fitting, key=lambda one: len(one.settings)))
    try:
        reading = layout.read(Config.of(settings, source=name), {})
    except OpticNerveError as error:
        raise PlanError(f"{name}: its connector cannot be read from config.json alone: {error}") from error
    return _Found(layout=layout, reading=reading, processor=_processor(name))


def _of_images(layout: Layout) -> Layout:
    """Return the layout of a model's images where that of the model is the one of its videos."""
    return LAYOUTS.get(f"{layout.name}_image", layout)


def _reason(kind: str, claimed: Sequence[Layout]) -> str:
    if claimed:
        return "its config.json does not tell; put the release's safetensors files beside it, whose headers do"
    if kind in UNSUPPORTED:
        return UNSUPPORTED[kind]
    return "no published layout has that model type; `opticnerve layouts` lists those that are known"


def _processor(name: str) -> Config:
    """Read the settings of the image processor that lie beside a config.json, if any do."""
    path = Path(name).expanduser()
    folder = path.parent if path.is_file() else path
    file = next((folder / one for one in PROCESSORS if (folder / one).is_file()), None)
    return Config.read(file, source=name) if file else Config(source=name)


def _layers(settings: Mapping[str, Any]) -> Layers:
    """Read which hidden states of the encoder the connector takes; the finished output where no setting says."""
    for key in ("vision_feature_layer", "mm_vision_select_layer", "select_layer"):
        value: object = settings.get(key)
        if isinstance(value, list | tuple):
            return tuple(cast("Sequence[int]", value))
        if isinstance(value, int):
            return (value,)
    return "last"
