"""The command line: `opticnerve compress`, `train`, `eval`, `ask`, `methods`, `recipes`, `show`. One file a command."""

from opticnerve.cli.app import main, run

__all__ = ["main", "run"]
