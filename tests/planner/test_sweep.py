"""Configurations side by side, and which of them nothing beats."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opticnerve.errors import PlanError, UnknownNameError
from opticnerve.planner.choice import Choice
from opticnerve.planner.costs import make_plan
from opticnerve.planner.demand import Demand
from opticnerve.planner.pareto import pareto_front
from opticnerve.planner.sweep import Sweep, sweep
from planner.parts import SETTINGS, device

SIZE = (900, 1200)
POINTS = st.lists(st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(float)), max_size=12)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Choice:
    folder = tmp_path_factory.mktemp("llm")
    (folder / "config.json").write_text(json.dumps(SETTINGS))
    return Choice(encoder="bundled", llm=str(folder), tiling="internvl")


@pytest.fixture(scope="module")
def found(base: Choice) -> Sweep:
    return sweep(base, device(), Demand(), size=SIZE, tilings=("plain", "anyres"))


def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] >= other[1]


@given(POINTS)
def test_the_front_is_what_no_other_point_beats(points: list[tuple[float, float]]) -> None:
    slow = {index for index, point in enumerate(points) if not any(beats(other, point) for other in points)}
    assert set(pareto_front(points)) == slow


@given(POINTS)
def test_the_front_goes_from_the_cheapest_to_the_dearest_and_gains_on_the_way(
    points: list[tuple[float, float]],
) -> None:
    front = [points[index] for index in pareto_front(points)]
    assert front == sorted(front)
    assert bool(front) == bool(points)


@given(POINTS, st.randoms(use_true_random=False))
def test_the_front_does_not_depend_on_the_order(points: list[tuple[float, float]], random: object) -> None:
    mixed = list(points)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert [points[index] for index in pareto_front(points)] == [mixed[index] for index in pareto_front(mixed)]


def test_every_method_is_planned_at_every_ratio_behind_every_tiling(found: Sweep) -> None:
    plain = {(one.choice.method, one.reduction) for one in found.planned if one.choice.tiling == "plain"}
    reducing = {"pixel_shuffle", "concat_mlp", "pool", "ldpv2", "qwen_vl_resampler"}
    assert plain == {("mlp", 1), *((method, ratio) for method in reducing for ratio in (4, 9, 16))}
    scales = {one.choice.scales for one in found.planned if one.choice.tiling == "plain"}
    assert scales == {(1,), (1, 2)}, "S2 is one of the families"
    assert {one.choice.scales for one in found.planned if one.choice.tiling == "anyres"} == {(1,)}


def test_a_resampler_gets_as_many_queries_as_the_others_make_tokens(found: Sweep) -> None:
    plain = [one for one in found.planned if one.choice.tiling == "plain" and one.choice.scales == (1,)]
    tokens = {(one.choice.method, one.reduction): one.plan.look.num_tokens for one in plain}
    for ratio in (4, 9, 16):
        assert tokens["qwen_vl_resampler", ratio] == tokens["pixel_shuffle", ratio] == tokens["ldpv2", ratio]


def test_plans_are_those_of_their_settings(found: Sweep) -> None:
    for one in found.planned[::7]:
        assert make_plan(one.choice.build(), device(), Demand(), size=SIZE) == one.plan


def test_what_cannot_be_is_listed_with_the_reason(found: Sweep) -> None:
    assert len(found.refused) == 3
    assert found.refused[0].startswith("qwen_vl_resampler 4:1 behind anyres: the tiling lays visual tokens on a map")


def test_the_best_are_beaten_by_none_and_the_soonest_comes_first(found: Sweep) -> None:
    def point(one: object) -> tuple[float, float]:
        return one.plan.timing.first_token_ms.middle, -one.readable_px  # type: ignore[attr-defined]

    best = found.best
    assert best
    assert not any(beats(point(other), point(one)) for one in best for other in found.planned)
    assert [point(one) for one in best] == sorted(point(one) for one in best)
    rows = found.to_dict()["planned"]
    assert [row["is_best"] for row in rows] == [one in best for one in found.planned]
    json.dumps(found.to_dict())


def test_ratios_are_chosen_and_options_hold_for_their_tiling_alone(base: Choice) -> None:
    chosen = Choice(encoder="bundled", llm=base.llm, tiling="internvl", tiling_options={"max_tiles": 2})
    few = sweep(chosen, device(), Demand(), size=SIZE, tilings=("internvl", "minicpm"), ratios=(1,))
    assert [(one.choice.tiling, one.choice.tiling_options) for one in few.planned] == [
        ("internvl", {"max_tiles": 2}),
        ("minicpm", {}),
    ]
    assert few.planned[0].plan.look.num_tiles == 1, "13 by default"


def test_what_there_is_not_is_refused(base: Choice, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match='unknown tiling "intern". Did you mean internvl'):
        sweep(base, device(), Demand(), size=SIZE, tilings=("intern",))
    with pytest.raises(PlanError, match="methods are compared at ratios of 1, 4, 9, 16, got 3"):
        sweep(base, device(), Demand(), size=SIZE, ratios=(4, 3))
    with pytest.raises(PlanError, match="there is nothing to compare. Name a tiling and a ratio"):
        sweep(base, device(), Demand(), size=SIZE, tilings=())
    with pytest.raises(PlanError, match=r"there is nothing to compare. The first of 1: mlp 1:1 behind qwen: .*200"):
        sweep(base, device(), Demand(), size=(10, 4000), tilings=("qwen",), ratios=(1,))
    with pytest.raises(PlanError, match="has no config"):
        sweep(Choice(encoder="bundled", llm=str(tmp_path)), device(), Demand(), size=SIZE)
