"""Budgets as people write them, and what keeps them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opticnerve.errors import PlanError, UnknownNameError
from opticnerve.planner.budget import Budget, Quantity, read_budgets
from opticnerve.planner.costs import make_plan
from opticnerve.planner.demand import Demand
from opticnerve.planner.outcome import Plan
from opticnerve.planner.ranges import Range
from planner.parts import device, model


@pytest.fixture(scope="module")
def plan() -> Plan:
    uncertain = device(compute=Range(low=0.2, high=0.8), movement=Range(low=0.3, high=0.9))
    return make_plan(model(), uncertain, Demand(images_per_prompt=2), size=(900, 1200))


@pytest.mark.parametrize(
    ("text", "quantity", "limit"),
    [
        ("tokens=1024", "tokens", 1024),
        ("tokens=1.5k", "tokens", 1500),
        ("ttft=300ms", "ttft", 300),
        (" ttft = 0.25 s ", "ttft", 250),
        ("kv=500kB", "kv", 500_000),
        ("kv=500KiB", "kv", 500 * 1024),
        ("kv=2MB", "kv", 2_000_000),
        ("kv=2mib", "kv", 2 * 2**20),
        ("kv=2GB", "kv", 2 * 10**9),
        ("kv=2GiB", "kv", 2 * 2**30),
        ("batch=32", "batch", 32),
    ],
)
def test_a_limit_is_a_quantity_a_number_and_its_unit(text: str, quantity: Quantity, limit: float) -> None:
    assert read_budgets([text]) == (Budget(quantity=quantity, limit=limit),)


def test_limits_come_one_by_one_or_with_commas_between() -> None:
    apart = read_budgets(["tokens=1024", "kv=2GiB", "batch=4"])
    assert apart == read_budgets(["tokens=1024,kv=2GiB", "batch=4,"])
    assert [one.quantity for one in apart] == ["tokens", "kv", "batch"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "an empty budget: give one such as tokens=1024, ttft=300ms, kv=2GiB or batch=32"),
        ([" , "], "an empty budget"),
        (["1024"], 'a budget is QUANTITY=LIMIT, such as tokens=1024, .* or batch=32; got "1024"'),
        (["tokens=many"], 'the budget tokens needs a number with "k" or nothing behind it, above 0, .*; got "many"'),
        (["tokens=1024GB"], 'the budget tokens needs a number with "k" or nothing behind it.*; got "1024GB"'),
        (["ttft=300"], 'the budget ttft needs a number with "ms" or "s" behind it, above 0, .*; got "300"'),
        (["kv=2"], 'the budget kv needs a number with "kb" or "mb" or .* or "gib" behind it, above 0, .*; got "2"'),
        (["batch=4k"], 'the budget batch needs a number behind it, above 0, .*; got "4k"'),
        (["batch=0"], 'above 0, .*; got "0"'),
        (["ttft=0.0ms"], 'above 0, .*; got "0.0ms"'),
        (["tokens=-5"], 'above 0, .*; got "-5"'),
        (["tokens="], 'above 0, .*; got ""'),
        (["tokens=1,kv=1GB", "tokens=2"], "the budget limits tokens twice: give each limit once"),
    ],
)
def test_what_is_no_budget_is_refused_with_what_is_needed(texts: list[str], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        read_budgets(texts)


def test_an_unknown_quantity_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match='unknown budget "token". Did you mean tokens. Known: batch, kv, tokens'):
        read_budgets(["token=1024"])


def test_values_are_those_of_the_plan(plan: Plan) -> None:
    values = {name: Budget(quantity=name, limit=1).value(plan) for name in ("tokens", "ttft", "kv", "batch")}
    assert plan.timing.first_token_ms.high > 1.2 * plan.timing.first_token_ms.low, "the worse end is another"
    assert values == {
        "tokens": 2 * plan.look.num_tokens,
        "ttft": plan.timing.first_token_ms.high,
        "kv": plan.cache_bytes,
        "batch": plan.max_batch,
    }


@pytest.mark.parametrize("quantity", ["tokens", "ttft", "kv"])
def test_what_costs_as_much_as_the_limit_fits_and_no_more(plan: Plan, quantity: Quantity) -> None:
    value = Budget(quantity=quantity, limit=1).value(plan)
    assert Budget(quantity=quantity, limit=value).fits(plan)
    assert not Budget(quantity=quantity, limit=value - 0.001).fits(plan)
    assert Budget(quantity=quantity, limit=value / 3).excess(plan) == pytest.approx(3)


def test_a_batch_is_at_least(plan: Plan) -> None:
    assert Budget(quantity="batch", limit=plan.max_batch).fits(plan)
    assert not Budget(quantity="batch", limit=plan.max_batch + 1).fits(plan)
    assert Budget(quantity="batch", limit=2 * plan.max_batch).excess(plan) == 2
    none = replace(plan, max_batch=0)
    assert Budget(quantity="batch", limit=1).excess(none) == float("inf")


@given(
    quantity=st.sampled_from(["tokens", "ttft", "kv", "batch"]),
    limit=st.floats(0.01, 1e12),
)
def test_what_fits_is_not_over_the_limit(plan: Plan, quantity: Quantity, limit: float) -> None:
    budget = Budget(quantity=quantity, limit=limit)
    assert budget.fits(plan) == (budget.excess(plan) <= 1)


@pytest.mark.parametrize("text", ["tokens=1024", "ttft=300ms", "ttft=0.5ms", "kv=2048MiB", "kv=0.25MiB", "batch=32"])
def test_a_limit_is_written_as_it_is_read(text: str) -> None:
    (budget,) = read_budgets([text])
    assert budget.words(budget.limit) == text
