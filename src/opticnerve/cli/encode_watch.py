"""What `opticnerve encode` shows: how fast it goes and how long it takes, and what stands in the folder in the end."""

from dataclasses import asdict
from time import monotonic
from typing import TYPE_CHECKING

from opticnerve.cli.bar import WithBar
from opticnerve.cli.terminal import complain, print_json, say, short_count

if TYPE_CHECKING:
    from opticnerve.encode.listing import Listing
    from opticnerve.encode.run import Summary
    from opticnerve.encode.shard import Step
    from opticnerve.encode.verify import Verified

_SHOWN = 20
"""Skipped pictures that are named; all are in the table of skipped ones."""
_LINE_S = 10.0
"""Seconds between two lines where there is no terminal."""


class EncodeWatch(WithBar):
    """Draws a bar on a terminal, or else writes a line now and then; all on stderr.

    Args:
        is_shown: this process speaks; under torchrun only one does, for its own share of the pictures.
    """

    def __init__(self, *, is_shown: bool) -> None:
        super().__init__(is_shown=is_shown, width=20)
        self._is_shown = is_shown
        self._task = self._bar.add_task("images", total=None, how="")
        self._begin = self._spoken = monotonic()
        self._found = self._total = self._images = self._tiles = self._rows = self._skipped = 0

    def listed(self, count: int) -> None:
        """Hear of pictures that were found."""
        self._found += count
        self._bar.update(self._task, how=f"listing the pictures: {self._found:,}")

    def started(self, listing: "Listing", *, num_missing: int) -> None:
        """Hear what is to be done."""
        self._total = num_missing
        self._begin = self._spoken = monotonic()
        self._bar.update(self._task, total=num_missing, how="")
        if self._is_shown:
            originals = listing.num_pictures - listing.num_duplicates
            same = f", {listing.num_duplicates:,} of them identical to others" if listing.num_duplicates else ""
            done = f"; {originals - num_missing:,} are done or another process's" if num_missing < originals else ""
            pictures, shards = _several(listing.num_pictures, "picture"), _several(listing.num_shards, "shard")
            self._say(f"{pictures}{same}, {shards}{done}")

    def stepped(self, step: "Step") -> None:
        """Hear what was done."""
        self._images += step.num_images
        self._tiles += step.num_tiles
        self._rows += step.num_rows
        self._skipped += step.num_skipped
        if step.reason and self._is_shown and self._skipped <= _SHOWN:
            more = " (the others are named in skipped.parquet)" if self._skipped == _SHOWN else ""
            self._say(f"skipped {step.reason}{more}")
        done, now = self._images + self._skipped, monotonic()
        if self._is_drawn:
            self._bar.update(self._task, completed=done, how=self._how(done))
        elif self._is_shown and now - self._spoken > _LINE_S:
            self._spoken = now
            self._say(f"{done:,}/{self._total:,}  {self._how(done)}")

    def _say(self, line: str) -> None:
        if self._is_drawn:
            self._console.print(line, soft_wrap=True, markup=False)
        else:
            complain(line)

    def _how(self, done: int) -> str:
        seconds = max(monotonic() - self._begin, 1e-9)
        minutes, left_s = divmod(round(seconds / max(done, 1) * (self._total - done)), 60)
        hours, minutes = divmod(minutes, 60)
        return (
            f"{self._images / seconds:.3g} images/s  {self._tiles / seconds:.3g} tiles/s  "
            f"{short_count(self._rows)} rows  {self._skipped:,} skipped  {hours}:{minutes:02}:{left_s:02} left"
        )


def print_summary(summary: "Summary", *, out: str, as_json: bool) -> None:
    """Say what stands in the folder.

    Args:
        summary: of the run.
        out: the folder.
        as_json: as one JSON document.
    """
    if as_json:
        print_json({**asdict(summary), "out": out})
        return
    done = summary.done
    same = f" ({summary.num_duplicates:,} of them share the rows of identical ones)" if summary.num_duplicates else ""
    say(f"{out}: {summary.num_images:,} images{same}, {summary.num_skipped:,} skipped.")
    if done.num_images:
        speed = f"{done.num_images / summary.seconds:.3g} images/s, {done.num_tiles / summary.seconds:.3g} tiles/s"
        say(f"This run: {done.num_images:,} images, {done.num_rows:,} rows in {summary.seconds:.1f} s ({speed}).")
    say(f"Look it through: opticnerve encode verify {out}")


def print_verified(found: "Verified", *, folder: str) -> None:
    """Say what was found.

    Args:
        found: by `verify`.
        folder: that was looked through.
    """
    for fault in found.faults:
        complain(fault)
    say(
        f"{folder}: {found.num_images:,} images ({found.num_duplicates:,} duplicates), {found.num_skipped:,} skipped, "
        f"{found.num_rows:,} rows in {_several(found.num_shards, 'shard')}."
    )
    if found.faults:
        say(f"{len(found.faults)} faults: delete the shards that are named, and give the same encode command again.")
        return
    changed = f" {found.num_changed} of their pictures have changed since, or are gone." if found.num_changed else ""
    say(f"All checksums and counts are right; the numbers of {found.num_read:,} images were read.{changed}")


def _several(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
