from pathlib import Path
from typing import Any

import pytest
import torch

from opticnerve.connectors import with_budget
from opticnerve.errors import OpticNerveError
from opticnerve.grid import Grid
from opticnerve.train.batches import Split
from opticnerve.train.elastic import open_budgets
from opticnerve.train.feed import Indexed
from opticnerve.train.recipe import Recipe
from opticnerve.train.run import run
from opticnerve.train.sources import open_feed
from opticnerve.train.starts import after, first
from opticnerve.train.turns import TURN
from opticnerve.vlm import set_budget
from train import tiny

FACTORS: tuple[dict[str, object], ...] = ({"factor": 1}, {"factor": 2})
QUERIES: tuple[dict[str, object], ...] = ({}, {"num_used": 1})


def model(parts: Path, method: str, **options: object) -> dict[str, Any]:
    return {**tiny.recipe(parts).model.model_dump(), "method": method, "method_options": options}


def elastic(parts: Path, *, method: str = "pool", budgets: object = FACTORS, steps: int = 6, **changes: Any) -> Recipe:
    options = {"query_grid": [2, 2], "head_dim": 16} if method == "qwen_vl_resampler" else {}
    stage = tiny.stage(parts, steps=steps, elastic=budgets, **changes)
    return tiny.recipe(parts, stage, model=model(parts, method, **options))


def opened(recipe: Recipe, folder: Path) -> tuple[Any, Any]:
    start = first(recipe.model, seed=0)
    budgets = open_budgets(start, recipe.stages[0], model=recipe.model)
    assert budgets is not None
    feed = open_feed(recipe, recipe.stages[0], start.processor, log=folder / "bad.jsonl", turns=budgets.processors)
    assert isinstance(feed, Indexed)
    return budgets, feed


@pytest.mark.parametrize(("method", "budgets"), [("pool", FACTORS), ("qwen_vl_resampler", QUERIES)])
def test_an_elastic_stage_learns_at_each_budget(
    parts: Path, tmp_path: Path, method: str, budgets: tuple[dict[str, object], ...]
) -> None:
    recipe = elastic(parts, method=method, budgets=budgets, steps=40, open={"connector": 1e-2, "llm": 3e-3})
    run(recipe, tmp_path)
    losses = list(tiny.losses(tmp_path).values())
    for turn in range(2):
        own = losses[turn::2]
        assert sum(own[-3:]) < 0.7 * sum(own[:3])


def test_each_step_has_one_budget_and_the_next_step_the_next_whatever_the_micro_batches(
    parts: Path, tmp_path: Path
) -> None:
    recipe = elastic(parts, budgets=({"factor": 1}, {"factor": 2}, {"factor": 2}))
    _, feed = opened(recipe, tmp_path)
    for size, num_workers in ((4, 0), (2, 0), (1, 2)):
        split = Split(batch_size=4, micro_batch_size=size, num_processes=1, rank=0)
        for first_step in (0, 2):
            loader = feed.loader(split, num_steps=6, first_step=first_step, num_workers=num_workers)
            assert len(loader) == 6 * split.num_micro_batches
            turns = [batch[TURN] for batch in loader]
            wanted = [step % 3 for step in range(first_step, 6) for _ in range(split.num_micro_batches)]
            assert turns == wanted


def test_all_processes_have_the_same_budget_in_a_step(parts: Path, tmp_path: Path) -> None:
    _, feed = opened(elastic(parts), tmp_path)
    splits = [Split(batch_size=4, micro_batch_size=1, num_processes=2, rank=rank) for rank in range(2)]
    one, other = (
        [batch[TURN] for batch in feed.loader(split, num_steps=4, first_step=1, num_workers=0)] for split in splits
    )
    assert one == other == [1, 1, 0, 0, 1, 1]


def test_a_batch_has_as_many_placeholders_as_its_budget_gives_tokens(parts: Path, tmp_path: Path) -> None:
    budgets, feed = opened(elastic(parts), tmp_path)
    split = Split(batch_size=4, micro_batch_size=4, num_processes=1, rank=0)
    model = budgets.projector
    for batch in feed.loader(split, num_steps=4, first_step=0, num_workers=0):
        budgets.take(batch[TURN])
        processor = budgets.processors[batch[TURN]]
        wanted = sum(processor.num_image_tokens(*size) for size in batch["image_sizes"].tolist())
        assert int((batch["input_ids"] == processor.image_token_id).sum()) == wanted
        assert model.connector.spec == processor.image_processor.spec
    assert [one.num_image_tokens(28, 28) for one in budgets.processors] == [16, 4]


