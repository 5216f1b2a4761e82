"""A folder of nasty image files, built by code, with what has to become of each."""

from pathlib import Path

from encode.corpus import colours, damaged, foreign, named, odd, turned
from encode.corpus.cases import Case, Outcome

_GROUPS = (damaged.CASES, foreign.CASES, odd.CASES, turned.CASES, colours.CASES, named.CASES)

CASES: dict[str, Case] = {name: case for group in _GROUPS for name, case in group.items()}
"""The files by their names, which may hold a folder's."""


def build(folder: Path) -> dict[str, Outcome]:
    """Write all files. The same ones are written every time.

    Args:
        folder: where they go; it is there and empty.

    Returns:
        What has to become of each, by its name. Left out are those that the machine or the user does not allow:
        names that a file system refuses, a file without permission where the user is root.
    """
    outcomes: dict[str, Outcome] = {}
    for name, case in CASES.items():
        path = folder / name
        try:
            case.write(path)
        except OSError:
            continue
        if path.exists() or path.is_symlink():
            outcomes[name] = case.outcome
    return outcomes
