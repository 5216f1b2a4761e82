"""`opticnerve compress --all-methods`: every method on the same images."""

from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from opticnerve.cli.flags import ConnectorFlags, OutputFlags, ViewFlags
from opticnerve.cli.progress import with_progress
from opticnerve.cli.report import RANDOM
from opticnerve.cli.terminal import complain, giga, print_json, print_table, say, short_count
from opticnerve.connectors import METHODS
from opticnerve.data import decode_image
from opticnerve.encode import MethodRow, compare
from opticnerve.errors import ImageError

_COLUMNS = (
    "method", "parameters", "tiles", "features", "tokens", "ratio",
    "encoder\nGFLOP", "connector\nGFLOP", "encode\nms", "connect\nms",
)  # fmt: skip


def compare_all(paths: list[Path], connector: ConnectorFlags, view: ViewFlags, output: OutputFlags) -> int:
    """Compare all methods on images, and print a table or JSON.

    Args:
        paths: image files.
        connector: width and seed.
        view: how images are seen.
        output: what comes out.

    Returns:
        The exit code.
    """
    images: list[Tensor] = []
    failed: list[dict[str, str]] = []
    for path in paths:
        try:
            images.append(decode_image(path, max_pixels=output.max_pixels))
        except ImageError as error:
            complain(f"skipped {error}")
            failed.append({"image": str(path), "reason": str(error)})
    settings = view.settings()
    names = METHODS if images else ()
    found = compare(images, names, settings, llm_dim=connector.llm_dim, seed=connector.seed)
    rows = list(with_progress(found, total=len(METHODS), what="methods"))
    weights = f"random, seed {connector.seed}"
    if output.json:
        entries = [{**asdict(row), "ratio": row.ratio} for row in rows]
        view_data = {
            "tiling": view.tiling,
            "encoder": view.encoder,
            "scales": settings.scales,
            "num_images": len(images),
        }
        note = {"llm_dim": connector.llm_dim, "weights": weights, "note": RANDOM.format(weights=weights)}
        print_json({**view_data, **note, "methods": entries, "failed": failed})
    elif rows:
        _print(rows, num_images=len(images), view=view)
        say(RANDOM.format(weights=weights))
    if failed:
        complain(f"{len(failed)} of {len(paths)} images failed")
    return 1 if failed else 0


def _print(rows: list[MethodRow], *, num_images: int, view: ViewFlags) -> None:
    images = "1 image" if num_images == 1 else f"{num_images} images together"
    title = f"All methods on {images}, tiling {view.tiling}, encoder {view.encoder}, scales {view.scales}"
    print_table(title, _COLUMNS, [_cells(row) for row in rows])
    for row in rows:
        if row.reason:
            say(f"{row.method} does not fit: {row.reason}")


def _cells(row: MethodRow) -> list[str]:
    if row.reason:
        return [row.method, *["-"] * (len(_COLUMNS) - 1)]
    return [
        row.method,
        short_count(row.num_params),
        str(row.num_tiles),
        f"{row.num_features:,}",
        f"{row.num_tokens:,}",
        f"{row.ratio:.3g}",
        giga(row.encoder_flops),
        giga(row.connector_flops),
        f"{row.encode_ms:.0f}",
        f"{row.connect_ms:.0f}",
    ]
