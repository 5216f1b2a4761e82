"""What fits a budget, best detail first."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opticnerve.errors import EncoderError, PlanError
from opticnerve.planner.budget import Budget, Quantity, read_budgets
from opticnerve.planner.choice import Choice
from opticnerve.planner.costs import make_plan
from opticnerve.planner.demand import Demand
from opticnerve.planner.planned import Planned
from opticnerve.planner.search import best_fitting, plan_all, search
from planner.parts import SETTINGS, device

SIZE = (900, 1200)
All = tuple[tuple[Planned, ...], tuple[str, ...]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Choice:
    folder = tmp_path_factory.mktemp("llm")
    (folder / "config.json").write_text(json.dumps(SETTINGS))
    return Choice(encoder="bundled", llm=str(folder))


@pytest.fixture(scope="module")
def everything(base: Choice) -> All:
    return plan_all(base, device(), Demand(), size=SIZE)


@pytest.fixture(scope="module")
def find(everything: All) -> Callable[..., tuple[Planned, ...]]:
    """Search among plans that are made once for all tests."""

    def run(*texts: str, most: int = 10) -> tuple[Planned, ...]:
        return best_fitting(read_budgets(texts), everything[0], most=most)

    return run


def cost(one: Planned) -> tuple[float, float]:
    return one.plan.visual_tokens, one.plan.timing.first_token_ms.middle


def test_plans_are_those_of_their_settings(everything: All) -> None:
    for one in everything[0][::23]:
        assert make_plan(one.choice.build(), device(), Demand(), size=SIZE) == one.plan


def test_the_padding_that_a_method_needs_stands_among_its_options(everything: All) -> None:
    merged = [one for one in everything[0] if one.choice.method == "pixel_shuffle" and one.choice.tiling == "internvl"]
    for one in merged:
        expected = {"factor": 3, "odd": "pad"} if one.reduction == 9 else {"factor": round(one.reduction**0.5)}
        assert one.choice.method_options == expected
    assert all(not one.plan.notes for one in everything[0]), "and nowhere else"


def test_what_cannot_be_is_listed_with_the_reason(everything: All) -> None:
    lines = [
        f"qwen_vl_resampler {ratio}:1 behind anyres: the tiling lays visual tokens on a map" for ratio in (4, 9, 16)
    ]
    assert all(line.startswith(wanted) for line, wanted in zip(everything[1], lines, strict=True))


@pytest.mark.parametrize(
    "texts",
    [
        ("tokens=1024",),
        ("tokens=64",),
        ("ttft=40ms",),
        ("kv=1MiB",),
        ("batch=700",),
        ("tokens=500", "ttft=60ms"),
        ("tokens=800,kv=1MiB,batch=100",),
    ],
)
def test_what_is_found_fits_and_nothing_that_fits_beats_it(
    texts: tuple[str, ...], find: Callable[..., tuple[Planned, ...]], everything: All
) -> None:
    budgets = read_budgets(texts)
    found = find(*texts, most=1000)
    assert found
    assert all(budget.fits(one.plan) for one in found for budget in budgets)
    fitting = [one for one in everything[0] if all(budget.fits(one.plan) for budget in budgets)]
    for one in found:
        for other in fitting:
            is_better = (other.readable_px, other.pixels_per_token) < (one.readable_px, one.pixels_per_token)
            assert not (is_better and cost(other)[0] <= cost(one)[0] and cost(other)[1] <= cost(one)[1])
    for other in fitting:
        detail = other.readable_px, other.pixels_per_token
        assert any(
            (one.readable_px, one.pixels_per_token) <= detail
            and cost(one)[0] <= cost(other)[0]
            and cost(one)[1] <= cost(other)[1]
            for one in found
        ), "what is left out has its better"


def test_the_best_detail_comes_first_and_the_list_ends_where_it_is_told(
    find: Callable[..., tuple[Planned, ...]], everything: All
) -> None:
    found = find("tokens=2000", most=1000)
    details = [(one.readable_px, one.pixels_per_token) for one in found]
    assert details == sorted(details)
    fitting = [one for one in everything[0] if one.plan.visual_tokens <= 2000]
    assert found[0].readable_px == min(one.readable_px for one in fitting)
    assert len(found) > 3
    assert find("tokens=2000", most=3) == found[:3]


def test_of_equal_detail_the_sooner_first_token_comes_first(find: Callable[..., tuple[Planned, ...]]) -> None:
    found = find("tokens=2000", most=1000)
    for one, other in itertools.pairwise(found):
        if (one.readable_px, one.pixels_per_token) == (other.readable_px, other.pixels_per_token):
            assert cost(one)[1] < cost(other)[1]


def test_searching_is_planning_everything_and_choosing(base: Choice, find: Callable[..., tuple[Planned, ...]]) -> None:
    found = search(read_budgets(["tokens=700", "batch=2"]), base, device(), Demand(), size=SIZE, most=4)
    assert found == find("tokens=700", "batch=2", most=4)


@settings(max_examples=60, deadline=None)
@given(
    quantity=st.sampled_from(["tokens", "ttft", "kv"]),
    rank=st.floats(0, 1),
    times=st.floats(1, 20),
)
def test_a_larger_budget_never_has_worse_detail(everything: All, quantity: Quantity, rank: float, times: float) -> None:
    values = sorted(Budget(quantity=quantity, limit=1).value(one.plan) for one in everything[0])
    limit = values[round(rank * (len(values) - 1))]
    less, more = (
        best_fitting([Budget(quantity=quantity, limit=one)], everything[0])[0] for one in (limit, limit * times)
    )
    assert (more.readable_px, more.pixels_per_token) <= (less.readable_px, less.pixels_per_token)


def test_an_impossible_budget_names_the_nearest(find: Callable[..., tuple[Planned, ...]], everything: All) -> None:
    least = min(one.plan.visual_tokens for one in everything[0])
    with pytest.raises(
        PlanError,
        match=rf"none of {len(everything[0])} configurations fits tokens=3. The nearest has tokens={least}: \w+ "
        r".*Raise the budget, take fewer images in a prompt, or a smaller encoder, LLM or number format",
    ):
        find("tokens=3")


def test_an_impossible_budget_of_several_limits_says_what_the_nearest_has_of_each(
    find: Callable[..., tuple[Planned, ...]], everything: All
) -> None:
    budgets = read_budgets(["tokens=3", "batch=100000"])
    excess = {max(budget.excess(one.plan) for budget in budgets): one for one in everything[0]}
    nearest = excess[min(excess)].plan
    with pytest.raises(
        PlanError,
        match=f"fits tokens=3 and batch=100000. The nearest has tokens={nearest.visual_tokens} and "
        f"batch={nearest.max_batch}: ",
    ):
        find("tokens=3", "batch=100000")


def test_where_not_one_prompt_fits_the_nearest_is_the_one_that_needs_least_memory(base: Choice) -> None:
    planned, _ = plan_all(base, device(memory_bytes=10**6), Demand(), size=SIZE)
    least = min(planned, key=lambda one: one.plan.total_bytes)
    assert least is not planned[0]
    with pytest.raises(PlanError, match="fits batch=1. The nearest has batch=0: " + re.escape(least.words)):
        best_fitting(read_budgets(["batch=1"]), planned)


def test_a_configuration_is_said_in_a_few_words(everything: All) -> None:
    words = [one.words for one in everything[0]]
    assert len(set(words)) == len(words)
    assert "pixel_shuffle (factor=2); plain, S2 at 1x and 2x" in words
    assert "pixel_shuffle (factor=3, odd=pad); internvl (max_tiles=12)" in words
    assert "qwen_vl_resampler (query_grid=8x8); internvl (max_tiles=4)" in words


def test_mistakes_of_the_caller_are_said_and_not_passed_over(base: Choice, tmp_path: Path) -> None:
    limits = read_budgets(["tokens=1000"])
    with pytest.raises(PlanError, match="has no config"):
        search(limits, Choice(llm=str(tmp_path)), device(), Demand(), size=SIZE)
    with pytest.raises(PlanError, match='device "round" does not compute in fp8'):
        search(limits, base, device(), Demand(dtype="fp8"), size=SIZE)
    with pytest.raises(EncoderError, match="99"):
        search(limits, Choice(llm=base.llm, layers=(99,)), device(), Demand(), size=SIZE)


def test_nothing_that_can_be_built_is_said() -> None:
    with pytest.raises(PlanError, match="no configuration can be built around this encoder: try another"):
        best_fitting(read_budgets(["tokens=1000"]), ())
