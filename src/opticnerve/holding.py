"""A folder that one run writes into, and no other at the same time."""

import fcntl
from pathlib import Path
from typing import IO

from opticnerve.errors import OpticNerveError

_HELD: set[Path] = set()
"""Folders that this process holds: the system's lock keeps other processes away, not this one."""


class Hold:
    """Keeps others from working into the same folder, until it is let go or this process ends, however it ends.

    Worker processes do not inherit the hold: when this one is killed, the folder is free at once.

    Args:
        out: the folder; it is made.
        doing: what a run does "into" the folder, as it stands in the message: "training".
        error: what is raised.
    """

    def __init__(self, out: Path, *, doing: str, error: type[OpticNerveError]) -> None:
        self.out = out
        self._doing = doing
        self._error = error
        self._lock: IO[str] | None = None

    def take(self) -> None:
        """Hold the folder.

        Raises:
            OpticNerveError: of the kind that was asked for: another run holds it, or it cannot be made.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            place = self.out.resolve()
            if place in _HELD:
                raise self._refusal()
            self._lock = (place / ".lock").open("w")
        except OSError as error:
            raise self._error(f"{self.out} cannot be used for output: {error.strerror}.") from error
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            self._lock = None
            raise self._refusal() from error
        _HELD.add(place)

    def let_go(self) -> None:
        """Let others have the folder."""
        if self._lock is not None:
            _HELD.discard(self.out.resolve())
            self._lock.close()
            self._lock = None

    def _refusal(self) -> OpticNerveError:
        return self._error(
            f"another run is {self._doing} into {self.out}: wait for it, stop it, or choose another folder."
        )
