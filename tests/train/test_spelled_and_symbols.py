"""Visual tokens that are spelled out in the LLM's own words, and the LLM that learns its questions on them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from opticnerve.data import Collator, ExampleMaker
from opticnerve.data.examples import IGNORED
from opticnerve.data.reading import CANVAS_PX, LABELS, MAX_CODE, NUM_CLASSES, Item, ReadingSource, item_table
from opticnerve.encoders.bundled.probe import ALPHABET, COLORS, KINDS
from opticnerve.train.objectives import SymbolLoss
from opticnerve.train.objectives import symbols as module
from opticnerve.train.objectives.spelled import SpelledTokens, stack_cells
from opticnerve.train.objectives.symbols import answerable
from opticnerve.train.optimizers import MuonWithAdamW, split_matrices
from opticnerve.train.small_llm import small_llm, small_tokenizer
from opticnerve.vlm import assemble

DIM = 32
RED, BLUE = list(COLORS).index("red"), list(COLORS).index("blue")
HALF = CANVAS_PX / 2


@pytest.fixture
def words() -> Tensor:
    return torch.randn(len(small_tokenizer()), DIM, generator=torch.Generator().manual_seed(1))


def word(words: Tensor, text: str) -> Tensor:
    (number,) = small_tokenizer().encode(text, add_special_tokens=False)
    return words[number]


def scene(*items: Item) -> Tensor:
    return item_table(items)


def star(color: str, *box: float) -> Item:
    return Item(kind="star", color=color, box=box)  # pyright: ignore[reportArgumentType]


# -- vectors ---------------------------------------------------------------------------------------------------------


def test_every_class_of_every_label_has_a_vector(words: Tensor) -> None:
    tables = SpelledTokens(small_tokenizer(), dim=DIM).vectors(words)
    assert [table.shape for table in tables] == [(count, DIM) for count in NUM_CLASSES]


def test_kinds_and_colors_are_the_embeddings_of_their_words(words: Tensor) -> None:
    tables = dict(zip(LABELS, SpelledTokens(small_tokenizer(), dim=DIM).vectors(words), strict=True))
    assert not tables["color"][0].any()
    for index, color in enumerate(COLORS):
        assert torch.equal(tables["color"][index + 1], word(words, color))
    for index, kind in enumerate(("code", *KINDS[1:])):
        assert torch.equal(tables["kind"][index + 1], word(words, kind))


def test_what_stands_in_another_place_is_its_word_turned(words: Tensor) -> None:
    """A rotation of its own for each place: lengths and angles stay, directions do not."""
    tables = dict(zip(LABELS, SpelledTokens(small_tokenizer(), dim=DIM).vectors(words), strict=True))
    pairs = [
        ("second color", torch.stack([word(words, color) for color in COLORS])),
        ("second kind", torch.stack([word(words, kind) for kind in ("code", *KINDS[1:])])),
        ("value", torch.stack([word(words, digit) for digit in "123456789"])),
        *[(name, torch.stack([word(words, symbol) for symbol in ALPHABET])) for name in LABELS[:MAX_CODE]],
    ]
    for name, plain in pairs:
        turned = tables[name][1:]
        torch.testing.assert_close(turned @ turned.T, plain @ plain.T, rtol=1e-4, atol=1e-4)
        assert (turned - plain).norm(dim=-1).min() > 1
        assert not tables[name][0].any()
    for first in range(MAX_CODE):
        for second in range(first):
            assert (tables[LABELS[first]] - tables[LABELS[second]])[1:].norm(dim=-1).min() > 1


def test_every_construction_spells_alike_and_leaves_the_random_state(words: Tensor) -> None:
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    one = SpelledTokens(small_tokenizer(), dim=DIM)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(4)
    other = SpelledTokens(small_tokenizer(), dim=DIM)
    classes, boxes = stack_cells([scene(star("red", 0, 0, HALF, HALF))], rows=2, cols=2)
    assert torch.equal(one(classes, boxes, words), other(classes, boxes, words))
    assert not list(one.parameters())
    assert not one.state_dict()


def test_an_empty_cell_is_a_full_stop(words: Tensor) -> None:
    spelled = SpelledTokens(small_tokenizer(), dim=DIM)
    classes, boxes = stack_cells([scene(star("red", 0, 0, HALF, HALF))], rows=2, cols=2)
    tokens = spelled(classes, boxes, words)
    assert torch.equal(tokens[0, 1:], word(words, ".").expand(3, DIM))
    assert not torch.equal(tokens[0, 0], word(words, "."))


def test_a_token_is_the_sum_of_its_words_and_of_where_its_thing_lies(words: Tensor) -> None:
    spelled = SpelledTokens(small_tokenizer(), dim=DIM)
    left = scene(star("red", 0, 0, HALF, HALF))
    right = scene(star("red", HALF, 0, CANVAS_PX, HALF))
    tokens = [spelled(*stack_cells([each], rows=2, cols=2), words)[0, cell] for each, cell in ((left, 0), (right, 1))]
    centered = scene(star("red", HALF / 2, HALF / 2, 1.5 * HALF, 1.5 * HALF))
    middle = spelled(*stack_cells([centered], rows=1, cols=1), words)[0, 0]
    plain = word(words, "star") + word(words, "red")
    torch.testing.assert_close(middle, plain)  # a box half as wide as the scene, in its middle, is 0
    torch.testing.assert_close(tokens[1] - tokens[0], spelled.sides[0] * words.std())


def test_cells_of_several_scenes_are_stacked() -> None:
    empty, full = torch.zeros(0, MAX_CODE + 7), scene(star("red", 0, 0, HALF, HALF), star("blue", 0, HALF, HALF, 512))
    classes, boxes = stack_cells([empty, full], rows=2, cols=3)
    assert (classes.shape, boxes.shape) == ((2, 6, len(LABELS)), (2, 6, 4))
    assert not classes[0].any()
    color = LABELS.index("color")
    assert classes[1, :, color].tolist() == [1 + RED, 1 + RED, 0, 1 + BLUE, 1 + BLUE, 0]
    assert boxes[1, 3].tolist() == [0.25, 0.75, 0.5, 0.5]


# -- labels ----------------------------------------------------------------------------------------------------------


def asked(*numbers: int) -> Tensor:
    return torch.tensor(numbers)


def test_answers_about_hidden_things_lose_their_labels_and_counts_stay() -> None:
    """The blue star covers less of the one cell than the red one."""
    items = scene(star("red", 0, 0, 400, 400), star("blue", 410, 410, 500, 500))
    _, boxes = stack_cells([items, items], rows=1, cols=1)
    labels = torch.full((2, 12), IGNORED)
    labels[0, 1:3], labels[0, 5], labels[0, 7:10] = 11, 12, 13  # about the red one, the blue one, all of them
    labels[1, 2], labels[1, 4:6], labels[1, 11] = 21, 22, 23  # about all of them, the blue one, the red one
    found = answerable(labels, {"items": [items, items], "asked": [asked(0, 1, -1), asked(-1, 1, 0)]}, boxes)
    wanted = labels.clone()
    wanted[0, 5] = wanted[1, 4:6] = IGNORED
    assert torch.equal(found, wanted)


def test_a_finer_map_shows_what_a_coarse_one_hides() -> None:
    items = scene(star("red", 0, 0, 400, 400), star("blue", 410, 410, 500, 500))
    labels = torch.tensor([[IGNORED, 5, IGNORED, 6, 6]])
    extra = {"items": [items], "asked": [asked(1, 0)]}
    kept = [answerable(labels, extra, stack_cells([items], rows=side, cols=side)[1]) for side in (1, 8)]
    assert kept[0].tolist() == [[IGNORED, IGNORED, IGNORED, 6, 6]]
    assert torch.equal(kept[1], labels)


def test_labels_of_a_real_batch_are_kept_where_the_map_is_fine(parts: Path) -> None:
    """With hundreds of cells too: whether a thing is shown is a matter of exact places."""
    batch = reading_batch(assembled(parts)[1], num_samples=6)
    extra = batch["labels_extra"]
    labels = [
        answerable(batch["labels"], extra, stack_cells(extra["items"], rows=side, cols=side)[1]) for side in (32, 1)
    ]
    counts = [int((each != IGNORED).sum()) for each in (batch["labels"], *labels)]
    assert counts[0] == counts[1] > counts[2] > 0


def test_spoiled_labels_say_something_where_they_said_something_and_nothing_where_nothing() -> None:
    count = torch.tensor(NUM_CLASSES)
    classes = torch.randint(10**6, (8, 4000, len(LABELS)), generator=torch.Generator().manual_seed(0)) % count
    spoiled = module._spoil(classes)
    assert torch.equal(spoiled > 0, classes > 0)
    assert (spoiled < count).all()
    changed = (spoiled != classes).sum() / (classes > 0).sum()
    assert 0.01 < changed < 0.02  # a fiftieth are drawn anew, some of them to what they were


# -- the objective ---------------------------------------------------------------------------------------------------


def assembled(parts: Path) -> tuple[Any, Any]:
    return assemble(encoder=str(parts / "encoder"), llm=str(parts / "llm"), method="mlp", tiling="plain")


def reading_batch(processor: Any, *, num_samples: int) -> dict[str, Any]:
    source = ReadingSource(num_samples=num_samples, level=0.3, has_pictures=False)
    maker = ExampleMaker(processor, max_tokens=500)
    return Collator(processor)([maker.make(source[index]) for index in range(num_samples)])


class Sees(nn.Module):
    """An LLM with parts; it keeps the lengths of what it is given."""

    def __init__(self, llm: nn.Module) -> None:
        super().__init__()
        self.parts: Mapping[str, nn.Module] = {"llm": llm}
        self.given: list[dict[str, Tensor]] = []
        llm.register_forward_pre_hook(lambda _, args, kwargs: self.given.append(kwargs), with_kwargs=True)


def test_visual_tokens_stand_where_the_image_would_and_have_no_labels(parts: Path) -> None:
    model, processor = assembled(parts)
    batch = reading_batch(processor, num_samples=2)
    llm = model.parts["llm"]
    sees = Sees(llm)
    loss = SymbolLoss(processor.tokenizer, dim=DIM, grids=[(3, 3)], image_token=processor.image_token)
    found = loss(sees, batch)
    (given,) = sees.given
    embeds = llm.get_input_embeddings()(batch["input_ids"])
    assert loss.num_before == 1  # the token that says that the user speaks
    assert torch.equal(given["inputs_embeds"][:, :1], embeds[:, :1])
    assert torch.equal(given["inputs_embeds"][:, 10:], embeds[:, 1:])
    assert given["attention_mask"][:, 1:10].all()
    assert torch.equal(given["attention_mask"][:, 10:], batch["attention_mask"][:, 1:])
    boxes = stack_cells(batch["labels_extra"]["items"], rows=3, cols=3)[1]
    assert found.count == (answerable(batch["labels"], batch["labels_extra"], boxes) != IGNORED).sum()


def test_the_map_is_drawn_from_those_of_the_recipe_and_no_others(parts: Path) -> None:
    model, processor = assembled(parts)
    batch = reading_batch(processor, num_samples=2)
    sees = Sees(model.parts["llm"])
    loss = SymbolLoss(processor.tokenizer, dim=DIM, grids=((4, 4), (2, 3)), image_token=processor.image_token)
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(20):
            loss(sees, batch)
    lengths = [given["inputs_embeds"].shape[1] - batch["input_ids"].shape[1] for given in sees.given]
    assert set(lengths) == {16, 6}


def test_the_gradient_reaches_the_llm_and_neither_encoder_nor_connector(parts: Path) -> None:
    model, processor = assembled(parts)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    loss = SymbolLoss(processor.tokenizer, dim=DIM, grids=[(4, 4)], image_token=processor.image_token)
    loss(model, reading_batch(processor, num_samples=2)).total.backward()
    has = {name: {p.grad is not None for p in part.parameters()} for name, part in model.parts.items()}
    assert has == {"encoder": {False}, "connector": {False}, "llm": {True}}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_small_llm_learns_the_answers_of_a_batch(optimizer: str) -> None:
    llm, tokenizer = small_llm(seed=0), small_tokenizer()
    loss = SymbolLoss(tokenizer, dim=128, grids=[(4, 4)], image_token="<image>")
    batch = reading_batch(Speaks(tokenizer), num_samples=8)
    group = {"params": list(llm.parameters()), "lr": 5e-3, "weight_decay": 0.0}
    groups = split_matrices([group], llm) if optimizer == "muon" else [{**group, "is_matrix": False}]
    steps = MuonWithAdamW(groups, betas=(0.9, 0.98))
    sees, losses = Sees(llm), []
    torch.manual_seed(0)
    for _ in range(40):
        found = loss(sees, batch)
        steps.zero_grad()
        (found.total / found.count).backward()
        steps.step()
        losses.append(float(found.total.detach() / found.count))
    assert losses[0] > 3
    assert sum(losses[-5:]) / 5 < 0.3 * losses[0]


class Speaks:
    """A processor for conversations without images."""

    image_token, image_token_id = "<image>", -1

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.chat_template = tokenizer.chat_template

    def num_image_tokens(self, height_px: int, width_px: int) -> int:
        raise AssertionError(f"there is no image of {height_px} x {width_px}")

    def views(self, image: Tensor) -> list[Tensor]:
        raise AssertionError(f"there is no image {image.shape}")

    def collate_views(self, items: Any) -> dict[str, Any]:
        raise AssertionError(f"there is no image in {items}")
