"""Configurations with their plans."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from opticnerve.errors import OpticNerveError, PlanError
from opticnerve.planner.choice import Choice
from opticnerve.planner.costs import make_plan
from opticnerve.planner.demand import Demand
from opticnerve.planner.detail import pixels_per_token, readable_px
from opticnerve.planner.device import Device
from opticnerve.planner.encoder import EncoderCosts
from opticnerve.planner.llm import LLM
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


def plan_each(
    choices: Iterable[tuple[int, Choice]],
    encoder: EncoderCosts,
    llm: LLM,
    *,
    device: Device,
    demand: Demand,
    size: tuple[int, int],
) -> tuple[tuple[Planned, ...], tuple[str, ...]]:
    """Plan configurations around the same encoder and LLM.

    Args:
        choices: reduction by the connector, and configuration.
        encoder: cut to the layers that all of them read.
        llm: of all of them.
        device: where it runs.
        demand: what is asked of it.
        size: height and width of the images.

    Returns:
        The plans, and a line for each configuration that cannot be.

    Raises:
        PlanError: the device does not compute in the demand's numbers.
    """
    planned: list[Planned] = []
    refused: list[str] = []
    for reduction, implicit in choices:
        try:
            choice = implicit.explicit(encoder.info)
            plan = make_plan(choice.fit(encoder, llm), device, demand, size=size)
        except PlanError:
            raise
        except OpticNerveError as error:
            refused.append(f"{implicit.method} {reduction}:1 behind {implicit.tiling}: {error}")
            continue
        planned.append(Planned(choice=choice, reduction=reduction, plan=plan))
    return tuple(planned), tuple(dict.fromkeys(refused))


def _with_options(name: str, options: Mapping[str, object]) -> str:
    pairs = ", ".join(f"{key}={_plain(value)}" for key, value in options.items())
    return f"{name} ({pairs})" if pairs else name


def _plain(value: object) -> str:
    return "x".join(map(str, cast("tuple[object, ...]", value))) if isinstance(value, tuple) else str(value)
