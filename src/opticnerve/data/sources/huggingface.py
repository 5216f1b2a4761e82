"""Data sets of the Hugging Face library: from the hub, from folders with Parquet files, from `save_to_disk`."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from opticnerve.data.samples import ImageSource, Sample
from opticnerve.data.sources.record import image_names, read_record
from opticnerve.errors import BadSampleError, DataError, first_line

COLUMNS = ("messages", "conversations", "images", "image")
"""Columns that are read, where they are there; no other is."""


class HuggingFaceSource:
    """The rows of a data set that lies on this machine, or is downloaded first. Images stay undecoded."""

    def __init__(self, path: str, *, name: str = "default", split: str = "train") -> None:
        """Open the data set.

        Args:
            path: hub name; or a folder that `save_to_disk` wrote, or one with Parquet files; or one such file. Images
                that are named and not held are looked for below the folder.
            name: configuration.
            split: part.

        Raises:
            DataError: it cannot be opened, or has none of the columns.
        """
        self.path, self.name, self.split = path, name, split
        self._rows = _Rows(_load(path, name, split, streaming=False), path)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._rows.data)

    def __getitem__(self, index: int) -> Sample:
        """Read one row.

        Args:
            index: from 0.

        Raises:
            IndexError: there is none there.
            BadSampleError: it is not a conversation.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self._rows.sample(self._rows.data[index], f"{self.path}/{self.name}/{self.split}[{index}]")


class HuggingFaceStream:
    """The rows of a data set one after another, read while training."""

    def __init__(self, path: str, *, name: str = "default", split: str = "train") -> None:
        """Open the data set.

        Args:
            path: as for `HuggingFaceSource`.
            name: configuration.
            split: part.

        Raises:
            DataError: it cannot be opened, or has none of the columns.
        """
        self.path, self.name, self.split = path, name, split
        self._rows = _Rows(_load(path, name, split, streaming=True), path)

    def __iter__(self) -> Iterator[Sample | BadSampleError]:
        """Read the rows.

        Raises:
            DataError: the data set cannot be read on.
        """
        rows = enumerate(cast("Iterable[Any]", self._rows.data))
        while True:
            try:
                index, table = next(rows)
            except StopIteration:
                return
            except Exception as error:
                raise DataError(f"{self.path}: cannot be read on: {first_line(error)}") from error
            try:
                yield self._rows.sample(table, f"{self.path}/{self.name}/{self.split}[{index}]")
            except BadSampleError as error:
                yield error


class _Rows:
    """Rows as Arrow tables, which decode nothing."""

    def __init__(self, data: Any, path: str) -> None:  # noqa: ANN401 - the library leaves its types half open
        folder = Path(path)
        self.folder = folder if folder.is_dir() else folder.parent if folder.is_file() else Path()
        columns = [column for column in COLUMNS if column in (data.column_names or COLUMNS)]
        if not {"messages", "conversations"} & set(columns):
            known = ", ".join(data.column_names or [])
            raise DataError(f'{path}: has neither a "messages" nor a "conversations" column; its columns: {known}')
        if data.column_names:
            data = data.select_columns(columns)
        # What is stored as JSON text is parsed; of images, bytes and path are handed on.
        self.features: Any = import_datasets().Features(_undecoded(dict(data.features))) if data.features else None
        self.data = data.with_format("arrow")

    def sample(self, table: Any, name: str) -> Sample:  # noqa: ANN401 - a pyarrow.Table
        row = cast("Mapping[str, Any]", table.to_pylist()[0])
        if self.features is not None:
            row = cast("Mapping[str, Any]", self.features.decode_example(dict(row)))
        images = [self._image(image, name) for image in image_names(row, name=name)]
        return read_record(row, images, name=name)

    def _image(self, image: object, name: str) -> ImageSource:
        if isinstance(image, Mapping):
            held = cast("Mapping[str, object]", image)
            image = held.get("bytes") if held.get("bytes") is not None else held.get("path")
        if isinstance(image, bytes):
            return image
        if isinstance(image, str) and image and "://" not in image:
            return self.folder / image
        raise BadSampleError(name, f"an image is neither bytes nor the name of a file, but {image!r:.80}")


def _undecoded(feature: object) -> Any:  # noqa: ANN401 - any of the library's kinds
    """Rebuild a feature with its images left as they are stored."""
    datasets = import_datasets()
    if isinstance(feature, datasets.Image):
        return datasets.Image(decode=False)
    if isinstance(feature, datasets.List):
        return datasets.List(_undecoded(cast("Any", feature).feature), length=cast("Any", feature).length)
    if isinstance(feature, datasets.LargeList):
        return datasets.LargeList(_undecoded(cast("Any", feature).feature))
    if isinstance(feature, dict):
        return {key: _undecoded(value) for key, value in cast("dict[str, object]", feature).items()}
    return feature


def _load(path: str, name: str, split: str, *, streaming: bool) -> Any:  # noqa: ANN401 - as above
    place = Path(path)
    if not place.exists() and (path.startswith((".", "/", "~")) or path.count("/") > 1):
        raise DataError(f"{path}: no such folder, and not the name of a data set on the hub")
    datasets = import_datasets()
    try:
        with quiet_datasets():
            if (place / "dataset_dict.json").exists() or (place / "dataset_info.json").exists():
                saved = datasets.load_from_disk(path)
                data = saved[split] if isinstance(saved, datasets.DatasetDict) else saved
                return data.to_iterable_dataset() if streaming else data
            if place.is_file():
                return datasets.load_dataset("parquet", data_files=path, split="train", streaming=streaming)
            return datasets.load_dataset(path, name, split=split, streaming=streaming)
    except Exception as error:
        raise DataError(
            f'{path}: cannot be opened as a Hugging Face data set, configuration "{name}", split "{split}": '
            f"{first_line(error)}"
        ) from error


@contextmanager
def quiet_datasets() -> Generator[None]:
    """Keep the library's progress bars away."""
    datasets = import_datasets()
    if datasets.are_progress_bars_disabled():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


def import_datasets() -> Any:  # noqa: ANN401 - a module
    """Import the library, which takes a second.

    Raises:
        DataError: it is not installed.
    """
    try:
        return import_module("datasets")
    except ModuleNotFoundError as error:
        raise DataError('reading Hugging Face data sets needs `datasets`: pip install "opticnerve[train]"') from error
