"""What `opticnerve compress` says when it is done."""

import json
from collections.abc import Sequence
from typing import Any

from opticnerve.cli.terminal import giga, print_table, say
from opticnerve.encode import Compressor, Counts, Done, Failed, settings_metadata

RANDOM = "The connector's weights are {weights}: counts and costs are real, but the tokens mean nothing."
COLUMNS = (
    "image", "size", "tiles", "features", "tokens", "ratio",
    "encoder\nGFLOP", "connector\nGFLOP", "decode\nms", "encode\nms", "connect\nms",
)  # fmt: skip


def results_document(compressor: Compressor, results: Sequence[Done | Failed]) -> dict[str, Any]:
    """Return everything as plain data, ready for JSON.

    Args:
        compressor: what the images went through.
        results: one for each image.
    """
    settings = settings_metadata(compressor)
    settings.update({key: json.loads(settings[key]) for key in ("connector", "tiling", "encoder", "scales", "llm_dim")})
    done = [result for result in results if isinstance(result, Done)]
    failed = [{"image": str(one.path), "reason": one.reason} for one in results if isinstance(one, Failed)]
    return {
        **settings,
        "num_params": compressor.num_params,
        **({} if compressor.is_trained else {"note": RANDOM.format(weights=compressor.weights)}),
        "images": [_entry(one) for one in done],
        "failed": failed,
        "summary": _totals(results),
    }


def print_results(compressor: Compressor, results: Sequence[Done | Failed], *, folder: str) -> None:
    """Print a table of the images, and a summary.

    Args:
        compressor: what the images went through.
        results: one for each image.
        folder: where the token files are.
    """
    tiled = compressor.tiled
    scales = f", scales {', '.join(f'{scale:g}' for scale in tiled.scales)}" if tiled.scales != (1,) else ""
    title = f"{compressor.spec.name}, tiling {tiled.tiling.name}, encoder {tiled.encoder.name}{scales}"
    rows = [_row(result) for result in results if isinstance(result, Done)]
    if rows:
        print_table(title, COLUMNS, rows, name_width=14)
    totals = _totals(results)
    kept = f", {totals['kept']} of them by an earlier run" if totals["kept"] else ""
    failed = f"; {totals['failed']} failed, see above" if totals["failed"] else ""
    say(f"{len(results)} image{'s' if len(results) != 1 else ''}: {totals['done']} in {folder}{kept}{failed}.")
    if not compressor.is_trained:
        say(f"{RANDOM.format(weights=compressor.weights)} Give --model for trained ones.")


def count_cells(counts: Counts) -> list[str]:
    """Write the counts of an image as cells of a table."""
    return [
        f"{counts.height_px} x {counts.width_px}",
        str(counts.num_tiles),
        f"{counts.num_features:,}",
        f"{counts.num_tokens:,}",
        f"{counts.ratio:.3g}",
        giga(counts.encoder_flops),
        giga(counts.connector_flops),
    ]


def count_entry(counts: Counts) -> dict[str, Any]:
    """Return the counts of an image as plain data."""
    return {
        "height_px": counts.height_px,
        "width_px": counts.width_px,
        "num_tiles": counts.num_tiles,
        "num_features": counts.num_features,
        "num_tokens": counts.num_tokens,
        "ratio": counts.ratio,
        "encoder_flops": counts.encoder_flops,
        "connector_flops": counts.connector_flops,
    }


def _totals(results: Sequence[Done | Failed]) -> dict[str, int]:
    done = [result for result in results if isinstance(result, Done)]
    return {"done": len(done), "kept": sum(one.is_kept for one in done), "failed": len(results) - len(done)}


def _entry(done: Done) -> dict[str, Any]:
    return {
        "image": str(done.path),
        "tokens_file": str(done.tokens_path),
        "picture_file": str(done.picture_path) if done.picture_path else None,
        "is_kept": done.is_kept,
        **count_entry(done.counts),
        "ms": {stage: round(value, 3) for stage, value in done.stage_ms.items()},
    }


def _row(done: Done) -> list[str]:
    cells = [done.path.name, *count_cells(done.counts)]
    if done.is_kept:
        return [*cells, "", "kept", ""]
    ms = done.stage_ms
    return [*cells, f"{ms['decode']:.0f}", f"{ms['tile'] + ms['encode']:.0f}", f"{ms['connect']:.0f}"]
