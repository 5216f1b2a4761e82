"""The model that a stage starts from, and how it sees and speaks in that stage."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch

from opticnerve.connectors import Connector, ConnectorSpec
from opticnerve.connectors.budgets import share_weights
from opticnerve.errors import SpecError, UnknownNameError
from opticnerve.tiling import tiling_from_dict
from opticnerve.train.folder import MODEL
from opticnerve.train.recipe import ModelSettings, Stage
from opticnerve.train.small_llm import SMALL_LLM, write_small_llm
from opticnerve.views import fitting_method
from opticnerve.vlm import TEMPLATES, OpticNerveForConditionalGeneration, OpticNerveProcessor, assemble


@dataclass(frozen=True, slots=True)
class Start:
    """A model and its processor."""

    model: OpticNerveForConditionalGeneration
    processor: OpticNerveProcessor


def first(settings: ModelSettings, *, seed: int) -> Start:
    """Put the parts of a recipe together.

    Args:
        settings: the parts by name.
        seed: of the connector's weights.
    """
    with TemporaryDirectory() as folder:
        if settings.llm == SMALL_LLM:
            write_small_llm(Path(folder), seed=seed)
        model, processor = assemble(
            encoder=settings.encoder,
            layers=settings.layers,
            prefix=settings.prefix,
            tiling=settings.tiling,
            tiling_options=settings.tiling_options,
            scales=settings.scales,
            method=settings.method,
            method_options=settings.method_options,
            llm=folder if settings.llm == SMALL_LLM else settings.llm,
            template=settings.template,
            seed=seed,
        )
    return Start(model, processor)


def after(folder: Path) -> Start:
    """Read what a stage has made.

    Args:
        folder: the stage's.
    """
    path = folder / MODEL
    model = cast(
        OpticNerveForConditionalGeneration,
        OpticNerveForConditionalGeneration.from_pretrained(path, dtype=torch.float32),
    )
    return Start(model, OpticNerveProcessor.from_pretrained(path))


def adapt(start: Start, stage: Stage, *, model: ModelSettings, is_last: bool) -> Callable[[], None]:
    """Let a model see and speak as a stage wants it.

    Args:
        start: the model and its processor; changed in place.
        stage: names a template, and options of the tiling and of the method.
        model: what the model is made of.
        is_last: the template stays.

    Returns:
        Puts back what does not stay; to be called before the model is written.

    Raises:
        UnknownNameError: there is no such template, or the method has no such option.
        SpecError: the tiling has no such option, or the options need weights that the model does not have.
    """
    processor, own_template = start.processor, start.processor.chat_template
    own_sight = start.processor.image_processor.sight
    if stage.template != "model":
        if stage.template not in TEMPLATES:
            raise UnknownNameError("chat template", stage.template, [*TEMPLATES, "model"])
        processor.chat_template = TEMPLATES[stage.template]
    if stage.tiling_options:
        tiling = tiling_from_dict({**own_sight.tiling.to_dict(), **stage.tiling_options})
        _see(start, replace(own_sight, tiling=tiling))
    has_own = bool(stage.method_options or stage.elastic)
    put_connector_back = _connect(start, stage, model) if has_own else lambda: None

    def put_back() -> None:
        put_connector_back()
        _see(start, own_sight)
        if not is_last:
            processor.chat_template = own_template

    return put_back


def _connect(start: Start, stage: Stage, settings: ModelSettings) -> Callable[[], None]:
    """Let a model connect with other options and the same weights.

    Returns:
        Puts its own connector back, with the weights as they are then.
    """
    projector, image_processor = start.model.model.multi_modal_projector, start.processor.image_processor
    own, own_spec = projector.connector, image_processor.spec
    where = f'stage "{stage.name}", method_options'
    image_processor.spec, projector.connector = connect_as(start, settings, stage.method_options, where=where)

    def put_back() -> None:
        share_weights(projector.connector, own)
        projector.connector, image_processor.spec = own, own_spec

    return put_back


def connect_as(
    start: Start, settings: ModelSettings, options: Mapping[str, object], *, where: str
) -> tuple[ConnectorSpec, Connector]:
    """Make a model's connector with other options and the same weights.

    Args:
        start: the model and its processor.
        settings: what the model is made of.
        options: of the method, that differ.
        where: they stand, for errors.

    Returns:
        The connector as plain data, and as a module that shares its weights with the model's.

    Raises:
        UnknownNameError: the method has no such option.
        SpecError: the options need weights that the model does not have.
    """
    sight = start.processor.image_processor.sight
    spec = fitting_method(settings.method, sight, {**settings.method_options, **options})
    try:
        return spec, start.model.model.multi_modal_projector.with_spec(spec)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from error


def _see(start: Start, sight: object) -> None:
    """Change how images are seen, in the model and in its processor."""
    model, projector = start.model.model, start.model.model.multi_modal_projector
    if sight == model.sight:
        return
    fitted = replace(model.sight, tiling=sight.tiling)  # pyright: ignore
    needs = fitted.plan(*fitted.info.native_px).packing.has_newline
    if needs and not hasattr(projector, "newline"):
        raise SpecError(
            "these tiling_options end rows with a newline vector, which the model has not got: set them in the model"
            " too"
        )
    model.sight = projector.sight = fitted
    start.processor.image_processor.sight = fitted
