"""Read a folder of stored images, as `opticnerve encode` writes them."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from opticnerve.data.samples import SeenImage, SeenTokens
from opticnerve.data.stored.columns import Texts
from opticnerve.data.stored.format import MANIFEST, SKIPPED, manifest_schema, skipped_schema
from opticnerve.data.stored.shards import OpenShards
from opticnerve.data.stored.tables import read_about, read_columns, read_group, release_memory
from opticnerve.errors import DataError

Kind = Literal["tokens", "features"]
"""What is stored of an image: what the connector gave, or what it takes."""
Place = tuple[int, int, int, int]
"""Rows, columns, frames and prefix tokens of a tile; learned queries have 0, 0, 0 and their number."""

_PLACES = ("grids", "out_grids", "tile_boxes")
"""Columns that are read from the disk when they are asked for: they are longer than all others together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredImage:
    """All that is stored of an image."""

    id: str
    """Its name in the folder."""
    path: str
    """The file that held it."""
    offset: int
    """Byte in a tar file, row in a table, 0 for a file of its own."""
    sha256: str
    """Of the picture's bytes."""
    values: Float[Tensor, "rows dim"]
    """Visual tokens in the order of the prompt, or packed features: tile after tile, row by row."""
    height_px: int
    """Height of the image as it came."""
    width_px: int
    """Width of the image as it came."""
    num_tiles: int
    """Tiles that the encoder saw."""
    grids: tuple[Place, ...]
    """Where the features of each tile lie."""
    out_grids: tuple[Place, ...]
    """Where its visual tokens lie before they are joined."""
    tile_boxes: tuple[tuple[float, float, float, float], ...]
    """What each tile shows: top, left, bottom, right in pixels of the image."""
    same_as: str | None
    """The identical picture that was encoded in its place."""


class StoredFolder:
    """A folder of stored images, by id, by path and by the picture's bytes.

    A million images take a few hundred bytes each, in blocks that forked processes share. Pickled, it is its path.

    Args:
        path: the folder.

    Raises:
        DataError: nothing was encoded there, the run is not finished, or a table is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.about: Mapping[str, Any] = read_about(self.path)
        """What made the folder: the content of encode.json."""
        names = list(manifest_schema().names)
        self._file, table = read_columns(self.path / MANIFEST, needs=names, without=_PLACES)
        self._ids, self._paths = Texts(table["id"]), Texts(table["path"])
        self._sha256s = Texts(table["sha256"])
        files: Any = table["file"].combine_chunks().dictionary_encode()
        self._table = table.drop_columns(["id", "path", "sha256", "file"]).append_column("file", files)
        about: Any = self._file.metadata
        self._group_ends = list(accumulate(about.row_group(number).num_rows for number in range(about.num_row_groups)))
        self._group: tuple[int, Any] = -1, None
        self._shards = OpenShards(self.path, name=self.kind)
        self._skipped = _Skipped(self.path / SKIPPED)
        release_memory()

    def __reduce__(self) -> tuple[type["StoredFolder"], tuple[Path]]:
        """Leave open files behind, for worker processes."""
        return StoredFolder, (self.path,)

    def __len__(self) -> int:
        """Count the images."""
        return len(self._ids)

    @property
    def kind(self) -> Kind:
        """What is stored of each image."""
        return self.about["settings"]["keep"]

    def ids(self) -> Iterator[str]:
        """Go through the ids, in the order of the manifest."""
        return (self._ids[row] for row in range(len(self)))

    def find(self, path_or_id: str) -> str | None:
        """Find an image.

        Args:
            path_or_id: its id; or the path of the file that it was encoded from, as it was given then.

        Returns:
            Its id; None where it is not there, or where a path is that of a file with several images.
        """
        for row in self._ids.rows(path_or_id):
            return self._ids[row]
        rows = list(self._paths.rows(path_or_id))
        is_one = len({self._table["offset"][row].as_py() for row in rows}) == 1
        return self._ids[rows[0]] if is_one else None

    def by_sha256(self, digest: str) -> str | None:
        """Find an image by its bytes.

        Args:
            digest: 64 hexadecimal digits in lower case.

        Returns:
            Its id; None where it is not there.
        """
        return next((self._ids[row] for row in self._sha256s.rows(digest)), None)

    def why_skipped(self, path_or_id: str) -> str | None:
        """Say why an image could not be encoded.

        Args:
            path_or_id: as for `find`.

        Returns:
            The reason in one line; None where it was not skipped.
        """
        return self._skipped.why(path_or_id)

    def row(self, id_: str) -> dict[str, Any]:
        """Read what the manifest says of an image.

        Args:
            id_: of the image.

        Returns:
            All columns of the manifest by name.

        Raises:
            DataError: there is no such image.
        """
        number = self._number(id_)
        names = {"id": id_, "path": self._paths[number], "sha256": self._sha256s[number]}
        return names | self._facts(number) | self._places(number)

    def read(self, id_: str) -> StoredImage:
        """Read an image with all that is known of it.

        Args:
            id_: of the image.

        Raises:
            DataError: there is no such image, or its shard is damaged.
        """
        row = self.row(id_)
        values = self._shards.rows(row.pop("file"), row.pop("start"), row.pop("stop"))
        del row["num_rows"]
        places: dict[str, Any] = {name: tuple(tuple(each) for each in row.pop(name)) for name in _PLACES}
        return StoredImage(values=values, **row, **places)

    def seen(self, id_: str) -> SeenImage | SeenTokens:
        """Read an image to train on.

        Args:
            id_: of the image.

        Raises:
            DataError: there is no such image, or its shard is damaged.
        """
        facts = self._facts(self._number(id_))
        values = self._shards.rows(facts["file"], facts["start"], facts["stop"])
        kind = SeenImage if self.kind == "features" else SeenTokens
        return kind(values, facts["height_px"], facts["width_px"])

    def _number(self, id_: str) -> int:
        for row in self._ids.rows(id_):
            return row
        reason = self.why_skipped(id_)
        known = f"its {len(self):,} images begin with {', '.join(self._ids[n] for n in range(min(3, len(self))))}"
        raise DataError(f"{self.path}: has no image {id_}: {f'it was skipped: {reason}' if reason else known}")

    def _facts(self, number: int) -> dict[str, Any]:
        return {name: self._table[name][number].as_py() for name in self._table.column_names}

    def _places(self, number: int) -> dict[str, Any]:
        group = bisect_right(self._group_ends, number)
        if self._group[0] != group:
            path = self.path / MANIFEST
            self._group = group, read_group(self._file, group, columns=list(_PLACES), path=path)
        first = self._group_ends[group - 1] if group else 0
        return {name: self._group[1][name][number - first].as_py() for name in _PLACES}


class _Skipped:
    """Pictures that could not be encoded, few as a rule."""

    def __init__(self, path: Path) -> None:
        self._columns: tuple[Texts, ...] = ()
        if path.is_file():
            table = read_columns(path, needs=list(skipped_schema().names))[1]
            self._columns, self._reasons = (Texts(table["id"]), Texts(table["path"])), Texts(table["reason"])

    def why(self, path_or_id: str) -> str | None:
        rows = (row for column in self._columns for row in column.rows(path_or_id))
        return next((self._reasons[row] for row in rows), None)
