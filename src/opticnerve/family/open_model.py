"""Open a model by the name of a member, from a folder, or from the hub."""

from pathlib import Path
from typing import TYPE_CHECKING

from opticnerve.errors import CheckpointError, first_line
from opticnerve.family.members import MODELS, load, members

if TYPE_CHECKING:
    from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor


def open_model(
    name_or_path: str | Path, folder: Path = MODELS
) -> "tuple[OpticNerveForConditionalGeneration, OpticNerveProcessor]":
    """Load a vision-language model and its processor, in evaluation mode, on the CPU.

    Args:
        name_or_path: a bundled model; a folder that `save_pretrained` or `opticnerve train` wrote; or a hub name.
        folder: holds the bundled models.

    Raises:
        CheckpointError: there is no such model, or it is of another kind.
    """
    name = str(name_or_path)
    if name in members(folder):
        return load(name, folder)
    path = Path(name)
    if (path / "model" / "config.json").exists() and not (path / "config.json").exists():
        path = path / "model"
    is_folder = (path / "config.json").exists()
    if not is_folder and (path.exists() or name.count("/") != 1):
        bundled = ", ".join(members(folder)) or "none yet"
        raise CheckpointError(
            f'there is no model "{name}": name a folder with a config.json, or a bundled model ({bundled})'
        )
    from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor

    home = str(path) if is_folder else name
    try:
        model = OpticNerveForConditionalGeneration.from_pretrained(home)
        processor = OpticNerveProcessor.from_pretrained(home)
    except (OSError, ValueError) as error:
        raise CheckpointError(f'cannot open the model "{name}": {first_line(error)}') from error
    return model.eval(), processor
