"""Which of several choices nothing beats."""

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """Find the points that no other point beats: cheaper and no worse, or better and no dearer.

    Points that are equal do not beat each other.

    Args:
        points: what each costs (lower is better), and what it gives (higher is better).

    Returns:
        Places in `points`, from the cheapest to the dearest.
    """
    order = sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1]))
    front: list[int] = []
    for index in order:
        # what comes before costs no more, so that only a gain above the best so far, or its equal, is not beaten
        if not front or points[index][1] > points[front[-1]][1] or points[index] == points[front[-1]]:
            front.append(index)
    return tuple(front)
