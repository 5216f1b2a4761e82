"""Methods, reductions and tilings side by side, around one encoder and one LLM."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opticnerve.encoders import EncoderInfo
from opticnerve.errors import PlanError, UnknownNameError
from opticnerve.planner.choice import Choice
from opticnerve.planner.configurations import SIDES, methods
from opticnerve.planner.demand import Demand
from opticnerve.planner.device import Device
from opticnerve.planner.lookup import find_llm
from opticnerve.planner.pareto import pareto_front
from opticnerve.planner.planned import Planned, plan_each
from opticnerve.tiling import TILINGS

RATIOS = tuple(side**2 for side in SIDES)
"""Features for each visual token."""
COMPARED = ("plain", "internvl", "anyres", "minicpm")
"""Tilings that are compared where none is asked for, as they are published."""
_BEHIND_S2 = ("mlp", "pixel_shuffle")
"""Methods that are tried with S2 at twice the encoder's size as well, which sees more and makes no more tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """Configurations side by side."""

    planned: tuple[Planned, ...]
    refused: tuple[str, ...]
    """A line for each configuration that cannot be, with the reason."""

    @property
    def best(self) -> tuple[Planned, ...]:
        """What no other beats in both the time to first token and the size of type that can be read, soonest first."""
        points = [(one.plan.timing.first_token_ms.middle, -one.readable_px) for one in self.planned]
        return tuple(self.planned[index] for index in pareto_front(points))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        best = self.best
        return {"planned": [_row(one, is_best=one in best) for one in self.planned], "refused": list(self.refused)}


def sweep(
    base: Choice,
    device: Device,
    demand: Demand,
    *,
    size: tuple[int, int],
    tilings: Sequence[str] = COMPARED,
    ratios: Sequence[int] = RATIOS,
) -> Sweep:
    """Plan every method at every reduction behind every tiling.

    Args:
        base: names the encoder, its layers and the LLM; its options of a tiling hold where that tiling is compared.
        device: where it runs.
        demand: what is asked of it.
        size: height and width of the images.
        tilings: names of tilings.
        ratios: some of `RATIOS`.

    Raises:
        UnknownNameError: there is no such tiling.
        PlanError: there is no such encoder, LLM, ratio or device format, or nothing at all can be built.
        EncoderError: the encoder has no such layer.
    """
    for name in tilings:
        if name not in TILINGS:
            raise UnknownNameError("tiling", name, TILINGS)
    if wrong := [ratio for ratio in ratios if ratio not in RATIOS]:
        raise PlanError(f"methods are compared at ratios of {', '.join(map(str, RATIOS))}, got {wrong[0]}")
    encoder, llm = base.find_encoder(), find_llm(base.llm)
    choices = [(ratio, choice) for ratio, choice in _choices(base, encoder.info, tilings) if ratio in ratios]
    planned, refused = plan_each(choices, encoder, llm, device=device, demand=demand, size=size)
    if not planned:
        first = f"The first of {len(choices)}: {refused[0]}" if choices else "Name a tiling and a ratio"
        raise PlanError(f"there is nothing to compare. {first}")
    return Sweep(planned=planned, refused=refused)


def _choices(base: Choice, info: EncoderInfo, tilings: Sequence[str]) -> Iterator[tuple[int, Choice]]:
    for tiling in tilings:
        options = base.tiling_options if tiling == base.tiling else dict[str, object]()
        for scales in ((1,), (1, 2)) if tiling == "plain" else ((1,),):
            for method, ratio, method_options in methods(info):
                if scales == (1,) or method in _BEHIND_S2:
                    yield (
                        ratio,
                        replace(
                            base,
                            method=method,
                            method_options=method_options,
                            tiling=tiling,
                            tiling_options=options,
                            scales=scales,
                        ),
                    )


def _row(one: Planned, *, is_best: bool) -> dict[str, Any]:
    choice = one.choice
    return {
        "method": choice.method,
        "method_options": dict(choice.method_options),
        "tiling": choice.tiling,
        "tiling_options": dict(choice.tiling_options),
        "scales": list(choice.scales),
        "ratio": one.reduction,
        "readable_px": one.readable_px,
        "pixels_per_token": one.pixels_per_token,
        "is_best": is_best,
        "plan": one.plan.to_dict(),
    }
