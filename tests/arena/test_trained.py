"""What arenas find about trained models is what was put there: nothing where methods are the same, and no more."""

import json
from collections import Counter, defaultdict
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arena.planted import DOUBLE, LDPV2, POOL, TEST, TOME, UPPER, run, table_of
from opticnerve.arena.answers import AnswerTable
from opticnerve.arena.differences import Difference, compare, compare_many
from opticnerve.arena.intervals import seed_noise
from opticnerve.arena.report.folder import ArenaFolder
from opticnerve.arena.report.summary import Row, Summary, summarise
from opticnerve.data.reading import ReadingSource

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ERROR_RATE = 0.05
CODES = ("color", "marker", "place")
"""Kinds of question that have a random code as answer."""


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> AnswerTable:
    """Answers of one method, trained with twenty seeds."""
    out = tmp_path_factory.mktemp("twenty")
    return table_of(run(out, [POOL], seeds=range(20), steps=(120, 48), pages=384))


@pytest.fixture(scope="module")
def flawed(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """Pooling, the same with twice the resolution, and the same without the lower half; four seeds."""
    out = tmp_path_factory.mktemp("flawed")
    folder = run(out, [DOUBLE, UPPER], baselines=["pool"], seeds=range(4), steps=(300, 120), pages=768)
    return summarise(folder)


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> ArenaFolder:
    """Four methods that learned from pages, asked about the test's questions in front of white ones."""
    out = tmp_path_factory.mktemp("blank")
    Image.new("RGB", (512, 512), "white").save(out / "white.png")
    samples = [{"id": str(index), "image": "white.png", "conversations": turns(index)} for index in range(len(task()))]
    (out / "white.json").write_text(json.dumps(samples))
    test = {"kind": "llava", "path": str(out / "white.json"), "images": str(out)}
    contenders = [POOL, LDPV2, TOME, DOUBLE]
    return run(out, contenders, seeds=[0], steps=(120, 48), pages=384, test=test)


def task() -> ReadingSource:
    return ReadingSource(split="test", num_samples=TEST["num_samples"], level=TEST["level"])


def turns(index: int) -> list[dict[str, Any]]:
    """A conversation about one page of the test; each question is asked without those before it."""
    said: list[dict[str, Any]] = []
    for one in task().scene(index)[1]:
        image = "" if said else "<image>\n"
        said += [{"from": "human", "value": f"{image}{one.text}"}, {"from": "gpt", "value": one.answer}]
    return said


def called_different(table: AnswerTable, first: np.ndarray, other: np.ndarray, images: np.ndarray) -> bool:
    """Compare a method with itself under another name, each with seeds of its own, as a report does."""
    names = {"first": first.tolist(), "other": other.tolist()}
    parts: list[AnswerTable] = []
    for name, seeds in names.items():
        mine = table.where(np.isin(table.seed, seeds) & np.isin(table.image, images))
        columns = {column: getattr(mine, column) for column in ("image", "kind", "glyph_px", "is_right")}
        number = np.array([seeds.index(seed) for seed in mine.seed.tolist()], dtype=np.int64)
        parts.append(AnswerTable(cell=np.full(len(mine), name), seed=number, **columns))
    both = AnswerTable(
        **{
            column: np.concatenate([getattr(part, column) for part in parts])
            for column in ("cell", "seed", "image", "kind", "glyph_px", "is_right")
        }
    )
    noise = seed_noise(both, both.cells)
    rng = np.random.default_rng(0)
    found = compare(both, "first", "other", rng=rng, error_rate=ERROR_RATE, noise=noise, num_draws=2000)
    return found.verdict != "not separable"


def bounds(num_trials: int, *, beyond: float = 0.001) -> tuple[int, int]:
    """Fewest and most false alarms: independent trials at the stated rate are below, or above, with such a chance."""
    chances = [
        comb(num_trials, k) * ERROR_RATE**k * (1 - ERROR_RATE) ** (num_trials - k) for k in range(num_trials + 1)
    ]
    below = np.cumsum(chances)
    return int(np.argmax(below >= beyond)), int(np.argmax(below > 1 - beyond))


def test_the_same_method_under_two_names_over_ten_seeds_is_called_different_as_often_as_stated(
    twenty: AnswerTable,
) -> None:
    """Four hundred ways to deal twenty runs to two names: each is a fair draw of what two names could have got."""
    rng, images = np.random.default_rng(0), np.unique(twenty.image)
    dealt = [rng.permutation(20) for _ in range(400)]
    called = sum(called_different(twenty, seeds[:10], seeds[10:], images) for seeds in dealt)
    fewest, most = bounds(400)
    assert fewest <= called <= most


def test_few_seeds_and_few_images_are_called_different_no_more_often(twenty: AnswerTable) -> None:
    """Two seeds a name, as the default arena has: five pairs by four quarters of the images share no answer."""
    rng, shares = np.random.default_rng(0), list[float]()
    for _ in range(10):
        seeds, images = rng.permutation(20).reshape(5, 4), rng.permutation(np.unique(twenty.image)).reshape(4, -1)
        called = [called_different(twenty, four[:2], four[2:], part) for four in seeds for part in images]
        assert sum(called) <= bounds(20)[1]
        shares.append(sum(called) / 20)
    assert np.mean(shares) <= ERROR_RATE + 0.03


def row(summary: Summary, contender: str) -> Row:
    return next(one for one in summary.rows if one.group.contender == contender)


def to_pool(summary: Summary, contender: str) -> Difference:
    return next(one for one in row(summary, contender).versus if one.other == "pool-4x")


def test_twice_the_resolution_with_as_many_tokens_is_found_as_the_best(flawed: Summary) -> None:
    assert {one.group.tokens for one in flawed.rows} == {16}
    assert to_pool(flawed, "double").verdict == "better"
    assert row(flawed, "double").standing == "beats them"
    assert flawed.advice[0].startswith("For this data, double-4x: none scores higher")


def test_a_method_that_does_not_see_the_lower_half_is_found_as_worse(flawed: Summary) -> None:
    assert to_pool(flawed, "upper").verdict == "worse"
    assert row(flawed, "upper").standing == "does not beat them"
    assert "1 of 2 methods do not beat every baseline of their budget: upper-4x." in flawed.advice


def test_in_front_of_white_pages_every_method_answers_by_chance(blank: ArenaFolder) -> None:
    """Chance is the answer that is right most often, given to every question of a kind; codes are random."""
    asked = [one for index in range(len(task())) for one in task().scene(index)[1]]
    wanted: dict[str, Counter[str]] = defaultdict(Counter)
    for one in asked:
        wanted[one.kind][one.answer] += 1
    assert len(blank.results) == 4
    for result in blank.results:
        right = Counter[str]()
        for question, reply in zip(asked, result.answers, strict=True):
            assert reply.wanted == question.answer
            right[question.kind] += reply.is_right
        for kind, answers in wanted.items():
            number, chance = answers.total(), max(answers.values()) / answers.total()
            spread = (number * chance * (1 - chance)) ** 0.5
            assert right[kind] <= (0 if kind in CODES else number * chance + 3 * spread), f"{result.group}, {kind}"
    pairs = list(combinations([one.group for one in blank.results], 2))
    found = compare_many(table_of(blank), pairs, rng=np.random.default_rng(0), error_rate=ERROR_RATE)
    assert {one.verdict for one in found} == {"not separable"}
