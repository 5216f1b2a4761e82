"""Pages of the test with what each method kept of them, and what everybody answered."""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from opticnerve.arena.report.folder import ArenaFolder, Kept, Reply
from opticnerve.arena.report.wording import plural, safe
from opticnerve.errors import DataError

_LARGEST_PX = 640


def show_examples(folder: ArenaFolder) -> str:
    """Show the pages that the arena kept.

    Args:
        folder: of the arena.

    Raises:
        DataError: a picture is damaged.
    """
    return "".join(_show(path, folder) for path in sorted((folder.path / "examples").glob("*.png")))


def _image(picture: Path) -> str:
    """Return the name of the image, which stands in a file beside the picture."""
    path = picture.with_suffix(".json")
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["image"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} does not name an image. Delete {picture} and run the arena again") from error


def _show(path: Path, folder: ArenaFolder) -> str:
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}. Delete it and run the arena again") from error
    image = _image(path)
    picture.thumbnail((_LARGEST_PX, _LARGEST_PX))
    data = BytesIO()
    picture.save(data, "PNG", optimize=True)
    name, shape = f"page-{re.sub(r'[^a-zA-Z0-9]+', '-', path.stem)}", picture.width / picture.height
    source = f"data:image/png;base64,{b64encode(data.getvalue()).decode()}"
    kept = {one.group: seen for one in reversed(folder.results) for seen in one.kept if seen.image == image}
    views = "".join(_thumb(name, shape, group, kept[group]) for group in reversed(kept))
    selected = f'<div class="thumbs">{views}</div>' if views else ""
    return (
        f'<section class="example"><style>.{name} {{ background-image: url("{source}"); }}</style>'
        f'<div class="seen"><div class="page {name}" style="aspect-ratio: {shape:.4f}" role="img" '
        f'aria-label="{safe(image)}"></div>{selected}</div>'
        f'<div class="said"><h3>{safe(image)}</h3>{_answers(image, folder)}</div></section>'
    )


def _thumb(name: str, shape: float, group: str, one: Kept) -> str:
    """Draw what was kept: all other patches are veiled."""
    rows, cols = one.grid
    kept = set(one.kept)
    veiled = "".join(f"M{place % cols} {place // cols}h1v1h-1z" for place in range(rows * cols) if place not in kept)
    return (
        f'<figure><div class="page {name}" style="aspect-ratio: {shape:.4f}">'
        f'<svg viewBox="0 0 {cols} {rows}" preserveAspectRatio="none"><path d="{veiled}"/></svg></div>'
        f"<figcaption>{safe(group)}<br><small>{plural(len(kept), 'patch').replace('patchs', 'patches')}"
        f" of {rows * cols}</small></figcaption></figure>"
    )


def _answers(image: str, folder: ArenaFolder) -> str:
    """Show all answers about an image, of each group's first seed."""
    found: dict[str, tuple[int, Sequence[Reply]]] = {}
    for one in folder.results:
        replies = [reply for reply in one.answers if reply.image == image]
        if replies and one.group not in found:
            found[one.group] = (one.tokens, replies)
    if not found:
        return "<p>Nobody was asked about it.</p>"
    asked = next(iter(found.values()))[1]
    head = "".join(f"<th>{_asked(reply)}</th>" for reply in asked)
    ordered = sorted(found.items(), key=lambda item: -item[1][0])
    rows = "".join(
        f"<tr><td><b>{safe(group)}</b></td><td>{tokens}</td>{''.join(_given(reply) for reply in replies)}</tr>\n"
        for group, (tokens, replies) in ordered
    )
    wanted = "".join(f"<td><b>{safe(reply.wanted)}</b></td>" for reply in asked)
    return (
        f'<div class="wide"><table><thead><tr><th>group</th><th>tokens</th>{head}</tr></thead>'
        f'<tbody><tr class="wanted"><td>right answer</td><td></td>{wanted}</tr>{rows}</tbody></table></div>'
    )


def _asked(reply: Reply) -> str:
    height = f"<br><small>{reply.height_px:g} px glyphs</small>" if reply.height_px else ""
    return safe(reply.question or reply.kind) + height


def _given(reply: Reply) -> str:
    return f'<td class="{"right" if reply.is_right else "wrong"}">{safe(reply.given) or "(nothing)"}</td>'
