"""One budget of tiles or tokens for all images of a prompt."""

import heapq
from collections.abc import Callable, Iterable, Sequence

from opticnerve.errors import SpecError
from opticnerve.tiling.plan import TilePlan
from opticnerve.tiling.spec import Tiling


def fit_tiles(sizes: Iterable[tuple[int, int]], tiling: Tiling, *, max_tiles: int) -> tuple[TilePlan, ...]:
    """Plan several images so that together they have at most so many tiles, overviews included.

    Every image starts at what the tiling wishes for it. While that is too much, the image with the most tiles (of
    equals, the later one) takes the tiling's next smaller plan. A last step can free more than was needed: that goes
    back, from the image with the fewest tiles on (of equals, the earlier one), to plans that were passed on the way
    down. The result depends on nothing but the arguments; every image keeps at least one view; no plan that an image
    passed would still fit; and a larger budget never gives less in total.

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
    # The plans that each image has passed on its way down, and what they cost; the last is the one it has.
    passed = [[(plan, cost_of(plan))] for plan in (tiling.plan(height, width) for height, width in sizes)]
    total = sum(own[-1][1] for own in passed)
    heap = [(-own[-1][1], -index) for index, own in enumerate(passed)]
    heapq.heapify(heap)
    while total > most and heap:
        index = -heapq.heappop(heap)[1]
        plan, cost = passed[index][-1]
        cheaper = _cheaper(tiling, plan, cost, cost_of)
        if cheaper is None:
            continue
        total += cheaper[1] - cost
        passed[index].append(cheaper)
        heapq.heappush(heap, (-cheaper[1], -index))
    if total > most:
        raise SpecError(
            f"{len(passed)} images need at least {total} {unit}, but the budget is {most}: raise it to {total}, "
            f"or give fewer images"
        )
    return _raised(passed, spare=most - total)


def _raised(passed: Sequence[Sequence[tuple[TilePlan, int]]], *, spare: int) -> tuple[TilePlan, ...]:
    """Spend what is left: each image in turn goes back to the largest plan that fits."""
    plans = [own[-1][0] for own in passed]
    for index in sorted(range(len(passed)), key=lambda index: passed[index][-1][1]):
        has = passed[index][-1][1]
        plans[index], cost = next((plan, cost) for plan, cost in passed[index] if cost - has <= spare)
        spare -= cost - has
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
