"""Other libraries keep quiet while a command runs."""

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def quietly() -> Generator[None]:
    """Keep transformers' bars and remarks off the terminal; its errors are shown."""
    from transformers.utils import logging

    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()
