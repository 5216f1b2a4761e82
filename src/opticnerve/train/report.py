"""What will train, said before the first step and proved after the last."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from opticnerve.train.errors import TrainingError
from opticnerve.train.parts import Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class PartReport:
    """One line: a part, or a range of its layers with a rate of its own."""

    name: str
    """As the recipe names it; a part that it does not name has its own name."""
    parameters: int
    """Numbers that it holds."""
    trained: int
    """Numbers that change."""
    rate: float
    """Peak learning rate; 0 is frozen."""
    precision: str
    """Of its weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainReport:
    """A stage before its first step."""

    stage: str
    """Its name."""
    parts: tuple[PartReport, ...]
    """The whole parts in the model's order, each followed by its ranges of layers."""
    num_samples: int
    """Samples in the data; 0 for a stream, which does not know."""
    num_steps: int
    """Optimizer steps."""
    first_step: int
    """Steps that an earlier run has done."""
    batch_size: int
    """Samples of a step."""
    micro_batch_size: int
    """Samples that a process holds at once."""
    num_processes: int
    """Training processes."""
    tokens_per_batch: int
    """Tokens of a step, visual ones included, judged by the first micro-batch."""
    compute: str
    """Precision of the arithmetic."""

    @property
    def trained(self) -> int:
        """Numbers that change."""
        return sum(part.trained for part in self.parts)


def part_reports(selection: Selection) -> tuple[PartReport, ...]:
    """Describe every part.

    Args:
        selection: what trains.
    """
    lines: list[PartReport] = []
    for part, module in selection.parts.items():
        parameters = list(module.parameters())
        if not parameters:
            continue
        own = [group for group in selection.groups if group.name == part]
        ranges = [group for group in selection.groups if group.name.startswith(f"{part}.")]
        trained = [p for group in own for _, p in group.parameters]
        lines.append(_line(part, parameters, trained, own[0].rate if own else 0.0))
        for group in ranges:
            inside = [p for _, p in group.parameters]
            lines.append(_line(group.name, inside, inside, group.rate))
    return tuple(lines)


def fingerprints(selection: Selection) -> dict[str, str]:
    """Digest the bytes that must not change.

    Args:
        selection: what trains.

    Returns:
        A SHA-256 for each part that has frozen tensors. Of a sharded tensor, this process's share.
    """
    digests: dict[str, str] = {}
    for part in selection.parts:
        tensors = list(selection.closed(part))
        if tensors:
            digests[part] = _digest(tensors)
    return digests


def check_unchanged(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Prove that what was frozen has the same bytes.

    Args:
        before: fingerprints at the start of the stage.
        after: fingerprints now.

    Raises:
        TrainingError: they differ.
    """
    changed = sorted(part for part in {*before, *after} if before.get(part) != after.get(part))
    if changed:
        raise TrainingError(
            f"frozen weights have changed: {', '.join(changed)}. Nothing that is frozen may be written to: look for"
            " code that changes weights in place, or for a checkpoint of another start."
        )


def _line(
    name: str, parameters: list[torch.nn.Parameter], trained: list[torch.nn.Parameter], rate: float
) -> PartReport:
    kinds = sorted({str(parameter.dtype).removeprefix("torch.") for parameter in parameters})
    return PartReport(
        name=name,
        parameters=sum(parameter.numel() for parameter in parameters),
        trained=sum(parameter.numel() for parameter in trained),
        rate=rate,
        precision=", ".join(kinds),
    )


def _digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors:
        own: Any = tensor.detach()
        local: Tensor = own.to_local() if isinstance(tensor, DTensor) else own
        digest.update(f"{name} {local.dtype} {tuple(local.shape)}".encode())
        digest.update(cast(Any, local.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()
