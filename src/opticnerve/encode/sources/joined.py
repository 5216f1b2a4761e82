"""Several sources as one."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from opticnerve.encode.sources.picture import NamedSource, Picture, read_file, read_file_ends


class JoinedPictures:
    """The pictures of several sources, one source after another.

    The ids of the first source stay as they are. Those of the others begin with the source's name and a colon, so that
    no id changes when pictures, or sources at the end, are added later.

    Args:
        sources: two or more.
    """

    def __init__(self, sources: Sequence[NamedSource]) -> None:
        self.sources = tuple(sources)
        self.name = sources[0].name
        self.holders = frozenset(holder for source in sources for holder in source.holders)
        times: Counter[str] = Counter()
        prefixes: list[str] = []
        for source in sources[1:]:
            times[source.name] += 1
            count = times[source.name]
            prefixes.append(f"{source.name}:" if count == 1 else f"{source.name}-{count}:")
        self._prefixes = ("", *prefixes)

    def pictures(self) -> Iterator[Picture]:
        """Go through all sources.

        Raises:
            DataError: one of them cannot be read.
        """
        for source, prefix in zip(self.sources, self._prefixes, strict=True):
            for picture in source.pictures():
                yield replace(picture, id=f"{prefix}{picture.id}") if prefix else picture

    def read(self, picture: Picture) -> bytes:
        """Read a picture of any of the sources.

        Raises:
            ImageError: it cannot be read.
        """
        source = self._holder(picture)
        return read_file(picture) if source is None else source.read(picture)

    def read_ends(self, picture: Picture) -> bytes:
        """Read the ends of a picture of any of the sources.

        Raises:
            ImageError: it cannot be read.
        """
        source = self._holder(picture)
        return read_file_ends(picture) if source is None else source.read_ends(picture)

    def _holder(self, picture: Picture) -> NamedSource | None:
        return next((source for source in self.sources if picture.path in source.holders), None)
