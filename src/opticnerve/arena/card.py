"""The connector of an elastic contender, kept with a card that says what it is worth at each budget."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opticnerve.arena.cells import Cell
from opticnerve.arena.config import ArenaConfig
from opticnerve.checkpoints import save_connector
from opticnerve.views import fitting_method
from opticnerve.vlm import OpticNerveForConditionalGeneration

ELASTIC = "elastic"
"""Folder of an arena that holds the connectors."""
_README = """# {name}

One `{method}` connector for several budgets: trained by the arena "{arena}" with seed {seed} for {steps} steps, one of
these budgets for each step, in turn. It takes {vision_dim} channels of the encoder `{encoder}` and gives {llm_dim} for
the language model `{llm}`, which was trained along.

| visual tokens | features for each | exact match |
|---|---|---|
{rows}

Exact match is over all {questions} questions of the arena's test. The same numbers are in `connector.json`, under
`card`.

```python
from opticnerve import Grid, load_connector
from opticnerve.connectors import with_budget, with_spec

connector = load_connector("{folder}")
fewer = with_spec(connector, with_budget(connector.spec, num_tokens={fewest}, grid=Grid({rows_in}, {cols_in})))
```
"""


def write_card(
    config: ArenaConfig,
    cell: Cell,
    out: Path,
    model: OpticNerveForConditionalGeneration,
    results: Sequence[Mapping[str, Any]],
) -> Path:
    """Write OUT/elastic/NAME-seedS: the connector, and what it got right at each budget.

    Args:
        config: the arena.
        cell: the training run.
        out: the arena's folder.
        model: as it was trained, at the budget that the connector is to have in the file.
        results: of the cell at each reduction.

    Returns:
        The folder; what an earlier try left there is replaced.
    """
    folder = out / ELASTIC / f"{cell.contender.name}-seed{cell.seed}"
    shutil.rmtree(folder, ignore_errors=True)
    projector = model.model.multi_modal_projector
    save_connector(projector.connector, folder, card=_card(config, cell, results))
    sight = projector.sight
    grid = sight.grids(sight.plan(*sight.info.native_px))[0]
    specs = [fitting_method(one["method"], sight, one["method_options"]) for one in results]
    rows = [f"| {one['tokens']} | {one['reduction']} | {100 * _share(one):.1f} % |" for one in results]
    text = _README.format(
        name=folder.name,
        method=cell.entrant.method,
        arena=config.name,
        seed=cell.seed,
        steps=results[0]["steps"],
        vision_dim=projector.connector.vision_dim,
        encoder=config.encoder,
        llm_dim=projector.connector.llm_dim,
        llm=config.llm,
        rows="\n".join(rows),
        questions=len(results[0]["answers"]),
        folder=folder.name,
        fewest=min(spec.num_tokens(grid) for spec in specs),
        rows_in=grid.rows,
        cols_in=grid.cols,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    return folder


def _card(config: ArenaConfig, cell: Cell, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "curve": {str(one["tokens"]): round(_share(one), 4) for one in results},
        "budgets": {
            str(one["tokens"]): {"reduction": one["reduction"], "method_options": one["method_options"]}
            for one in results
        },
        "measure": "exact match",
        "questions": len(results[0]["answers"]),
        "method": cell.entrant.method,
        "view": config.view(cell.entrant).name,
        "encoder": config.encoder,
        "llm": config.llm,
        "arena": config.name,
        "seed": cell.seed,
        "rate": cell.rate,
        "steps": results[0]["steps"],
    }


def _share(result: Mapping[str, Any]) -> float:
    answers = result["answers"]
    return sum(one["is_right"] for one in answers) / len(answers)