def test_budgets_share_their_weights_and_buffers_whatever_became_of_them(parts: Path, tmp_path: Path) -> None:
    budgets, _ = opened(elastic(parts, method="qwen_vl_resampler", budgets=QUERIES), tmp_path)
    for turn in (0, 1, 0):
        budgets.take(turn)
        own = budgets.projector.connector
        for module in own.modules():  # as a move to another device leaves them
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.clone())
    budgets.take(1)
    mine, other = (connector.state_dict(keep_vars=True) for connector in budgets.connectors)
    assert list(mine) == list(other)
    assert "blocks.2.table" in mine
    assert all(mine[name] is other[name] for name in mine)


def test_the_trained_model_has_its_own_budget_and_can_be_asked_for_the_others(parts: Path, tmp_path: Path) -> None:
    recipe = elastic(parts)
    run(recipe, tmp_path)
    saved = after(tmp_path / "1-align")
    native = (28, 28)
    assert saved.processor.num_image_tokens(*native) == 4
    weights = {name: value.clone() for name, value in saved.model.parts["connector"].state_dict().items()}
    set_budget(saved.model, saved.processor, with_budget(saved.model.config.spec, num_tokens=16, grid=Grid(4, 4)))
    assert saved.processor.num_image_tokens(*native) == 16
    image = torch.zeros(3, *native, dtype=torch.uint8)
    batch = saved.processor(text="<image>", images=[image], return_tensors="pt")
    assert int((batch["input_ids"] == saved.processor.image_token_id).sum()) == 16
    assert saved.model(**batch).logits.shape[1] == batch["input_ids"].shape[1]
    assert all(torch.equal(value, weights[name]) for name, value in saved.model.parts["connector"].state_dict().items())


def test_a_stopped_elastic_stage_goes_on_as_if_nothing_had_been(parts: Path, tmp_path: Path) -> None:
    recipe = elastic(parts)
    run(recipe, tmp_path / "whole")

    class Stops(tiny.Listener):
        def stepped(self, report: Any) -> None:
            super().stepped(report)
            if report.step == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "cut", progress=Stops())
    listener = tiny.Listener()
    run(recipe, tmp_path / "cut", progress=listener)
    assert listener.starts[0].first_step == 2
    assert tiny.losses(tmp_path / "cut") == tiny.losses(tmp_path / "whole")
    whole, cut = (after(tmp_path / name / "1-align").model.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())


def test_cutting_the_batch_leaves_the_losses_of_an_elastic_stage_as_they_are(parts: Path, tmp_path: Path) -> None:
    open_ = {"connector": 1e-2}
    for size in (4, 2):
        run(elastic(parts, open=open_, micro_batch_size=size), tmp_path / str(size))
    whole, cut = (list(tiny.losses(tmp_path / str(size)).values()) for size in (4, 2))
    assert cut == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"budgets": ({"factor": 1}, {"hidden": [8]})},
            'stage "align", elastic.1: these options of "pool" need other weights than the connector has',
        ),
        ({"budgets": ({"factor": 1}, {"fator": 2})}, 'unknown option of pool "fator". Did you mean factor?'),
        (
            {"sharding": "fsdp2"},
            'stage "align" is elastic, so several connectors share their weights, which fsdp2 cannot share out',
        ),
    ],
)
def test_budgets_that_a_stage_cannot_have_are_explained(
    parts: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(OpticNerveError) as caught:
        run(elastic(parts, **changes), tmp_path)
    assert message in str(caught.value)


def test_one_budget_alone_is_refused(parts: Path) -> None:
    with pytest.raises(ValueError, match="elastic needs two budgets or more, and an objective that sees images"):
        elastic(parts, budgets=({"factor": 1},))


def test_a_stream_cannot_be_elastic(parts: Path, tmp_path: Path) -> None:
    recipe = elastic(parts, data=[{"kind": "webdataset", "shards": str(tmp_path / "*.tar"), "streaming": True}])
    start = first(recipe.model, seed=0)
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(OpticNerveError, match='stage "align" reads a stream, which cannot be elastic'):
        open_feed(recipe, recipe.stages[0], start.processor, log=tmp_path / "bad.jsonl", turns=[start.processor] * 2)
