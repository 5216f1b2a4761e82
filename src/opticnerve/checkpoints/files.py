"""What a checkpoint is: named tensors in safetensors files, read only when they are asked for."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from opticnerve.checkpoints.config import Config
from opticnerve.errors import CheckpointError

PROJECTOR = "mm_projector"
"""Folder of the projector in releases that keep each part of a model in its own: VILA's."""
FLOATS: Mapping[str, torch.dtype] = MappingProxyType(
    {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
)
"""Data types that a connector may have, by safetensors' names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTensor:
    """One tensor of a checkpoint, not read yet."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """As safetensors writes it: "F32", "BF16"."""
    file: str
    """Name of the file that holds it."""


PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Files with the settings of an image processor, the first that is there counts."""


class Checkpoint(ABC):
    """The tensors of a checkpoint by name, and its settings.

    Args:
        source: what messages call it.
        config: its settings.
        tensors: what it holds.
        processor: settings of its image processor, where it has them.
        missing_files: files that its index names and that are not there.
    """

    def __init__(
        self,
        source: str,
        *,
        config: Config,
        tensors: Mapping[str, StoredTensor],
        processor: Config | None = None,
        missing_files: tuple[str, ...] = (),
    ) -> None:
        self.source = source
        self.config = config
        self.tensors = tensors
        self.processor = processor or Config(source=source)
        self.missing_files = missing_files

    def shapes(self, prefix: str = "") -> dict[str, tuple[int, ...]]:
        """List the shapes of all tensors whose names begin with a prefix, without the prefix."""
        cut = len(prefix)
        return {name[cut:]: one.shape for name, one in self.tensors.items() if name.startswith(prefix)}

    @abstractmethod
    def path(self, file: str) -> Path:
        """Return where a file of the checkpoint lies, which may fetch it."""

    def load(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Read some tensors, and nothing else.

        Args:
            names: of the tensors.

        Raises:
            CheckpointError: a file cannot be read.
        """
        by_file: dict[str, list[str]] = {}
        for name in names:
            by_file.setdefault(self.tensors[name].file, []).append(name)
        found: dict[str, Tensor] = {}
        for file, wanted in by_file.items():
            with opened_file(self.path(file)) as one:
                found.update({name: one.get_tensor(name) for name in wanted})
        return found


@contextmanager
def opened_file(path: Path) -> Generator[Any]:
    """Open a safetensors file, of which only the header is read yet.

    Raises:
        CheckpointError: it cannot be read, or is none.
    """
    try:
        with cast(Any, safe_open)(path, framework="pt") as opened:
            yield opened
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file ({error}): fetch it again") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
