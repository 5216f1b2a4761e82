"""Every nasty file is decoded to what a person sees, or refused in one line that says why."""

import re
import warnings
from contextlib import suppress
from pathlib import Path

import pytest

from encode import nasty
from encode.corpus.cases import Outcome
from opticnerve.data import decode_image, image_size
from opticnerve.errors import ImageError

ALLOWED_BYTES = 64 << 20
"""What decoding may take for a moment. The bombs among the files want from 64 MiB to 16 GiB."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nasty")


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> dict[str, Outcome]:
    return nasty.build(folder)


class Memory:
    """The most memory that the process takes from now on, where Linux says it."""

    status = Path("/proc/self/status")

    def __init__(self) -> None:
        self.before = 0
        with suppress(OSError):  # another system, or not allowed
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            self.before = self._bytes("VmRSS")

    def peak_bytes(self) -> int:
        return self._bytes("VmHWM") - self.before if self.before else 0

    def _bytes(self, name: str) -> int:
        (kib,) = re.findall(rf"{name}:\s+(\d+) kB", self.status.read_text())
        return 1024 * int(kib)


def check_reason(source: Path | bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(source)
    message = str(caught.value)
    assert re.search(f": {reason}", message), message
    assert len(message.splitlines()) == 1
    assert "0x" not in message
    message.encode()  # it can be printed


def check_pixels(source: Path | bytes, outcome: Outcome) -> None:
    decoded = decode_image(source)
    assert tuple(decoded.shape[1:]) == outcome.size == image_size(source)
    for (row, col), wanted in outcome.pixels.items():
        got = tuple(decoded[:, row, col].tolist())
        assert all(abs(a - b) <= outcome.tolerance for a, b in zip(got, wanted, strict=True)), f"{got} not {wanted}"


def sources(path: Path, outcome: Outcome) -> list[Path | bytes]:
    """The file itself, and its bytes where it is one that can be read."""
    is_plain = path.is_file() and not outcome.reason.startswith("cannot be read")
    return [path, path.read_bytes()] if is_plain and path.stat().st_size else [path]


@pytest.mark.parametrize("name", [pytest.param(name, id=ascii(name)[1:-1]) for name in nasty.CASES])
def test_a_nasty_file_becomes_what_a_person_sees_or_one_line_that_says_why(
    folder: Path,
    outcomes: dict[str, Outcome],
    name: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    if name not in outcomes:
        pytest.skip("this machine or this user cannot have such a file")
    outcome, path = outcomes[name], folder / name
    memory = Memory()
    with warnings.catch_warnings(record=True, action="always") as leaked:
        for source in sources(path, outcome):
            if outcome.reason:
                check_reason(source, outcome.reason)
            else:
                check_pixels(source, outcome)
    assert memory.peak_bytes() < ALLOWED_BYTES
    assert not leaked
    assert not [record for record in caplog.records if not record.name.startswith("PIL.")]
    printed = capfd.readouterr()
    assert not printed.out
    # libtiff, under Pillow, says on stderr what is wrong with packed pixels, and nobody can stop it
    assert not printed.err or path.suffix == ".tif"


def test_there_are_many_nasty_files_and_they_are_small(folder: Path, outcomes: dict[str, Outcome]):
    assert len(outcomes) >= 60
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) < 4 << 20


def test_they_are_the_same_every_time_and_no_two_are_equal(folder: Path, outcomes: dict[str, Outcome], tmp_path: Path):
    assert nasty.build(tmp_path).keys() == outcomes.keys()
    contents: dict[bytes, str] = {}
    for name in outcomes:
        first, second = folder / name, tmp_path / name
        if first.is_file() and not first.is_symlink() and outcomes[name].reason != "cannot be read: Permission denied$":
            assert first.read_bytes() == second.read_bytes()
            assert contents.setdefault(first.read_bytes(), name) == name
