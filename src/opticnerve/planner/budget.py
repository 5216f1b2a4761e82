"""A budget: what a configuration may cost at most, as people write it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from opticnerve.errors import PlanError, UnknownNameError
from opticnerve.planner.outcome import Plan

Quantity = Literal["tokens", "ttft", "kv", "batch"]

_UNITS: dict[Quantity, dict[str, float]] = {
    "tokens": {"": 1, "k": 1000},
    "ttft": {"ms": 1, "s": 1000},
    "kv": {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30},
    "batch": {"": 1},
}
_EXAMPLES = "tokens=1024, ttft=300ms, kv=2GiB or batch=32"
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """One limit."""

    quantity: Quantity
    """Of visual tokens of a prompt ("tokens"), milliseconds to the first token in the worse case ("ttft"), bytes of the
    cache of a prompt and its answer ("kv"), all of them at most; or of prompts that fit at once ("batch"), at least."""
    limit: float

    def value(self, plan: Plan) -> float:
        """Return what a plan has of the quantity.

        Args:
            plan: of one image size.
        """
        match self.quantity:
            case "tokens":
                return plan.visual_tokens
            case "ttft":
                return plan.timing.first_token_ms.high
            case "kv":
                return plan.cache_bytes
            case "batch":
                return plan.max_batch

    def fits(self, plan: Plan) -> bool:
        """Tell whether a plan stays within the limit.

        Args:
            plan: of one image size.
        """
        return self.value(plan) >= self.limit if self.quantity == "batch" else self.value(plan) <= self.limit

    def excess(self, plan: Plan) -> float:
        """Say how many times over the limit a plan is; 1 or less where it fits.

        Args:
            plan: of one image size.
        """
        value = self.value(plan)
        if self.quantity == "batch":
            return self.limit / value if value else float("inf")
        return value / self.limit

    def words(self, value: float) -> str:
        """Write a value of the quantity with its unit.

        Args:
            value: as `value` returns it.
        """
        match self.quantity:
            case "tokens":
                return f"tokens={value:.0f}"
            case "ttft":
                return f"ttft={_short(value)}ms"
            case "kv":
                return f"kv={_short(value / 2**20)}MiB"
            case "batch":
                return f"batch={value:.0f}"


def read_budgets(texts: Iterable[str]) -> tuple[Budget, ...]:
    """Read limits such as "tokens=1024", "ttft=300ms", "kv=2GiB" and "batch=32".

    Args:
        texts: one limit each, or several with commas between.

    Raises:
        UnknownNameError: there is no such quantity.
        PlanError: a text is not a quantity, a number and its unit; or one quantity is given twice.
    """
    budgets = tuple(_read(part.strip()) for text in texts for part in text.split(",") if part.strip())
    names = [one.quantity for one in budgets]
    if not budgets:
        raise PlanError(f"an empty budget: give one such as {_EXAMPLES}")
    if twice := {name for name in names if names.count(name) > 1}:
        raise PlanError(f"the budget limits {', '.join(sorted(twice))} twice: give each limit once")
    return budgets


def _read(text: str) -> Budget:
    name, sign, rest = (part.strip() for part in text.partition("="))
    if not sign:
        raise PlanError(f'a budget is QUANTITY=LIMIT, such as {_EXAMPLES}; got "{text}"')
    quantities: dict[str, Quantity] = {known: known for known in _UNITS}
    quantity = quantities.get(name)
    if quantity is None:
        raise UnknownNameError("budget", name, _UNITS)
    units = _UNITS[quantity]
    match = _NUMBER.fullmatch(rest)
    factor = units.get(match[2].lower()) if match else None
    if match is None or factor is None or not float(match[1]):
        known = " or ".join(f'"{unit}"' for unit in units if unit)
        form = f"a number with {known}" + (" or nothing" if "" in units else "") if known else "a number"
        raise PlanError(f'the budget {name} needs {form} behind it, above 0, such as {_EXAMPLES}; got "{rest}"')
    return Budget(quantity=quantity, limit=float(match[1]) * factor)


def _short(value: float) -> str:
    """Write a number so that a small one does not become 0."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
