"""What is no plain file, and plain files with names that trip up careless programs."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from encode.corpus.cases import Case, Outcome, whole
from encode.corpus.writers import HEIGHT, QUARTERS, WIDTH, png, quarters

_NO_FILE = "is a (device or a pipe|folder, a device or a pipe), not an image file$"
_NOT_READ = "cannot be read: Permission denied$"
_RING = "cannot be read: Too many levels of symbolic links$"


def _refused(write: Callable[[Path], object], reason: str, *, is_listed: bool = True) -> Case:
    return Case(write=write, outcome=Outcome(reason=reason, is_listed=is_listed))


def _folder(path: Path) -> None:
    path.mkdir()


def _inside(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(png(quarters(200)))


def _socket(path: Path) -> None:
    """A name in the file system for talking to another program. It stays when nobody listens any more."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as listening:  # a path may not be longer than 107 bytes, so a short one
            listening.bind(f"/proc/self/fd/{descriptor}/{path.name}")
    finally:
        os.close(descriptor)


def _unreadable(path: Path) -> None:
    if os.geteuid():  # root may read everything
        path.write_bytes(png(quarters(201)))
        path.chmod(0)


def _picture(mark: int) -> Case:
    return whole(lambda: png(quarters(mark)), HEIGHT, WIDTH, QUARTERS)


NAMES = (
    "two\nlines.png",
    "carriage\rreturn.png",
    "tab\tin it.png",
    "bell\a and escape\x1b[31mred.png",
    os.fsdecode(b"latin-1 caf\xe9.png"),
    os.fsdecode(b"\xff\xfe.png"),
    "emoji 🦉👨‍👩‍👧.png",
    "e\u0301 is not \u00e9.png",
    "right-to-left \u202egnp.png",
    "line\u2028separator.png",
    " begins with a space.png",
    "-begins-with-a-dash.png",
    "percent%20sign%s{0}.png",
    "quote'and\"quote.png",
    "back\\slash.png",
    "star*question?[bracket].png",
    "comma,semicolon;colon:.png",
    "no.suffix.at.all.but.many.dots.png",
    "x" * 251 + ".png",
    "日" * 83 + ".png",
)
"""Names of good pictures."""

_BAD = (NAMES[0], NAMES[1], NAMES[3], NAMES[4], NAMES[9])


def _text(path: Path) -> None:
    path.write_text(f"This is not a picture: {path.name!a}")


CASES: dict[str, Case] = {
    "folder.jpg": _refused(_folder, "is a folder, not an image file$", is_listed=False),
    "folder.jpg/inside.png": Case(write=_inside, outcome=Outcome(size=(HEIGHT, WIDTH), pixels=QUARTERS)),
    "pipe.jpg": _refused(os.mkfifo, _NO_FILE),
    "socket.jpg": _refused(_socket, _NO_FILE),
    "dangling.jpg": _refused(lambda path: path.symlink_to("nothing.jpg"), "no such file"),
    "ring.jpg": _refused(
        lambda path: path.symlink_to("ring.jpg"), "cannot be read: Too many levels of symbolic links$"
    ),
    "device.jpg": _refused(lambda path: path.symlink_to("/dev/zero"), _NO_FILE),
    "unreadable.jpg": _refused(_unreadable, _NOT_READ),
    **{f"bad {name}": _refused(_text, r"not an image in a known format \(PNG") for name in _BAD},
    **{name: _picture(210 + number) for number, name in enumerate(NAMES)},
}
