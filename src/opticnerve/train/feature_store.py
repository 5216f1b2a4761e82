"""Features of a frozen encoder, computed once and kept: shards of safetensors, one unit of work each."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from opticnerve.data import Message, Sample, SeenImage
from opticnerve.data.good_samples import Source
from opticnerve.encoders import weights_sha256
from opticnerve.errors import BadSampleError, DataError, ImageError
from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor

SHARD_SIZE: int = 256
"""Samples of a shard."""
BATCH_SIZE: int = 16
"""Images whose tiles go through the encoder together."""


class FeatureStore:
    """The samples of a source with their features, by number.

    What is stored depends on the encoder, the tiling, the scales and the source, not on connector, LLM or template, so
    runs that differ in these share a folder.

    Args:
        folder: where the shards are, or will be.
        source: the samples.
    """

    def __init__(self, folder: Path, source: Source) -> None:
        self.folder = folder
        self.source = source
        self._open: dict[int, tuple[Any, dict[str, Any]]] = {}

    def __len__(self) -> int:
        """Count the samples, the bad ones included."""
        return len(self.source)

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind, for worker processes."""
        return {**self.__dict__, "_open": {}}

    def __getitem__(self, index: int) -> Sample:
        """Read one sample, with features (float16 or bfloat16) in the place of its images.

        Args:
            index: from 0.

        Raises:
            BadSampleError: it could not be seen.
        """
        shard = index // SHARD_SIZE
        if shard not in self._open:
            file = _opened(self._path(shard))
            self._open[shard] = file, json.loads(file.metadata()["samples"])
        file, samples = self._open[shard]
        facts: Mapping[str, Any] = samples[str(index)]
        if "reason" in facts:
            raise BadSampleError(facts["id"], facts["reason"])
        sizes: list[tuple[int, int]] = facts["sizes"]
        images = [SeenImage(file.get_tensor(f"{index}/image/{number}"), *size) for number, size in enumerate(sizes)]
        return Sample(
            id=facts["id"],
            messages=tuple(Message(*message) for message in facts["messages"]),
            images=tuple(images),
            labels={name: file.get_tensor(f"{index}/label/{name}") for name in facts["labels"]},
        )

    def missing(self) -> list[int]:
        """List the shards that are still to be made."""
        return [number for number in range(-(-len(self) // SHARD_SIZE)) if not self._path(number).is_file()]

    def make(self, shard: int, see: Callable[[Sequence[Tensor]], list[Tensor]]) -> None:
        """Make one shard: written under another name first, then renamed.

        Args:
            shard: its number.
            see: from the images of a batch to the packed features of each.
        """
        tensors: dict[str, Tensor] = {}
        facts: dict[str, Any] = {}
        waiting: list[tuple[str, Tensor]] = []
        for index in range(shard * SHARD_SIZE, min((shard + 1) * SHARD_SIZE, len(self))):
            try:
                sample, images = _decoded(self.source, index)
            except BadSampleError as error:
                facts[str(index)] = {"id": error.sample, "reason": error.reason}
                continue
            facts[str(index)] = _facts(sample, images)
            tensors.update(
                {f"{index}/label/{name}": label.clone().contiguous() for name, label in sample.labels.items()}
            )
            waiting += [(f"{index}/image/{number}", image) for number, image in enumerate(images)]
            if len(waiting) >= BATCH_SIZE:
                tensors.update(_seen(waiting, see))
                waiting = []
        tensors.update(_seen(waiting, see))
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f".{shard:05d}.{os.getpid()}"
        try:
            save_file(tensors, unfinished, metadata={"samples": json.dumps(facts)})
            unfinished.replace(self._path(shard))
        finally:
            unfinished.unlink(missing_ok=True)

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.safetensors"


def store_name(
    data: Mapping[str, object],
    model: OpticNerveForConditionalGeneration,
    processor: OpticNerveProcessor,
    *,
    precision: str,
) -> str:
    """Name a store by all that its content depends on: the data, the encoder's weights, and how images are seen.

    Args:
        data: the source as plain values.
        model: its encoder is used.
        processor: the model's, as it sees images.
        precision: that the encoder runs in.
    """
    facts = {
        "data": {**data, "changed": _changed(data)},
        "encoder": model.config.encoder,
        "weights": weights_sha256(model.parts["encoder"]),
        "sight": processor.image_processor.sight.to_dict(),
        "precision": precision,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _opened(path: Path) -> Any:  # noqa: ANN401
    try:
        return cast("Any", safe_open)(path, framework="pt")
    except SafetensorError as error:
        raise DataError(f"stored features {path} are damaged ({error}): delete the file, it is made again") from error


def _changed(data: Mapping[str, object]) -> int:
    """Tell when a local file or folder of data was changed, in nanoseconds; 0 for anything else."""
    given = str(data.get("path") or data.get("shards") or "")
    paths = [Path(given)] if given else []
    return max((path.stat().st_mtime_ns for path in paths if path.exists()), default=0)


def seer(
    model: OpticNerveForConditionalGeneration, processor: OpticNerveProcessor, *, precision: str
) -> Callable[[Sequence[Tensor]], list[Tensor]]:
    """Return the function from images to their features.

    Args:
        model: its encoder is used.
        processor: the model's.
        precision: "bf16" or "fp32".
    """

    @torch.no_grad()
    def see(images: Sequence[Tensor]) -> list[Tensor]:
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        batch = processor.collate_views(
            [(processor.views(image), size) for image, size in zip(images, sizes, strict=True)]
        )
        kind = next(model.parameters()).device.type
        with torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"):
            packed = model.model.image_features(batch["pixel_values"], batch["image_sizes"])
        sight = model.model.sight
        counts: list[int] = [
            sum(grid.size for grid in sight.grids(plan)) for plan in model.model.plans(batch["image_sizes"])
        ]
        return [_small(one) for one in torch.split(packed.cpu(), counts)]

    return see


def _small(features: Tensor) -> Tensor:
    """Halve the bytes: float16, or bfloat16 where that has not the range."""
    half = features.to(torch.float16)
    return (half if half.isfinite().all() else features.to(torch.bfloat16)).clone()


def _decoded(source: Source, index: int) -> tuple[Sample, list[Tensor]]:
    sample = source[index]
    try:
        return sample, [sample.decode(number) for number in range(len(sample.images))]
    except ImageError as error:
        raise BadSampleError(sample.id, str(error)) from error


def _facts(sample: Sample, images: Sequence[Tensor]) -> dict[str, Any]:
    return {
        "id": sample.id,
        "messages": [[message.role, message.content] for message in sample.messages],
        "sizes": [list(image.shape[1:]) for image in images],
        "labels": list(sample.labels),
    }


def _seen(waiting: Sequence[tuple[str, Tensor]], see: Callable[[Sequence[Tensor]], list[Tensor]]) -> dict[str, Tensor]:
    if not waiting:
        return {}
    return dict(zip([name for name, _ in waiting], see([image for _, image in waiting]), strict=True))
