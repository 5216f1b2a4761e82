"""Which layout a checkpoint has, and where in it the connector's tensors begin."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from opticnerve.checkpoints.entries import Entry, faults, is_empty
from opticnerve.checkpoints.files import FLOATS, Checkpoint
from opticnerve.checkpoints.layout import Layout, Reading, Views
from opticnerve.checkpoints.layouts import LAYOUTS, UNSUPPORTED
from opticnerve.connectors import ConnectorSpec
from opticnerve.errors import CheckpointError, OpticNerveError, UnknownNameError


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A layout that a checkpoint has."""

    layout: Layout
    prefix: str
    """What stands before the layout's names."""
    reading: Reading
    entries: tuple[Entry, ...]
    same: tuple[str, ...] = field(default=(), compare=False)
    """Other layouts that read the same connector out of it."""

    @property
    def spec(self) -> ConnectorSpec:
        """The connector, its widths resolved."""
        return resolved(self.reading)

    @property
    def names(self) -> tuple[str, ...]:
        """Full names of the tensors that are read."""
        return tuple(self.prefix + entry.theirs for entry in self.entries if entry.ours)


def find(checkpoint: Checkpoint, *, layout: str | None = None, prefix: str | None = None) -> Match:
    """Find the connector in a checkpoint, by its settings and by the names and shapes of its tensors.

    Args:
        checkpoint: where to look.
        layout: a key of `LAYOUTS`, if the caller knows.
        prefix: what stands before the layout's names, if the caller knows.

    Raises:
        UnknownNameError: no such layout.
        CheckpointError: there is none, it does not fit, or there are several and nothing tells them apart.
    """
    wanted = _wanted(checkpoint, layout)
    everywhere = [(one, found) for one in wanted for found in prefixes(one, checkpoint.tensors)]
    places = [(one, found) for one, found in everywhere if prefix is None or found == prefix]
    if not places and everywhere:
        raise CheckpointError(f'{checkpoint.source} has nothing at the prefix "{prefix}"; it has {_listed(everywhere)}')
    if not places:
        is_claimed = any(checkpoint.config.model_type in one.model_types for one in wanted)
        raise _nothing(checkpoint, wanted, is_named=layout is not None or is_claimed)
    matches: list[Match] = []
    reasons: list[tuple[str, str]] = []
    for one, found in places:
        try:
            matches.append(_match(checkpoint, one, found))
        except OpticNerveError as error:
            reasons.append((one.name, str(error)))
    if not matches:
        raise _misfit(checkpoint, reasons)
    return _only(checkpoint, matches)


def prefixes(layout: Layout, names: Iterable[str]) -> list[str]:
    """List what may stand before a layout's names in a checkpoint.

    Args:
        layout: the layout.
        names: of the checkpoint's tensors.
    """
    known = set(names)
    if not layout.marks:
        ends = [(name, f".{name}".find(f".{at}") + len(at)) for name in known for at in layout.at]
        return sorted({name[:end] for name, end in ends if f".{name[:end]}".endswith(_modules(layout))} or {""})
    mark = layout.marks[0]
    found = {name[: -len(mark)] for name in known if name.endswith(mark)}
    return sorted(
        one
        for one in found
        if (one == "" or one.endswith("."))
        and (one == "" or not layout.at or f".{one}".endswith(_modules(layout)))
        and all(one + other in known for other in layout.marks)
        and not any(one + other in known for other in layout.lacks)
    )


def _modules(layout: Layout) -> tuple[str, ...]:
    """List the ends that a prefix may have, each from the beginning of a module's name."""
    return tuple(f".{at}" for at in layout.at)


def resolved(reading: Reading) -> ConnectorSpec:
    """Return the connector with every width a number."""
    return reading.spec.resolve(vision_dim=reading.vision_dim, llm_dim=reading.llm_dim)


def _wanted(checkpoint: Checkpoint, layout: str | None) -> list[Layout]:
    """List the layouts to try: the one that is named, those of the model type, or all."""
    if layout is not None:
        if layout not in LAYOUTS:
            raise UnknownNameError("layout", layout, LAYOUTS)
        return [LAYOUTS[layout]]
    kind = checkpoint.config.model_type
    if kind in UNSUPPORTED:
        raise CheckpointError(
            f'{checkpoint.source} is of model type "{kind}", which is not supported: {UNSUPPORTED[kind]}'
        )
    whole = [one for one in LAYOUTS.values() if not one.is_part]
    wanted = [one for one in whole if kind and kind in one.model_types] or [one for one in whole if one.marks]
    told = [one for one in wanted if all(checkpoint.config.get(name, None) is not None for name in one.settings)]
    return [one for one in told if one.settings] or told


