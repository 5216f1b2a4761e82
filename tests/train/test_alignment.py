"""Dense labels for visual tokens: what is asked of which token, and what trains."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from opticnerve import method
from opticnerve.data import Collator, ExampleMaker
from opticnerve.data.reading import CANVAS_PX, LABELS, MAX_CODE, NUM_CLASSES, Item, ReadingSource, item_table
from opticnerve.errors import SpecError
from opticnerve.grid import Grid, Queries
from opticnerve.train.objectives import AlignmentLoss
from opticnerve.train.objectives.alignment import image_tokens, map_of
from opticnerve.train.objectives.spelled import stack_cells
from opticnerve.train.run import run
from opticnerve.train.small_llm import small_tokenizer
from opticnerve.vlm import OpticNerveForConditionalGeneration, assemble
from train import tiny

DIM = 32
HALF = CANVAS_PX // 2
KIND = LABELS.index("kind")
VALUE = LABELS.index("value")
PERCEIVER = {"num_latents": 6, "depth": 1, "num_heads": 2, "head_dim": 8}


def built(parts: Path, method: str = "mlp", **options: Any) -> tuple[OpticNerveForConditionalGeneration, Any]:
    given = {"tiling": "plain", **options}
    return assemble(encoder=str(parts / "encoder"), llm=str(parts / "llm"), method=method, **given)


def reading_batch(processor: Any, *, num_samples: int = 4) -> dict[str, Any]:
    source = ReadingSource(num_samples=num_samples, level=0.2)
    maker = ExampleMaker(processor, max_tokens=1000)
    return Collator(processor)([maker.make(source[index]) for index in range(num_samples)])


def objective() -> AlignmentLoss:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return AlignmentLoss(small_tokenizer(), dim=DIM)


@pytest.fixture
def words() -> Tensor:
    return torch.randn(len(small_tokenizer()), DIM, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(1, 4, DIM, generator=torch.Generator().manual_seed(2))


def cells() -> tuple[Tensor, Tensor]:
    """A code, a shape, a bar, and nothing."""
    items = (
        Item(kind="text", color="red", box=(0, 0, HALF, HALF), text="A1"),
        Item(kind="star", color="blue", box=(HALF, 0, 2 * HALF, HALF)),
        Item(kind="bar", color="green", box=(0, HALF, HALF, 2 * HALF), value=4),
    )
    return stack_cells([item_table(items)], rows=2, cols=2)


# -- places ----------------------------------------------------------------------------------------------------------


def test_tokens_on_a_grid_are_labelled_on_that_grid() -> None:
    assert map_of(Grid(3, 5)) == (3, 5)
    assert map_of(Grid(7, 2)) == (7, 2)


@pytest.mark.parametrize(
    ("num", "found"), [(64, (8, 8)), (32, (4, 8)), (6, (2, 3)), (12, (3, 4)), (7, (1, 7)), (1, (1, 1)), (144, (12, 12))]
)
def test_learned_queries_are_labelled_on_the_most_nearly_square_map(num: int, found: tuple[int, int]) -> None:
    assert map_of(Queries(num)) == found


def test_queries_that_start_from_a_map_are_labelled_on_it() -> None:
    spec = method("qwen_vl_resampler", query_grid=(2, 6), head_dim=8)
    assert map_of(spec.out_grid(Grid(4, 4))) == (2, 6)
    assert map_of(method("d_abstractor", query_grid=(1, 4)).out_grid(Grid(24, 24))) == (1, 4)


@pytest.mark.parametrize(
    ("method", "options", "shape", "found"),
    [
        ("mlp", {}, (4, 16, DIM), (4, 4)),
        ("pool", {"out_grid": (2, 4), "mode": "adaptive"}, (4, 8, DIM), (2, 4)),
        ("perceiver", PERCEIVER, (4, 6, DIM), (2, 3)),
    ],
)
def test_the_tokens_of_each_image_come_with_their_map(
    parts: Path, method: str, options: dict[str, Any], shape: tuple[int, ...], found: tuple[int, int]
) -> None:
    model, processor = built(parts, method, method_options=options)
    batch = reading_batch(processor)
    tokens, rows, cols = image_tokens(model, batch)
    assert (tokens.shape, (rows, cols)) == (shape, found)
    each = model.visual_tokens(model.image_features(batch["pixel_values"], batch["image_sizes"]), batch["image_sizes"])
    assert torch.equal(tokens, torch.stack(each))


@pytest.mark.parametrize(
    "views",
    [
        {"tiling": "internvl", "tiling_options": {"max_tiles": 4, "min_tiles": 4, "has_thumbnail": False}},
        {"tiling": "anyres", "tiling_options": {"pinpoints": [[28, 56], [56, 28]]}},
    ],
)
def test_images_of_several_tiles_are_refused(parts: Path, views: dict[str, Any]) -> None:
    model, processor = built(parts, **views)
    with pytest.raises(SpecError) as caught:
        image_tokens(model, reading_batch(processor, num_samples=1))
    assert str(caught.value) == (
        'alignment labels one map of tokens for each image, but the images have several tiles: use tiling "plain"'
    )


# -- the loss --------------------------------------------------------------------------------------------------------


def test_maps_that_know_nothing_lose_what_guessing_loses_and_a_perfect_token_no_more(words: Tensor) -> None:
    """Full cells and empty ones weigh 1 and 0.3 for what is asked of both; a code's characters and a bar's steps are
    asked of those alone. Nothing is a second thing here, so its labels have empty cells only."""
    loss = objective()
    for parameter in loss.parameters():
        torch.nn.init.zeros_(parameter)
    classes, boxes = cells()
    target = loss.spelled(classes, boxes, words).requires_grad_()
    found = loss.loss(target, classes, boxes, words=words)
    weights = [1.0] * MAX_CODE + [1.3, 1.3, 0.3, 0.3, 1.0]
    guessing = sum(weight * math.log(count) for weight, count in zip(weights, NUM_CLASSES, strict=True))
    off = 10 * boxes[0, :3].abs().mean()
    torch.testing.assert_close(found.total, 4 * (guessing + off))
    assert found.count == 4
    found.total.backward()
    assert target.grad is not None
    assert not target.grad.any()  # nothing pulls it anywhere
    beside = loss.loss(target.detach() + 0.1, classes, boxes, words=words).total
    assert beside > found.total


def test_the_pull_towards_the_spelled_cell_is_measured_in_its_mean_square(words: Tensor, tokens: Tensor) -> None:
    loss = objective()
    for parameter in loss.parameters():
        torch.nn.init.zeros_(parameter)
    classes, boxes = cells()
    target = loss.spelled(classes, boxes, words)
    totals = [loss.loss(each, classes, boxes, words=words).total for each in (target, tokens)]
    distance = (tokens - target).square().mean(-1)[0] / target.square().mean()
    torch.testing.assert_close(totals[1] - totals[0], 4 * 4 * (distance[:3].mean() + 0.3 * distance[3]))


def heads(loss: AlignmentLoss, tokens: Tensor, classes: Tensor, boxes: Tensor, words: Tensor) -> list[Tensor]:
    """What the maps learn from these labels: the gradient of each label's rows, and of the box."""
    loss.zero_grad()
    loss.loss(tokens, classes, boxes, words=words).total.backward()
    assert loss.classes.weight.grad is not None
    assert loss.box.weight.grad is not None
    return [*loss.classes.weight.grad.split(NUM_CLASSES), loss.box.weight.grad.clone()]


