"""Files that were never pictures, or of a kind that is not read, under the name of a picture."""

import gzip
import json
import struct

from encode.corpus.cases import Case, refused

_NO_IMAGE = r"not an image in a known format \(PNG, JPEG, "
_HEIC = "(HEIC is read with the pillow-heif plug-in only.*install it.*or convert it|truncated or damaged: )"
"""The second where the plug-in is installed: there are no pixels in these files."""


def _but(what: str) -> str:
    return rf"{_NO_IMAGE}.*\) but {what}"


def _box(*brands: bytes) -> bytes:
    """The first box of a file of the MP4 family: what it is, a version, and what else it is."""
    data = b"ftyp" + brands[0] + bytes(4) + b"".join(brands)
    return struct.pack(">I", 4 + len(data)) + data


CASES: dict[str, Case] = {
    "page.jpg": refused(lambda: b"<!DOCTYPE html><html><body>404 Not Found</body></html>", _but("a web page")),
    "page-with-mark.jpg": refused(lambda: b"\xef\xbb\xbf\r\n  <HTML><head><title>Sign in</title>", _but("a web page")),
    "answer.json.jpg": refused(lambda: json.dumps({"error": "not found"}).encode(), _but("JSON text")),
    "answer-list.jpg": refused(lambda: b'[{"error": 404}]', _but("JSON text")),
    "denied.xml.png": refused(
        lambda: b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', _but("XML text")
    ),
    "paper.pdf.jpg": refused(lambda: b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>", _but("a PDF")),
    "drawing.svg.jpg": refused(
        lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', _but("an SVG")
    ),
    "drawing.xml.jpg": refused(
        lambda: b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg width="8"/>', _but("an SVG")
    ),
    "page.eps.png": refused(lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", _but("PostScript")),
    "photo.heic": refused(lambda: _box(b"heic", b"mif1"), _HEIC),
    "photo.heif": refused(lambda: _box(b"mif1", b"heic"), _HEIC),
    "heic-in-truth.jpg": refused(lambda: _box(b"heix", b"mif1", b"miaf"), _HEIC),
    "broken.avif": refused(lambda: _box(b"avif", b"mif1"), "truncated or damaged: it begins like an AVIF file"),
    "broken-mif1.avif": refused(lambda: _box(b"mif1", b"avif"), "truncated or damaged: it begins like an AVIF file"),
    "broken-either.avif": refused(
        lambda: _box(b"avif", b"mif1", b"heic"), "truncated or damaged: it begins like an AVIF file"
    ),
    "broken.jp2": refused(
        lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "truncated or damaged: it begins like a JPEG 2000 file"
    ),
    "film.mp4.jpg": refused(lambda: _box(b"isom", b"mp41"), _but("a video")),
    "film.mkv.jpg": refused(lambda: b"\x1aE\xdf\xa3" + bytes(30), _but("a video")),
    "sound.wav.webp": refused(lambda: b"RIFF\x40\0\0\0WAVEfmt " + bytes(30), _NO_IMAGE),
    "picture.jxl.png": refused(lambda: b"\xff\x0a" + bytes(30), _but("a JPEG XL")),
    "picture-boxed.jxl.png": refused(lambda: b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20), _but("a JPEG XL")),
    "layers.psd.jpg": refused(lambda: b"8BPS\0\1" + bytes(30), _but("a Photoshop")),
    "icon.ico.png": refused(lambda: b"\0\0\1\0\1\0\x10\x10" + bytes(30), _NO_IMAGE),
    "archive.zip.jpg": refused(lambda: b"PK\3\4" + bytes(30), _but("an archive")),
    "packed.gz.jpg": refused(lambda: gzip.compress(b"a picture", mtime=0), _but("an archive")),
    "pointer.jpg": refused(
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n", _but("a Git LFS pointer")
    ),
    "text.jpg": refused(lambda: b"no picture, but a few words", _NO_IMAGE),
    "spaces.png": refused(lambda: b" " * 500, _NO_IMAGE),
    "zeros.png": refused(lambda: bytes(4096), _NO_IMAGE),
    "numbers.jpg": refused(lambda: bytes(range(1, 256)), _NO_IMAGE),
}
