"""Put another connector into a saved model."""

import os
import shutil
from pathlib import Path
from typing import Any

from opticnerve.connectors import Connector
from opticnerve.errors import OpticNerveError, SpecError
from opticnerve.vlm.causal import OpticNerveForConditionalGeneration
from opticnerve.vlm.image_processor import OpticNerveImageProcessor
from opticnerve.vlm.processor import OpticNerveProcessor


def graft(model_dir: str | Path, connector: Connector, *, out: str | Path | None = None) -> Path:
    """Put a connector into a saved model of this library, in the place of its own; encoder and LLM stay as they are.

    The weights take the model's data type. Tokens are counted anew, so the processor is written as well.

    Args:
        model_dir: the folder of the model.
        connector: from `opticnerve.checkpoints.load_connector`, or built here.
        out: folder for the new model, which must not be there yet; None replaces the model.

    Returns:
        The folder of the new model. It appears when all is written; a model that is replaced stays whole until then.

    Raises:
        SpecError: there is no model, the widths differ, or the connector cannot take the model's grids.
    """
    source = Path(model_dir).expanduser()
    target = source if out is None else Path(out).expanduser()
    if not (source / "config.json").is_file():
        raise SpecError(f'there is no model in "{model_dir}": pass the folder of a saved model of this library')
    if out is not None and target.exists():
        raise SpecError(f"{target} is there already: name another folder, or leave it out to replace the model")
    try:
        model = OpticNerveForConditionalGeneration.from_pretrained(source)
        processor = OpticNerveProcessor.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise SpecError(f'"{model_dir}" is no model of this library that can be read: {error}') from error
    _check(model, connector)
    sight: Any = processor.image_processor.sight
    model.config.connector = connector.spec.to_dict()
    model.model.multi_modal_projector.connector = connector.to(model.dtype)
    image_processor = OpticNerveImageProcessor(sight=sight.to_dict(), connector=connector.spec.to_dict())
    grafted = OpticNerveProcessor(image_processor, processor.tokenizer, chat_template=processor.chat_template)
    try:
        grafted.num_image_tokens(*sight.info.native_px)
    except OpticNerveError as error:
        raise SpecError(f"the connector cannot take what this model's encoder gives: {error}") from error
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        model.save_pretrained(unfinished)
        grafted.save_pretrained(unfinished)
        _put(unfinished, target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def _check(model: OpticNerveForConditionalGeneration, connector: Connector) -> None:
    projector = model.model.multi_modal_projector
    vision_dim = projector.sight.dim
    llm_dim = int(model.get_input_embeddings().embedding_dim)
    out_dim = connector.spec.out_dim(vision_dim=connector.vision_dim, llm_dim=connector.llm_dim)
    if connector.vision_dim != vision_dim or out_dim != llm_dim:
        raise SpecError(
            f"the connector takes features of {connector.vision_dim} channels and gives tokens of {out_dim}, but the "
            f"model's encoder gives {vision_dim} and its LLM takes {llm_dim}: take the connector of a model with these "
            f"widths, or assemble a model with an encoder and an LLM of the connector's"
        )


def _put(new: Path, target: Path) -> None:
    """Rename a folder, over one that is there."""
    if not target.exists():
        new.rename(target)
        return
    old = target.with_name(f".{target.name}.old.{os.getpid()}")
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
