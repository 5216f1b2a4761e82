"""Small files that sources are made of; what an image holds does not matter to a source."""

import io
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path

from opticnerve.encode.sources import PictureSource, open_pictures


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def read_all(source: PictureSource) -> dict[str, bytes]:
    """Read all pictures with a source that went to another process, after the ids are found unique."""
    pictures = list(source.pictures())
    assert pictures == list(source.pictures()), "the order changes"
    assert len({picture.id for picture in pictures}) == len(pictures), "ids repeat"
    there = pickle.loads(pickle.dumps(source))
    contents = {picture.id: there.read(picture) for picture in pictures}
    for picture in pictures:
        assert picture.num_bytes in (None, len(contents[picture.id]))
    return contents


def opened(*texts: str | Path) -> dict[str, bytes]:
    return read_all(open_pictures([str(text) for text in texts]))
