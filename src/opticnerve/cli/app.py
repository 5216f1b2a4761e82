"""The program: finds the command, and turns what went wrong into one line and an exit code."""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter

import opticnerve
from opticnerve.cli.arena import arena, report
from opticnerve.cli.ask import ask
from opticnerve.cli.calibrate import calibrate
from opticnerve.cli.compress import compress
from opticnerve.cli.encode import encode, verify
from opticnerve.cli.eval import evaluate_model
from opticnerve.cli.exit_codes import INTERRUPTED, MISTAKE
from opticnerve.cli.extract import extract
from opticnerve.cli.inspect import inspect
from opticnerve.cli.layouts import layouts
from opticnerve.cli.methods import methods
from opticnerve.cli.options import fold_options
from opticnerve.cli.plan import plan
from opticnerve.cli.recipes import recipes
from opticnerve.cli.show import show
from opticnerve.cli.terminal import complain
from opticnerve.cli.train import train
from opticnerve.errors import OpticNerveError

_EXTRAS = {
    "accelerate": "train",
    "altair": "report",
    "datasets": "train",
    "matplotlib": "train",
    "peft": "train",
    "pyarrow": "encode",
    "ray": "ray",
    "vl_convert": "report",
}
"""Which extra brings a package that is not there."""


def make_app() -> App:
    """Make the cyclopts application."""
    app = App(
        name="opticnerve",
        help="From the many features of a vision encoder to the few visual tokens that a language model can afford.",
        version=opticnerve.__version__,
        default_parameter=Parameter(negative=()),
        result_action="return_value",
        help_format="plaintext",
    )
    comparison = App(name="arena", default_parameter=Parameter(negative=()))
    comparison.default(arena)
    comparison.command(report)
    app.command(comparison)
    app.command(ask)
    app.command(calibrate)
    app.command(compress)
    encoding = App(name="encode", default_parameter=Parameter(negative=()))
    encoding.default(encode)
    encoding.command(verify)
    app.command(encoding)
    app.command(evaluate_model, name="eval")
    app.command(extract)
    app.command(inspect)
    app.command(layouts)
    app.command(methods)
    app.command(plan)
    app.command(recipes)
    app.command(show)
    app.command(train)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: everything after the program's name.

    Returns:
        The exit code: 0; 1 where an image failed; 2 for a user's mistake; 130 after Ctrl-C.
    """
    try:
        result = make_app()(fold_options(arguments), print_error=False, exit_on_error=False)
        sys.stdout.flush()
    except (CycloptsError, OpticNerveError) as error:
        complain(str(error))
        return MISTAKE
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        complain(f'this command needs {error.name}: pip install "opticnerve[{_EXTRAS[error.name]}]"')
        return MISTAKE
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (`opticnerve methods | head`); nothing more can be said to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """Run the command line of this process, and leave it."""
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(run(sys.argv[1:]))


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    """Leave by an exception, so that unfinished files are removed on the way."""
    del frame
    raise SystemExit(128 + signum)
