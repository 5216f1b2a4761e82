"""A command line as a function: exit code, stdout, stderr."""

from collections.abc import Callable

import pytest

from opticnerve.cli import run

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def opticnerve(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
