"""Say in one line why a file cannot be decoded, and what it is instead of a picture."""

import re
import unicodedata
from pathlib import Path

from PIL import Image, UnidentifiedImageError, features

from opticnerve.errors import ImageError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Pillow's names of the formats that are read. PostScript and others that start foreign programs are left out."""

HEAD_BYTES = 512
"""How much of a file is looked at to see what it is."""

_BRANDS = rb"(?s).{4}ftyp(?=.{0,64}?(?:%b))"
_HEIC_BRANDS = b"heic|heix|heim|heis|hevc|hevx"
_IMAGES = {
    "PNG": rb"\x89PNG",
    "JPEG": rb"\xff\xd8",
    "GIF": rb"GIF8",
    "WebP": rb"(?s)RIFF.{4}WEBP",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "BMP": rb"BM",
    "JPEG 2000": rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ",
    "AVIF": _BRANDS % b"avif|avis",
    "PPM": rb"P[1-6]\s",
}
"""How files of the formats that are read begin."""
_FEATURES = {"WebP": "webp", "AVIF": "avif"}
"""Formats that a Pillow that was built without them does not know at all."""
_CONVERT = "convert it to JPEG or PNG"
_OTHER_BUILD = f"cannot be read by this build of Pillow: install Pillow's own wheel, or {_CONVERT}"
_OTHERS = {
    "a web page (HTML), not the image that was asked for: download it again": rb"(?i)\s*<(!doctype )?html",
    f"an SVG drawing, which has no pixels: {_CONVERT}": rb"(?si)\s*<(svg|\?xml.*<svg|!--.*<svg|!doctype svg)",
    "XML text, perhaps a server's error: download the image again": rb"\s*<\?xml",
    "JSON text, perhaps a server's error: download the image again": rb"\s*[\[{]\s*[\"\[\]{}\d]",
    "a Git LFS pointer, which stands for the image: fetch it with git lfs pull": rb"version https://git-lfs",
    f"a PDF document: {_CONVERT}": rb"%PDF-",
    f"PostScript: {_CONVERT}": rb"%!PS|\xc5\xd0\xd3\xc6",
    f"a JPEG XL image: {_CONVERT}": rb"\xff\x0a|\0\0\0\x0cJXL ",
    f"a Photoshop document: {_CONVERT}": rb"8BPS",
    f"a camera's raw file: {_CONVERT}": rb"(?s).{4}ftypcrx ",
    "a video: take a frame out of it first": rb"(?s).{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI ",
    "an archive: unpack it first": rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!",
}
"""What is found under the names of images, and how it begins; the first that fits counts."""
_OS_REASONS = {"FileNotFoundError": "no such file", "IsADirectoryError": "is a folder, not an image file"}


def is_heic(head: bytes) -> bool:
    """Tell whether a file is a picture in HEIC, which Pillow reads with a plug-in only.

    Args:
        head: its first `HEAD_BYTES`.
    """
    return re.match(_BRANDS % _HEIC_BRANDS, head) is not None and not re.match(_IMAGES["AVIF"], head)


def reason_for(error: Exception, head: bytes) -> str:
    """Say in a few words what went wrong. Pillow's plugins raise errors of any kind on damaged files.

    Args:
        error: what was raised while the file was opened or decoded.
        head: its first `HEAD_BYTES`, as far as they could be read.
    """
    detail = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        pixels, limit = (int(number) for number in re.findall(r"\d+", str(error))[:2])
        return f"{pixels:,} pixels are more than Pillow's limit of {limit:,}: taken for a decompression bomb"
    if isinstance(error, UnidentifiedImageError):
        return _what_it_is(head)
    if isinstance(error, OSError) and error.strerror:
        return _OS_REASONS.get(type(error).__name__, f"cannot be read: {error.strerror}")
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    if re.fullmatch(r"decoder \w+ not available", detail):
        return f"it {_OTHER_BUILD}"
    if "MAX_TEXT_" in detail:
        return (
            "its text or colour profile unpacks to more than Pillow allows: taken for a decompression bomb; save it "
            "without them"
        )
    return f"truncated or damaged: {detail}"


def _what_it_is(head: bytes) -> str:
    """Say what a file is that Pillow does not take for an image."""
    if is_heic(head):
        return (
            "HEIC is read with the pillow-heif plug-in only, which is not installed: install it (pip install "
            f"pillow-heif), or {_CONVERT}"
        )
    unknown = f"not an image in a known format ({', '.join(FORMATS)})"
    for name, pattern in _IMAGES.items():
        if re.match(pattern, head):
            if name in _FEATURES and not features.check(_FEATURES[name]):
                return f"{name} {_OTHER_BUILD}"
            article = "an" if name.startswith("A") else "a"
            return f"truncated or damaged: it begins like {article} {name} file, but its header cannot be read"
    for what, pattern in _OTHERS.items():
        if re.match(pattern, head.removeprefix(b"\xef\xbb\xbf")):
            return f"{unknown} but {what}"
    return unknown


def shown_name(path: str | Path) -> str:
    r"""Write a file's name so that it fits into one line and can be printed.

    Args:
        path: a name. Line breaks, control characters and bytes that are no UTF-8 become escapes such as `\n`.
    """
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") else char
        for char in str(path)
    )
