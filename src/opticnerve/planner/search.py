"""Planning backward: the configurations that fit a budget, best detail first."""

from collections.abc import Iterator, Sequence

from opticnerve.errors import PlanError
from opticnerve.planner.budget import Budget
from opticnerve.planner.choice import Choice
from opticnerve.planner.configurations import configurations
from opticnerve.planner.demand import Demand
from opticnerve.planner.device import Device
from opticnerve.planner.lookup import find_llm
from opticnerve.planner.planned import Planned, plan_each


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
    choices = configurations(base, encoder.info)
    return plan_each(choices, encoder, llm, device=device, demand=demand, size=size)


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
    nearest = min(planned, key=lambda one: (max(budget.excess(one.plan) for budget in budgets), one.plan.total_bytes))
    asked = " and ".join(budget.words(budget.limit) for budget in budgets)
    has = " and ".join(budget.words(budget.value(nearest.plan)) for budget in budgets)
    return (
        f"none of {len(planned)} configurations fits {asked}. The nearest has {has}: {nearest.words}. Raise the "
        f"budget, take fewer images in a prompt, or a smaller encoder, LLM or number format"
    )
