"""One budget of tiles or tokens for all images of a prompt."""

import heapq
from collections.abc import Callable, Iterable

from opticnerve.errors import SpecError
from opticnerve.tiling.plan import TilePlan
from opticnerve.tiling.spec import Tiling


def fit_tiles(sizes: Iterable[tuple[int, int]], tiling: Tiling, *, max_tiles: int) -> tuple[TilePlan, ...]:
    """Plan several images so that together they have at most so many tiles, overviews included.

    Every image starts at what the tiling wishes for it. While that is too much, the image with the most tiles (of
    equals, the later one) takes the tiling's next smaller plan. The result depends on nothing but the arguments, every
    image keeps at least one view, and a larger budget never gives an image less.

    Args:
        sizes: height and width of each image, in pixels.
        tiling: how images are cut.
        max_tiles: most tiles of all images together.

    Returns:
        One plan for each image, in order.

    Raises:
        SpecError: even the smallest plans have more tiles; the message names the least that fits.

    Source: ours. InternVL divides the limit by the number of images instead (`InternVLTiling.shared_by`), which leaves
    tiles unused where images are small.
    """
    return _fit(sizes, tiling, most=max_tiles, cost_of=lambda plan: plan.num_tiles, unit="tiles")


def fit_tokens(
    sizes: Iterable[tuple[int, int]], tiling: Tiling, *, max_tokens: int, tokens_of: Callable[[TilePlan], int]
) -> tuple[TilePlan, ...]:
    """Plan several images so that together they have at most so many visual tokens; see `fit_tiles`.

    Args:
        sizes: height and width of each image, in pixels.
        tiling: how images are cut.
        max_tokens: most visual tokens of all images together.
        tokens_of: counts the tokens of a plan, as `TilePlan.num_tokens` does for a connector.

    Returns:
        One plan for each image, in order.

    Raises:
        SpecError: even the smallest plans have more tokens; the message names the least that fits.
    """
    return _fit(sizes, tiling, most=max_tokens, cost_of=tokens_of, unit="tokens")


def _fit(
    sizes: Iterable[tuple[int, int]], tiling: Tiling, *, most: int, cost_of: Callable[[TilePlan], int], unit: str
) -> tuple[TilePlan, ...]:
    plans = [tiling.plan(height, width) for height, width in sizes]
    costs = [cost_of(plan) for plan in plans]
    total = sum(costs)
    heap = [(-cost, -index) for index, cost in enumerate(costs)]
    heapq.heapify(heap)
    while total > most and heap:
        index = -heapq.heappop(heap)[1]
        cheaper = _cheaper(tiling, plans[index], costs[index], cost_of)
        if cheaper is None:
            continue
        total += cheaper[1] - costs[index]
        plans[index], costs[index] = cheaper
        heapq.heappush(heap, (-costs[index], -index))
    if total > most:
        raise SpecError(
            f"{len(plans)} images need at least {total} {unit}, but the budget is {most}: raise it to {total}, "
            f"or give fewer images"
        )
    return tuple(plans)


def _cheaper(
    tiling: Tiling, plan: TilePlan, cost: int, cost_of: Callable[[TilePlan], int]
) -> tuple[TilePlan, int] | None:
    """Go down until a plan costs less: fewer tiles can mean more tokens, where less padding is cut away."""
    following = tiling.smaller(plan)
    while following is not None:
        less = cost_of(following)
        if less < cost:
            return following, less
        following = tiling.smaller(following)
    return None
