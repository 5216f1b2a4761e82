"""Checkpoints on the Hugging Face hub: headers by range requests, files when a tensor of theirs is read."""

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from typing_extensions import override

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.files import PROCESSORS, PROJECTOR, Checkpoint, StoredTensor
from opticnerve.checkpoints.pickles import how_to_convert
from opticnerve.errors import CheckpointError, first_line


class HubCheckpoint(Checkpoint):
    """A checkpoint on the Hugging Face hub: headers by range requests, files when a tensor of theirs is read."""

    def __init__(self, *, revision: str | None, **facts: Any) -> None:  # noqa: ANN401
        super().__init__(**facts)
        self.revision = revision

    @override
    def path(self, file: str) -> Path:
        """Fetch a file, or find it in the cache."""
        with _reached(self.source):
            return _fetched(self.source, file, revision=self.revision)


def open_hub(name: str, *, revision: str | None) -> Checkpoint:
    """Find the tensors of a checkpoint on the hub.

    Args:
        name: "owner/model".
        revision: branch, tag or commit.

    Raises:
        CheckpointError: the hub cannot be reached, or has no such model with safetensors files.
    """
    with _reached(name):
        config = _hub_settings(name, ("config.json",), revision=revision)
        processor = _hub_settings(name, PROCESSORS, revision=revision)
        headers = _hub_headers(name, revision=revision)
    tensors = {
        tensor: StoredTensor(name=tensor, shape=tuple(facts.shape), dtype=facts.dtype, file=file)
        for file, header in headers.items()
        for tensor, facts in header.tensors.items()
    }
    return HubCheckpoint(source=name, config=config, processor=processor, tensors=tensors, revision=revision)


def read_hub_config(name: str, *, revision: str | None) -> Config:
    """Fetch the config.json of a model on the hub; there are no settings where it has none.

    Args:
        name: "owner/model".
        revision: branch, tag or commit.

    Raises:
        CheckpointError: the hub cannot be reached, or has no such model.
    """
    with _reached(name):
        return _hub_settings(name, ("config.json",), revision=revision)


@contextmanager
def _reached(name: str) -> Generator[None]:
    """Say in our words that the hub cannot be reached, or does not have something."""
    from huggingface_hub.errors import HfHubHTTPError

    client = cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__)  # what the HTTP client in use raises
    try:
        yield
    except (OSError, ValueError, *client) as error:
        raise CheckpointError(
            f'cannot fetch "{name}" from the Hugging Face hub ({first_line(error)}): check the name and the '
            f"connection, or download the model and pass its folder"
        ) from error


def _hub_settings(name: str, files: Iterable[str], *, revision: str | None) -> Config:
    """Fetch the first of some files that is there."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for file in files:
        try:
            return Config.read(_fetched(name, file, revision=revision), source=name)
        except LocalEntryNotFoundError:  # there may be one, but there is no connection
            raise
        except EntryNotFoundError:
            continue
    return Config(source=name)


def _hub_headers(name: str, *, revision: str | None) -> Mapping[str, Any]:
    """Read the headers of all files, or of the projector's folder where there is nothing else (VILA)."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, NotASafetensorsRepoError

    hub, part = cast(Any, huggingface_hub), f"{PROJECTOR}/model.safetensors"
    try:
        return hub.get_safetensors_metadata(name, revision=revision).files_metadata
    except NotASafetensorsRepoError as error:
        try:
            return {part: hub.parse_safetensors_file_metadata(name, part, revision=revision)}
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            raise CheckpointError(
                f'"{name}" has no safetensors files: take a revision that has them, or download and convert it: '
                + how_to_convert("pytorch_model.bin", stem="model")
            ) from error


def _fetched(name: str, file: str, *, revision: str | None) -> Path:
    import huggingface_hub

    return Path(cast(Any, huggingface_hub).hf_hub_download(name, file, revision=revision))
