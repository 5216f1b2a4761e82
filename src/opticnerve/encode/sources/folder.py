"""Pictures that are files: those of a folder, or some that are named one by one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from opticnerve.data.find import walk_files
from opticnerve.encode.sources.picture import Picture, PicturesInFiles, picture_of_file
from opticnerve.errors import DataError, ImageError


class FolderPictures(PicturesInFiles):
    """The image files of a folder and its subfolders, in sorted order; hidden ones are left out.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.resolve().name

    def pictures(self) -> Iterator[Picture]:
        """List the files.

        Raises:
            DataError: a folder cannot be listed.
        """
        try:
            for path in walk_files(self.folder):
                yield picture_of_file(path, path.relative_to(self.folder).as_posix())
        except ImageError as error:
            raise DataError(str(error)) from error


class FilePictures(PicturesInFiles):
    """Image files as they are named, each once; their names are their ids.

    Args:
        paths: the files.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(dict.fromkeys(paths))
        self.name = "files"

    def pictures(self) -> Iterator[Picture]:
        """Describe the files, in the order in which they are named."""
        return (picture_of_file(Path(path), path) for path in self.paths)
