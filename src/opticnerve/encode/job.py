"""Many images to token files: bad images are named and passed over, finished ones are not done again."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

import opticnerve
from opticnerve.data import MAX_PIXELS, decode_image, image_size
from opticnerve.data.unreadable import shown_name
from opticnerve.encode.compressor import Compressed, Compressor, Counts
from opticnerve.encode.store import StoreError, make_folder, read_metadata, write_tokens, write_whole
from opticnerve.errors import ImageError, OpticNerveError

PICTURE_SUFFIX = ".tokens.png"
"""What the name of an image's picture ends with, in place of its token file's ".safetensors"."""

Draw = Callable[[str, UInt8[Tensor, "3 height width"], Compressed], bytes]
"""Makes the bytes of a PNG from an image's name, its pixels and what became of it."""


_SOURCE_KEYS = {"name", "folder", "sha256", "height_px", "width_px"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """An image whose token file is there."""

    path: Path
    """The image."""
    tokens_path: Path
    """Its token file."""
    picture_path: Path | None
    """Its picture, where one was asked for."""
    counts: Counts
    """What it cost."""
    stage_ms: Mapping[str, float]
    """Milliseconds of "decode", "tile", "encode" and "connect"; empty where an earlier run has done it."""

    @property
    def is_kept(self) -> bool:
        """An earlier run has done it with the same settings."""
        return not self.stage_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """An image that was passed over."""

    path: Path
    """The image."""
    reason: str
    """One line that begins with the path."""


class Job:
    """Compresses images into a folder.

    Args:
        compressor: tiling, encoder and connector.
        folder: where the token files go; it is made.
        draw: draws a picture for each image; None draws none.
        is_overwriting: do again what an earlier run has done with the same settings.
        max_pixels: larger images are passed over.

    Raises:
        StoreError: the folder cannot be made or written to.
    """

    def __init__(
        self,
        compressor: Compressor,
        folder: str | Path,
        *,
        draw: Draw | None = None,
        is_overwriting: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        make_folder(folder)
        self.compressor = compressor
        self.folder = Path(folder)
        self.draw = draw
        self.is_overwriting = is_overwriting
        self.max_pixels = max_pixels

    def run(self, paths: Iterable[str | Path]) -> Iterator[Done | Failed]:
        """Go through the images, one result for each.

        Args:
            paths: image files; see `find_images`.

        Raises:
            StoreError: a file cannot be written: the disk is full, or the folder has gone.
            OpticNerveError: the settings fit none of the images. Where they fit some, the others are passed over.
        """
        has_fitted = False
        taken: dict[Path, str] = {}
        paths = [Path(path) for path in paths]
        for index, path in enumerate(paths, start=1):
            try:
                yield self._one(path, taken)
                has_fitted = True
            except ImageError as error:
                reason, name = str(error), shown_name(path)
                yield Failed(path=path, reason=reason if reason.startswith(name) else f"{name}: {reason}")
            except OpticNerveError as error:
                has_fitted = has_fitted or any(map(self._fits, paths[index:]))
                if isinstance(error, StoreError) or not has_fitted:
                    raise
                yield Failed(path=path, reason=f"{shown_name(path)}: {error}")

    def _fits(self, path: Path) -> bool:
        """Tell from its header whether the settings fit an image."""
        try:
            self.compressor.count(*image_size(path))
        except OpticNerveError:
            return False
        return True

    def _one(self, path: Path, taken: dict[Path, str]) -> Done:
        sha256 = _sha256(path)
        source = {"name": path.name, "folder": _digest(str(path.resolve().parent).encode()), "sha256": sha256}
        tokens_path = self._tokens_path(path, source, taken)
        drawn_path = tokens_path.with_suffix(PICTURE_SUFFIX)
        picture_path = drawn_path if self.draw else None
        settings = settings_metadata(self.compressor)
        kept = self._kept(tokens_path, settings, sha256)
        if kept and (picture_path is None or picture_path.exists()):
            counts = self.compressor.count(kept["height_px"], kept["width_px"])
            return Done(path=path, tokens_path=tokens_path, picture_path=picture_path, counts=counts, stage_ms={})
        start = perf_counter()
        image = decode_image(path, max_pixels=self.max_pixels)
        decode_ms = 1000 * (perf_counter() - start)
        compressed = self.compressor.compress(image)
        # An old picture must not stand beside new tokens, whatever happens in between.
        drawn_path.unlink(missing_ok=True)
        size = {"height_px": image.shape[1], "width_px": image.shape[2]}
        write_tokens(tokens_path, compressed, {**settings, "source": json.dumps({**source, **size})})
        if self.draw and picture_path:
            write_whole(picture_path, self.draw(path.name, image, compressed), what="picture")
        return Done(
            path=path,
            tokens_path=tokens_path,
            picture_path=picture_path,
            counts=compressed.counts,
            stage_ms={"decode": decode_ms, **compressed.stage_ms},
        )

    def _kept(self, tokens_path: Path, settings: Mapping[str, str], sha256: str) -> dict[str, Any] | None:
        """Return the source of a finished file with the same settings and source, or None."""
        if self.is_overwriting or not tokens_path.exists():
            return None
        stored = _stored(tokens_path)
        if stored is None:
            return None
        metadata, source = stored
        is_same = source["sha256"] == sha256 and all(metadata.get(key) == value for key, value in settings.items())
        return source if is_same else None

    def _tokens_path(self, path: Path, source: Mapping[str, str], taken: dict[Path, str]) -> Path:
        """Name the token file. A second image of the same name gets its folder's digest, in this run and any later."""
        plain = self.folder / f"{path.name}.safetensors"
        whole = str(path.resolve())
        is_other = taken.get(plain, whole) != whole or _is_of_other(plain, source)
        chosen = self.folder / f"{path.name}.{source['folder'][:8]}.safetensors" if is_other else plain
        taken[chosen] = whole
        return chosen


def is_picture(path: Path) -> bool:
    """Tell whether a file is a picture that a job has drawn, which stands beside its token file.

    Args:
        path: a file.
    """
    name = path.name.removesuffix(PICTURE_SUFFIX)
    return name != path.name and path.with_name(f"{name}.safetensors").exists()


def settings_metadata(compressor: Compressor) -> dict[str, str]:
    """Describe everything but the image that a token file depends on, as it stands in the file's metadata.

    Args:
        compressor: tiling, encoder and connector.

    Returns:
        Version, connector, weights, tiling, encoder and scales; each a text or JSON.
    """
    tiled, info = compressor.tiled, compressor.tiled.encoder.info
    encoder = {"name": info.name, "layers": tiled.layers, "dim": info.dim, "num_prefix": info.num_prefix}
    return {
        "version": opticnerve.__version__,
        "connector": json.dumps(compressor.spec.to_dict()),
        "llm_dim": str(compressor.connector.llm_dim),
        "weights": compressor.weights,
        "tiling": json.dumps(tiled.tiling.to_dict()),
        "encoder": json.dumps(encoder),
        "scales": json.dumps(tiled.scales),
    }


def _is_of_other(path: Path, source: Mapping[str, str]) -> bool:
    """Tell whether a token file belongs to another image: of another folder and with other content."""
    stored = _stored(path)
    if stored is None:
        return False
    other = stored[1]
    return other["folder"] != source["folder"] and other["sha256"] != source["sha256"]


def _stored(path: Path) -> tuple[dict[str, str], dict[str, Any]] | None:
    """Read the metadata and the source of a token file; None where it is not one that a job has written."""
    try:
        metadata = read_metadata(path)
        source: dict[str, Any] = json.loads(metadata["source"])
    except (StoreError, KeyError, ValueError):
        return None
    return (metadata, source) if _SOURCE_KEYS.issubset(source) else None


def _sha256(path: Path) -> str:
    """Digest a file; of one that cannot be read, return nothing: decoding says why."""
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
