"""Ctrl-C and SIGTERM: finish the step, save, and say how to go on."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether somebody has asked to stop."""

    def __init__(self) -> None:
        self.signal_name = ""

    @property
    def is_made(self) -> bool:
        """Somebody has."""
        return bool(self.signal_name)

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; the second Ctrl-C ends the process at once.

        Args:
            number: of the signal.
            frame: where it arrived.
        """
        del frame
        if self.is_made and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name


@contextmanager
def stop_on_signals() -> Generator[StopRequest]:
    """Note SIGINT and SIGTERM instead of ending at once; outside the main thread nothing changes.

    Yields:
        The request, to be looked at after each step.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, request.hear) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
