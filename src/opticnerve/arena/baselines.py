"""What a method has to beat: always there, whatever a configuration names."""

from collections.abc import Sequence
from math import isqrt
from typing import cast

from opticnerve.arena.config import ArenaConfig, Contender, Entrant, View
from opticnerve.errors import SpecError

UNREDUCED = "none"
"""Keeps every patch."""
RESIZED = "resized"
"""Keeps every patch of an image that is shrunk until its patches fit the budget."""
BASELINES: tuple[str, ...] = (UNREDUCED, RESIZED, "random_patches", "every_kth", "pool")
"""Their names."""


def with_baselines(config: ArenaConfig) -> ArenaConfig:
    """Add the baselines, and the views that they need, to an arena that has none yet.

    Args:
        config: as written.

    Raises:
        SpecError: a contender or a view has the name of a baseline, or the first view cannot be shrunk.
    """
    names = {one.name for one in config.contenders} | {view.name for view in config.views}
    taken = [name for name in BASELINES if name in names]
    if taken or any(one.is_baseline for one in config.contenders):
        what = taken[0] if taken else next(one.name for one in config.contenders if one.is_baseline)
        raise SpecError(
            f'arena {config.name}: "{what}" is or claims to be a baseline; {", ".join(BASELINES)} are always there:'
            " leave them out, or choose another name"
        )
    reductions = [one for one in config.reductions if one > 1]
    smaller = {reduction: _shrunk(config.views[0], reduction) for reduction in reductions}
    found = [_baseline(UNREDUCED, {1: Entrant(method="mlp")})]
    if reductions:
        found += [
            _baseline(RESIZED, {r: Entrant(method="mlp", view=view.name) for r, view in smaller.items()}),
            _selection("random_patches", reductions),
            _selection("every_kth", reductions),
            _baseline("pool", {r: Entrant(method="pool", method_options={"factor": isqrt(r)}) for r in reductions}),
        ]
    return config.model_copy(
        update={"views": (*config.views, *smaller.values()), "contenders": (*found, *config.contenders)}
    )


def beside_baselines(config: ArenaConfig, only: Sequence[str]) -> tuple[str, ...]:
    """Add the baselines to methods that are to run alone.

    Args:
        config: with baselines.
        only: names of contenders; baselines among them, without any method, stay what they are.

    Returns:
        The names, each once; none stand for all, as before.
    """
    bases = [one.name for one in config.contenders if one.is_baseline]
    return tuple(dict.fromkeys((*bases, *only) if set(only) - set(bases) else only))


def _baseline(name: str, at: dict[int, Entrant]) -> Contender:
    return Contender(name=name, at=at, is_baseline=True)


def _selection(name: str, reductions: list[int]) -> Contender:
    at = {r: Entrant(method=name, method_options={"reduction": r}) for r in reductions}
    return Contender(name=name, at=at, align_options={"reduction": 1}, is_baseline=True)


def _shrunk(view: View, reduction: int) -> View:
    """Make a view with that many times fewer pixels.

    Raises:
        SpecError: its sides are not whole.
    """
    side = isqrt(reduction)
    sizes = {name: int(cast("int", view.tiling_options[name])) for name in ("height_px", "width_px")}
    if odd := [px for px in sizes.values() if px % side]:
        raise SpecError(
            f'view "{view.name}" cannot be shrunk {side} times for the baseline "{RESIZED}" at {reduction}x: {odd[0]}'
            f" px is not a multiple of {side}"
        )
    smaller = {name: px // side for name, px in sizes.items()}
    name = f"{RESIZED} {smaller['height_px']} x {smaller['width_px']} px"
    return view.model_copy(update={"name": name, "tiling_options": {**view.tiling_options, **smaller}})