def _match(checkpoint: Checkpoint, layout: Layout, prefix: str) -> Match:
    """Read a layout, and check every name and shape without reading a tensor.

    Raises:
        CheckpointError: something is missing, left over, or of another shape.
    """
    shapes = checkpoint.shapes(prefix)
    _require_numbers(checkpoint, layout, prefix)
    try:
        reading = layout.read(checkpoint.config, shapes)
    except (ArithmeticError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, OpticNerveError):
            raise
        raise CheckpointError(f"a setting or a shape is not what this layout has ({error})") from error
    spec = resolved(reading)
    with torch.device("meta"):
        like = spec.build(vision_dim=reading.vision_dim, llm_dim=reading.llm_dim).state_dict()
    entries = layout.list_entries(spec, like)
    named = {entry.theirs for entry in entries}
    own = {name: shape for name, shape in shapes.items() if name in named or name.startswith(layout.owns)}
    if found := faults(entries, own, like):
        raise CheckpointError(found[0])
    return Match(layout=layout, prefix=prefix, reading=reading, entries=entries)


def _require_numbers(checkpoint: Checkpoint, layout: Layout, prefix: str) -> None:
    """Refuse tensors that are empty or quantised, whose shapes say nothing of the connector.

    Raises:
        CheckpointError: one of the tensors by which the layout is known is no floating-point tensor, or is empty.
    """
    for mark in layout.marks:
        found = checkpoint.tensors[prefix + mark]
        if 0 in found.shape:
            raise CheckpointError(is_empty(mark, found.shape))
        if found.dtype not in FLOATS:
            raise CheckpointError(
                f"{mark} is stored as {found.dtype}: a connector needs floating-point tensors, so take a checkpoint "
                f"that is not quantised"
            )


def _only(checkpoint: Checkpoint, matches: list[Match]) -> Match:
    """Take the one match, or the first of several that are the same connector."""
    first, *others = matches
    if all(_is_same(first, other) for other in others):
        views = first.reading.views if all(one.reading.views == first.reading.views for one in others) else Views()
        reading = Reading(
            spec=first.reading.spec,
            vision_dim=first.reading.vision_dim,
            llm_dim=first.reading.llm_dim,
            views=views,
        )
        same = tuple(dict.fromkeys(one.layout.name for one in others))
        return Match(layout=first.layout, prefix=first.prefix, reading=reading, entries=first.entries, same=same)
    listed = _listed((one.layout, one.prefix) for one in matches)
    raise CheckpointError(
        f"{checkpoint.source} may hold several connectors: {listed}. Say which with a layout and a prefix"
    )


def _listed(places: Iterable[tuple[Layout, str]]) -> str:
    return ", ".join(f'{one.name} at "{prefix}"' for one, prefix in places)


def _is_same(one: Match, other: Match) -> bool:
    mine, theirs = one.spec, other.spec
    return (one.prefix, one.entries, mine.blocks, mine.num_levels) == (
        other.prefix,
        other.entries,
        theirs.blocks,
        theirs.num_levels,
    )


def _nothing(checkpoint: Checkpoint, wanted: list[Layout], *, is_named: bool) -> CheckpointError:
    if checkpoint.missing_files:
        return CheckpointError(_shards(checkpoint) + "there is no connector in the others")
    if is_named:
        marks = " or ".join(dict.fromkeys(" and ".join(one.marks) for one in wanted))
        names = " or ".join(one.name for one in wanted)
        seen = ", ".join(list(checkpoint.tensors)[:3])
        return CheckpointError(
            f"{checkpoint.source} holds no connector of the layout {names}: there is no {marks} among its "
            f"{len(checkpoint.tensors)} tensors ({seen}, ...). Is it the language model alone, or another family?"
        )
    return CheckpointError(
        f"{checkpoint.source} holds no connector that is known: none of {len(LAYOUTS)} layouts has its tensors. "
        f"`opticnerve layouts` lists them; if the release has a config.json, put it beside the tensors"
    )


def _misfit(checkpoint: Checkpoint, reasons: list[tuple[str, str]]) -> CheckpointError:
    start = _shards(checkpoint) + "what is there " if checkpoint.missing_files else f"{checkpoint.source} "
    if len(reasons) == 1:
        name, reason = reasons[0]
        return CheckpointError(f"{start}looks like {name}, but does not fit: {reason}")
    listed = "; ".join(f"{name}: {reason}" for name, reason in reasons[:5])
    more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
    return CheckpointError(f"{start}looks like {len(reasons)} layouts and fits none: {listed}{more}")


def _shards(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.source} lacks shards ({', '.join(checkpoint.missing_files)}): fetch them; "
