"""Numbers and differences as words, the same in every table."""

from html import escape

from opticnerve.arena.differences import Difference
from opticnerve.arena.intervals import Interval

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
ABOUT_LARGE_MODELS: tuple[str, ...] = (
    "What carries over: the costs, which are arithmetic; the baselines, which a method has to beat at any size; and"
    " effects that come from geometry, such as type that is smaller than what a visual token covers.",
    "What does not: the scores, and the order of methods that lie close together. Encoder and language model are small,"
    " the pages are drawn, the answers are short, and training takes minutes. Methods with more weights to train need"
    " more data than these budgets give, and may catch up or overtake with it: see the learning curves.",
    "Pictures of nature, long documents, several images and video are not measured here. Before a large run, repeat the"
    " arena with your encoder, language model and data: the configuration below names them in three lines.",
)
"""What the numbers say about large models, and what not."""


def ends(share: Interval, digits: int = 1) -> str:
    """Write the interval of a share, in percent.

    >>> ends(Interval(estimate=0.5, low=0.41, high=0.6, covers="images"))
    '41.0 to 60.0'
    """
    return f"{100 * share.low:.{digits}f} to {100 * share.high:.{digits}f}"


def points(one: Difference) -> str:
    """Write a difference with its interval, in points of 100, signs always."""
    interval = one.interval
    return f"{100 * interval.estimate:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"


def amount(value: float) -> str:
    """Write a large number with three digits.

    >>> amount(1234567), amount(16), amount(0)
    ('1.23 M', '16', '0')
    """
    for unit, letter in _UNITS:
        if abs(value) >= unit:
            return f"{value / unit:.3g} {letter}"
    return f"{value:.3g}"


def kibibytes(value: float) -> str:
    """Write bytes in KiB."""
    return f"{value / 1024:,.0f} KiB"


def plural(count: int, name: str) -> str:
    """Write a count with its noun.

    >>> plural(1, "seed"), plural(2, "seed")
    ('1 seed', '2 seeds')
    """
    return f"{count:,} {name}" + ("" if count == 1 else "s")


def safe(value: object) -> str:
    """Write anything so that a page shows it and runs none of it."""
    return escape(str(value))
