"""The command line: `opticnerve compress`, `opticnerve methods`, `opticnerve show`. One file a command."""

from opticnerve.cli.app import main, run

__all__ = ["main", "run"]
