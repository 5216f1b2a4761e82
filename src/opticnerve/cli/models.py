"""Vision-language models for the command line: by name, on the best device, and without other libraries' chatter."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from opticnerve.cli.terminal import complain
from opticnerve.errors import CheckpointError, SpecError, UnknownNameError

if TYPE_CHECKING:
    from opticnerve.family import Member
    from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor

FAVOURITE = "pixel_shuffle"
"""Method of the bundled model that answers where none is named."""


def bundled(method: str = "") -> "tuple[Member, ...]":
    """List the bundled models, of one method or of all.

    Args:
        method: of the connector; empty for all.

    Raises:
        CheckpointError: none is bundled.
        UnknownNameError: none has this method.
    """
    from opticnerve.family import members

    known: Mapping[str, Member] = members()
    if not known:
        raise CheckpointError("this version has no bundled models: name one with --model, a folder or a hub name")
    found = tuple(member for member in known.values() if method in ("", member.method))
    if not found:
        raise UnknownNameError("method of a bundled model", method, {member.method for member in known.values()})
    return found


def choose_model(model: str, method: str) -> str:
    """Say which model answers.

    Args:
        model: a folder, a hub name or a bundled model; empty for a bundled one.
        method: of the bundled model; empty for the favourite.

    Raises:
        SpecError: both are given.
        CheckpointError: none is given, and none is bundled.
        UnknownNameError: no bundled model has the method.
    """
    if model and method:
        raise SpecError("--model and --method both name a model: give one of them")
    if model:
        return model
    found = bundled(method)
    return next((member.name for member in found if member.method == (method or FAVOURITE)), found[0].name)


def open_on_device(name: str) -> "tuple[OpticNerveForConditionalGeneration, OpticNerveProcessor]":
    """Open a model, on the GPU if there is one.

    Args:
        name: a folder, a hub name or a bundled model.
    """
    import torch

    from opticnerve.family import open_model

    model, processor = open_model(name)
    return cast("Any", model).to("cuda" if torch.cuda.is_available() else "cpu"), processor


def warn_of_unknown(processor: "OpticNerveProcessor", *, model: str, questions: list[str]) -> None:
    """Name the words of the questions that a model does not know, on stderr.

    Args:
        processor: the model's.
        model: its name.
        questions: as they were asked.
    """
    from opticnerve.evaluate import unknown_words

    words = unknown_words(processor.tokenizer, " ".join(questions))
    if words:
        complain(f"{model} does not know: {', '.join(words)}. It reads each of them as one and the same unknown word")