@pytest.mark.parametrize(
    ("label", "fair", "unfair"),
    [*[(character, [0], [1, 2, 3]) for character in range(MAX_CODE)], (VALUE, [2], [0, 1, 3])],
)
def test_characters_are_asked_of_codes_and_steps_of_bars_alone(
    words: Tensor, tokens: Tensor, label: int, fair: list[int], unfair: list[int]
) -> None:
    loss, (classes, boxes) = objective(), cells()
    before = heads(loss, tokens, classes, boxes, words)
    for cell in (*fair, *unfair):
        other = classes.clone()
        other[0, cell, label] = 7
        after = heads(loss, tokens, other, boxes, words)
        same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert same == [number != label or cell in unfair for number in range(len(LABELS) + 1)]


def test_an_empty_cell_has_no_box(words: Tensor, tokens: Tensor) -> None:
    loss, (classes, boxes) = objective(), cells()
    totals = []
    for cell in (None, 3, 0):
        other = boxes.clone()
        if cell is not None:
            other[0, cell] = 0.9
        totals.append(loss.loss(tokens, classes, other, words=words).total)
    assert torch.equal(totals[0], totals[1])
    assert not torch.equal(totals[0], totals[2])


def test_empty_cells_weigh_the_same_however_many_there_are(words: Tensor) -> None:
    """The loss is the mean of a token times the tokens, and the empty cell a few times more changes no mean."""
    loss = objective()
    for parameter in loss.parameters():
        torch.nn.init.zeros_(parameter)
    classes, boxes = cells()
    target = loss.spelled(classes, boxes, words)
    means = []
    for times in (1, 4):
        repeats = torch.tensor([1, 1, 1, times])
        parts = [each.repeat_interleave(repeats, dim=1) for each in (target + 0.5, classes, boxes)]
        found = loss.loss(parts[0], parts[1], parts[2], words=words)
        guessing = loss.loss(parts[0] - 0.5, parts[1], parts[2], words=words)
        assert found.count == 3 + times
        square = loss.spelled(parts[1], parts[2], words).square().mean()
        means.append(torch.stack([guessing.total / found.count, (found.total - guessing.total) * square / found.count]))
    torch.testing.assert_close(means[0], means[1])
    torch.testing.assert_close(means[0][1], torch.tensor(4 * 1.3 * 0.5**2))


