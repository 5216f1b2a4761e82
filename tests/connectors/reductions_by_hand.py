"""References of the blocks that choose by content: one image, loops over tokens."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def cosine(left: Tensor, right: Tensor) -> float:
    return float(F.cosine_similarity(left, right, dim=0))


def tome_by_hand(features: Tensor, keep: int, per_merge: int = 8) -> tuple[list[int], list[int]]:
    """Tokens are lists of patches with a place."""
    tokens = [(place, [place]) for place in range(len(features))]
    while len(tokens) > keep:
        means = [features[members].mean(0) for _, members in tokens]
        pairs: list[tuple[float, int, int]] = []
        for even in range(0, len(tokens), 2):
            if len(tokens) > 1:
                likes = [(cosine(means[even], means[odd]), -odd) for odd in range(1, len(tokens), 2)]
                like, odd = max(likes)
                pairs.append((like, even, -odd))
        pairs.sort(key=lambda pair: -pair[0])
        merging = pairs[: min(max(len(tokens) // per_merge, 1), len(tokens) - keep)]
        for _, even, odd in merging:
            tokens[odd][1].extend(tokens[even][1])
        gone = {even for _, even, _ in merging}
        tokens = [token for number, token in enumerate(tokens) if number not in gone]
    owner = {patch: number for number, (_, members) in enumerate(tokens) for patch in members}
    return [place for place, _ in tokens], [owner[patch] for patch in range(len(features))]


def spread_by_hand(
    features: Tensor, keep: int, first: int, distance: Callable[[Tensor, Tensor], float]
) -> tuple[list[int], list[int]]:
    kept = [first]
    while len(kept) < keep:
        rest = [place for place in range(len(features)) if place not in kept]
        kept.append(max(rest, key=lambda place: min(distance(features[place], features[other]) for other in kept)))
    kept.sort()
    return kept, nearest_by_hand(features, kept, distance)


def nearest_by_hand(features: Tensor, kept: list[int], distance: Callable[[Tensor, Tensor], float]) -> list[int]:
    owner: list[int] = []
    for place, feature in enumerate(features):
        nearest = min(range(len(kept)), key=lambda number: distance(feature, features[kept[number]]))
        owner.append(kept.index(place) if place in kept else nearest)
    return owner


def unlike(left: Tensor, right: Tensor) -> float:
    return 1 - cosine(left, right)


def apart(left: Tensor, right: Tensor) -> float:
    return float((left - right).norm())


def divprune_by_hand(features: Tensor, keep: int) -> tuple[list[int], list[int]]:
    numbers = range(len(features))
    lonely = [min((unlike(features[i], features[j]) for j in numbers if j != i), default=0.0) for i in numbers]
    return spread_by_hand(features, keep, lonely.index(max(lonely)), unlike)


def farthest_by_hand(features: Tensor, keep: int) -> tuple[list[int], list[int]]:
    far = [apart(feature, features.mean(0)) for feature in features]
    return spread_by_hand(features, keep, far.index(max(far)), apart)


def prumerge_by_hand(features: Tensor, keep: int) -> tuple[list[int], list[int]]:
    scores = [cosine(feature, features.mean(0)) for feature in features]
    kept = sorted(sorted(range(len(features)), key=lambda place: -scores[place])[:keep])
    return kept, nearest_by_hand(features, kept, unlike)


BY_HAND: dict[str, Callable[[Tensor, int], tuple[list[int], list[int]]]] = {
    "tome": tome_by_hand,
    "divprune": divprune_by_hand,
    "farthest_point": farthest_by_hand,
    "prumerge": prumerge_by_hand,
}
