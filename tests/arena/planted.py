"""An arena of two minutes that learns to read large type, and a method with a flaw that is known."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from torch import Tensor

from opticnerve.arena.answers import AnswerTable
from opticnerve.arena.config import ArenaConfig
from opticnerve.arena.load import load_arena
from opticnerve.arena.report.folder import ArenaFolder, read_folder
from opticnerve.arena.report.groups import tabulate_replies
from opticnerve.arena.run import run_arena
from opticnerve.connectors import METHODS, blocks
from opticnerve.connectors.blocks import BLOCKS, LLM, Block, BlockSpec, Pool
from opticnerve.connectors.spec import ConnectorSpec
from opticnerve.grid import Places

TEST = {"kind": "reading", "split": "test", "num_samples": 96, "level": 0.0}
POOL = {"name": "pooled", "at": {4: {"method": "pool"}}}
DOUBLE = {"name": "double", "at": {4: {"method": "pool", "method_options": {"factor": 4}, "view": "256 px"}}}
UPPER = {"name": "upper", "at": {4: {"method": "upper_half"}}}
TOME = {"name": "tome", "align_options": {"reduction": 1}, "at": {4: {"method": "tome"}}}
LDPV2 = {"name": "ldpv2", "at": {4: {"method": "ldpv2", "method_options": {"out_grid": [4, 4]}}}}


@dataclass(frozen=True, kw_only=True, slots=True)
class UpperHalf(BlockSpec):
    """Puts zeros in the place of all that lies in the lower half."""

    kind: ClassVar[str] = "upper_half"

    def build(self, dim: int) -> Block:
        return UpperHalfBlock()


class UpperHalfBlock(Block):
    def forward(self, features: Tensor, grid: Places) -> Tensor:
        kept = features.clone()
        kept[:, features.shape[1] // 2 :] = 0  # places go row by row
        return kept


def upper_half() -> ConnectorSpec:
    """Pool, blind for the lower half."""
    return ConnectorSpec(name="upper_half", blocks=(UpperHalf(), *blocks.mlp(LLM), Pool()))


@contextmanager
def planted() -> Iterator[None]:
    """Let the library know the method with the flaw."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("opticnerve.connectors.registry", "opticnerve.views.fit"):
            patch.setattr(f"{module}.METHODS", {**METHODS, "upper_half": upper_half})
        patch.setattr("opticnerve.connectors.blocks.BLOCKS", {**BLOCKS, UpperHalf.kind: UpperHalf})
        yield


def run(
    out: Path,
    contenders: Sequence[dict[str, Any]],
    *,
    seeds: Sequence[int],
    steps: tuple[int, int],
    pages: int,
    test: dict[str, Any] | None = None,
    baselines: Sequence[str] = (),
) -> ArenaFolder:
    """Train and ask the contenders, and the baselines that are named."""
    names = [*baselines, *(one["name"] for one in contenders)]
    with planted():
        run_arena(_config(out, contenders, list(seeds), steps, pages, test or TEST), out, only=names, jobs=1)
    return read_folder(out)


def table_of(folder: ArenaFolder) -> AnswerTable:
    return tabulate_replies(folder.results)


def _config(
    out: Path,
    contenders: Sequence[dict[str, Any]],
    seeds: list[int],
    steps: tuple[int, int],
    pages: int,
    test: dict[str, Any],
) -> ArenaConfig:
    stage = {
        "data": [{"kind": "reading", "num_samples": pages, "level": 0.0}],
        "optimizer": "muon",
        "betas": [0.9, 0.98],
        "batch_size": 16,
        "micro_batch_size": 16,
        "cache_features": True,
        "min_lr_ratio": 0.02,
        "precision": "fp32",
    }
    align = {"name": "align", "open": {"connector": 6e-3, "objective": 4e-3}, "objective": {"kind": "alignment"}}
    tune = {"name": "tune", "open": {"connector": 2e-3, "llm": 2e-3}}
    settings = {
        "name": "planted",
        "views": [{"name": f"{px} px", "tiling_options": {"height_px": px, "width_px": px}} for px in (128, 256)],
        "contenders": list(contenders),
        "reductions": [4],
        "seeds": seeds,
        "rates": [1.0],
        "validation": {"kind": "reading", "split": "validation", "num_samples": 2},
        "test": test,
        "max_new_tokens": 6,
        "stages": [{**align, **stage, "steps": steps[0]}, {**tune, **stage, "steps": steps[1]}],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "planted.yaml").write_text(yaml.safe_dump(settings))
    return load_arena(out / "planted.yaml")
