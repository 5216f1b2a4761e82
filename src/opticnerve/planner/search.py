"""Planning backward: the configurations that fit a budget, best detail first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from opticnerve.errors import OpticNerveError, PlanError
from opticnerve.planner.budget import Budget
from opticnerve.planner.choice import Choice
from opticnerve.planner.configurations import configurations
from opticnerve.planner.costs import make_plan
from opticnerve.planner.demand import Demand
from opticnerve.planner.detail import pixels_per_token, readable_px
from opticnerve.planner.device import Device
from opticnerve.planner.lookup import find_llm
from opticnerve.planner.outcome import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A configuration and what it comes to."""

    choice: Choice
    reduction: int
    """Features of a tile for each visual token, by the connector."""
    plan: Plan

    @property
    def readable_px(self) -> float:
        """Size of type that can be read, in pixels of the image."""
        return readable_px(self.plan.look)

    @property
    def pixels_per_token(self) -> float:
        """Pixels of the image for each visual token."""
        return pixels_per_token(self.plan.look)

    @property
    def words(self) -> str:
        """The configuration in a few words."""
        choice = self.choice
        tiling = _with_options(choice.tiling, choice.tiling_options)
        scales = f", S2 at {' and '.join(f'{scale:g}x' for scale in choice.scales)}" if choice.scales != (1,) else ""
        return f"{_with_options(choice.method, choice.method_options)}; {tiling}{scales}"


def plan_all(
    base: Choice, device: Device, demand: Demand, *, size: tuple[int, int]
) -> tuple[tuple[Planned, ...], tuple[str, ...]]:
    """Plan every configuration around an encoder and an LLM.

    Args:
        base: names the encoder, its layers and the LLM.
        device: where it runs.
        demand: what is asked of it.
        size: height and width of the images.

    Returns:
        The plans, and a line for each configuration that cannot be.

    Raises:
        PlanError: there is no such encoder, LLM or device format.
        EncoderError: the encoder has no such layer.
    """
    encoder, llm = base.find_encoder(), find_llm(base.llm)
    planned: list[Planned] = []
    refused: list[str] = []
    for reduction, implicit in configurations(base, encoder.info):
        try:
            choice = implicit.explicit(encoder.info)
            plan = make_plan(choice.fit(encoder, llm), device, demand, size=size)
        except PlanError:
            raise
        except OpticNerveError as error:
            refused.append(f"{implicit.method} behind {implicit.tiling}: {error}")
            continue
        planned.append(Planned(choice=choice, reduction=reduction, plan=plan))
    return tuple(planned), tuple(dict.fromkeys(refused))


def search(
    budgets: Sequence[Budget],
    base: Choice,
    device: Device,
    demand: Demand,
    *,
    size: tuple[int, int],
    most: int = 10,
) -> tuple[Planned, ...]:
    """Find the configurations that fit, best detail first.

    Detail is the size of type that can be read, then the pixels for each token; of equal detail the sooner first token
    comes first. What is worse in detail and has no fewer tokens and no sooner first token than another is left out.

    Args:
        budgets: all of them must be kept.
        base: names the encoder, its layers and the LLM.
        device: where it runs.
        demand: what is asked of it.
        size: height and width of the images.
        most: longest answer.

    Raises:
        PlanError: nothing fits; the message says what the nearest possible is.
        EncoderError: the encoder has no such layer.
    """
    planned, _ = plan_all(base, device, demand, size=size)
    return best_fitting(budgets, planned, most=most)


def best_fitting(budgets: Sequence[Budget], planned: Sequence[Planned], *, most: int = 10) -> tuple[Planned, ...]:
    """Choose among configurations as `search` does.

    Args:
        budgets: all of them must be kept.
        planned: what there is.
        most: longest answer.

    Raises:
        PlanError: nothing fits; the message says what the nearest possible is.
    """
    fitting = [one for one in planned if all(budget.fits(one.plan) for budget in budgets)]
    if not fitting:
        raise PlanError(_nothing_fits(budgets, planned))
    return tuple(_undominated(sorted(fitting, key=_rank)))[:most]


def _rank(one: Planned) -> tuple[float, float, float]:
    return one.readable_px, one.pixels_per_token, one.plan.timing.first_token_ms.middle


def _undominated(ranked: Sequence[Planned]) -> Iterator[Planned]:
    """Keep those that nothing before them beats in tokens and time as well."""
    kept: list[Planned] = []
    for one in ranked:
        own = one.plan.visual_tokens, one.plan.timing.first_token_ms.middle
        others = ((other.plan.visual_tokens, other.plan.timing.first_token_ms.middle) for other in kept)
        if not any(tokens <= own[0] and time <= own[1] for tokens, time in others):
            kept.append(one)
            yield one


def _nothing_fits(budgets: Sequence[Budget], planned: Sequence[Planned]) -> str:
    if not planned:
        return "no configuration can be built around this encoder: try another, or plan one configuration by hand"
    nearest = min(planned, key=lambda one: max(budget.excess(one.plan) for budget in budgets))
    asked = " and ".join(budget.words(budget.limit) for budget in budgets)
    has = " and ".join(budget.words(budget.value(nearest.plan)) for budget in budgets)
    return (
        f"none of {len(planned)} configurations fits {asked}. The nearest has {has}: {nearest.words}. Raise the "
        f"budget, take fewer images in a prompt, or a smaller encoder, LLM or number format"
    )


def _with_options(name: str, options: Mapping[str, object]) -> str:
    pairs = ", ".join(f"{key}={_plain(value)}" for key, value in options.items())
    return f"{name} ({pairs})" if pairs else name


def _plain(value: object) -> str:
    return "x".join(map(str, cast("tuple[object, ...]", value))) if isinstance(value, tuple) else str(value)
