"""Samples whose images were encoded before: what is stored takes the place of the pictures."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from opticnerve.data.good_samples import Source
from opticnerve.data.samples import ImageSource, Sample
from opticnerve.data.stored.folder import StoredFolder
from opticnerve.data.streams import Stream
from opticnerve.errors import BadSampleError


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookup:
    """Finds the images of samples in a folder of stored ones; no picture is opened."""

    folder: StoredFolder
    """Of the stored images."""
    images: Path
    """Folder that the names of images in the data are relative to, as ids in the folder are."""

    def __call__(self, sample: Sample) -> Sample:
        """Put what is stored in the place of a sample's images.

        Args:
            sample: its images are files or bytes.

        Raises:
            BadSampleError: an image is not stored.
            DataError: a shard is damaged.
        """
        seen = [self.folder.seen(self._id(sample, number)) for number in range(len(sample.images))]
        return replace(sample, images=tuple(seen))

    def _id(self, sample: Sample, number: int) -> str:
        image = sample.images[number]
        if isinstance(image, bytes):
            digest = hashlib.sha256(image).hexdigest()
            name, found = f"the image with sha256 {digest[:12]}...", self.folder.by_sha256(digest)
        elif isinstance(image, Path):
            names = self._names(image)
            name, found = str(image), next(filter(None, map(self.folder.find, names)), None)
            reason = None if found else next(filter(None, map(self.folder.why_skipped, names)), None)
            if reason:
                raise _bad(sample, number, f"{image}: was skipped when {self.folder.path} was encoded: {reason}")
        else:
            raise _bad(sample, number, f"{_kind(image)} has no path and no bytes to look for in {self.folder.path}")
        if found is None:
            raise _bad(sample, number, f"{name}: is not among the {len(self.folder):,} images in {self.folder.path}")
        return found

    def _names(self, image: Path) -> list[str]:
        """List what an image may be called in the folder: first its path, which is surely this file."""
        whole = Path(os.path.abspath(image))  # noqa: PTH100 - links are not followed, as they were not when encoding
        names = [os.path.normpath(image), str(whole), os.path.relpath(whole)]
        try:
            names.append(whole.relative_to(os.path.abspath(self.images)).as_posix())  # noqa: PTH100 - as above
        except ValueError:  # it does not lie below the folder
            return names
        return names


class StoredSource:
    """The samples of a source, with stored images.

    Args:
        source: names the images.
        lookup: finds them.
    """

    def __init__(self, source: Source, lookup: Lookup) -> None:
        self.source = source
        self.lookup = lookup

    def __len__(self) -> int:
        """Count the samples, the bad ones included."""
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Args:
            index: from 0.

        Raises:
            IndexError: there is none there.
            BadSampleError: it cannot be read, or an image is not stored.
            DataError: a shard is damaged.
        """
        return self.lookup(self.source[index])


class StoredStream:
    """The samples of a stream, with stored images.

    Args:
        stream: names the images.
        lookup: finds them.
    """

    def __init__(self, stream: Stream, lookup: Lookup) -> None:
        self.stream = stream
        self.lookup = lookup

    def __iter__(self) -> Iterator[Sample | BadSampleError]:
        """Read the samples.

        Raises:
            DataError: a shard is damaged, or the stream cannot be read on.
        """
        for sample in self.stream:
            if isinstance(sample, BadSampleError):
                yield sample
                continue
            try:
                found = self.lookup(sample)
            except BadSampleError as error:
                yield error
                continue
            yield found


def _bad(sample: Sample, number: int, reason: str) -> BadSampleError:
    return BadSampleError(sample.id, f"image {number + 1}: {reason}")


def _kind(image: ImageSource) -> str:
    return f"an image that is a {type(image).__name__}"