def test_the_words_of_the_llm_are_not_pulled_towards_the_tokens(words: Tensor, tokens: Tensor) -> None:
    loss, (classes, boxes) = objective(), cells()
    words = words.requires_grad_()
    loss.loss(tokens.requires_grad_(), classes, boxes, words=words).total.backward()
    assert words.grad is None
    assert tokens.grad is not None


# -- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "options"), [("mlp", {}), ("perceiver", PERCEIVER)])
def test_the_connector_alone_learns_what_the_tokens_of_a_batch_show(
    parts: Path, method: str, options: dict[str, Any]
) -> None:
    model, processor = built(parts, method, method_options=options)
    batch, loss = reading_batch(processor), objective()
    connector = model.parts["connector"]
    model.requires_grad_(False)
    connector.requires_grad_(True)
    steps = torch.optim.AdamW([*connector.parameters(), *loss.parameters()], lr=1e-2)
    losses = []
    for _ in range(40):
        found = loss(model, batch)
        steps.zero_grad()
        (found.total / found.count).backward()
        steps.step()
        losses.append(float(found.total.detach() / found.count))
    assert all(p.grad is None for name in ("encoder", "llm") for p in model.parts[name].parameters())
    assert losses[-1] < 0.7 * losses[0]


def test_features_that_were_made_before_give_the_same_loss(parts: Path) -> None:
    model, processor = built(parts)
    batch, loss = reading_batch(processor), objective()
    seen = loss(model, batch)
    stored = {key: value for key, value in batch.items() if key != "pixel_values"}
    stored["image_features"] = model.image_features(batch["pixel_values"], batch["image_sizes"])
    assert torch.equal(loss(model, stored).total, seen.total)
    stored["image_features"] = stored["image_features"].half()
    torch.testing.assert_close(loss(model, stored).total, seen.total, rtol=1e-3, atol=0.0)
    assert seen.count == 4 * 16


def test_a_recipe_aligns_a_connector(parts: Path, tmp_path: Path) -> None:
    data = [{"kind": "reading", "num_samples": 8, "level": 0.2}]
    rates = {"connector": 1e-2, "objective": 1e-2}
    stage = tiny.stage(parts, open=rates, data=data, steps=12, objective={"kind": "alignment"}, batch_size=8)
    listener = tiny.Listener()
    run(tiny.recipe(parts, stage), tmp_path, progress=listener)
    assert listener.steps[-1].loss < 0.8 * listener.steps[0].loss
