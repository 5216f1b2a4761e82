"""`opticnerve inspect CHECKPOINT`: which connector a published model has, and where its tensors lie."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from opticnerve.checkpoints import Inspection

_SIZES = ((448, 448), (896, 1344))
"""Heights and widths of images whose tokens are counted."""
_VALUE_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}


def inspect(
    checkpoint: str,
    /,
    *,
    layout: str | None = None,
    prefix: str | None = None,
    revision: str | None = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Show the connector of a checkpoint: layout, blocks, widths, tokens, and where its tensors lie.

    Only headers and settings are read, however large the checkpoint is.

    Args:
        checkpoint: Folder, safetensors file, index of shards, or name on the Hugging Face hub.
        layout: Name of the layout, where several fit; `opticnerve layouts` lists them.
        prefix: What stands before the layout's names, where several fit.
        revision: Branch, tag or commit on the hub.
        json: Print JSON instead of text.
    """
    from opticnerve.checkpoints import inspect_checkpoint
    from opticnerve.cli.terminal import print_json

    found = inspect_checkpoint(checkpoint, layout=layout, prefix=prefix, revision=revision)
    document = describe(found)
    if json:
        print_json({**document, "connector": found.spec.to_dict()})
    else:
        _print(document)
    return 0


def describe(found: "Inspection") -> dict[str, Any]:
    """Return everything that is known of a checkpoint's connector as plain data."""
    from opticnerve.connectors.words import block_words

    widths = {"vision_dim": found.vision_dim, "llm_dim": found.llm_dim}
    blocks = [
        {
            "block": block.kind,
            "words": block_words(block),
            "in_dim": dim,
            "out_dim": block.out_dim(dim),
            "num_params": block.num_params(dim),
        }
        for block, dim in found.spec.walk(**widths)
    ]
    views = found.views
    return {
        "checkpoint": found.source,
        "layout": found.layout.name,
        "same_connector": list(found.same),
        "further_connectors": list(found.parts),
        "models": found.layout.title,
        "home": found.layout.home,
        "method": found.layout.method,
        **widths,
        "num_levels": found.spec.num_levels,
        "num_params": found.num_params,
        "blocks": blocks,
        "prefix": found.prefix,
        "files": dict(Counter(tensor.file for tensor in found.tensors)),
        "tensors": [
            {"name": one.name, "shape": list(one.shape), "dtype": one.dtype, "file": one.file} for one in found.tensors
        ],
        "views": {
            "policy": views.policy,
            "patch_px": views.patch_px,
            "tile_px": views.tile_px,
            "tiling": views.tiling,
            "tiling_options": dict(views.tiling_options),
            "scales": list(views.scales),
        },
        "tokens_per_tile": found.tokens_per_tile,
        "tokens": [
            {"height_px": height, "width_px": width, **_tokens(found, height, width)} for height, width in _SIZES
        ],
    }


def _tokens(found: "Inspection", height: int, width: int) -> dict[str, Any]:
    from opticnerve.errors import OpticNerveError

    try:
        return {"num_tokens": found.num_tokens(height, width)}
    except OpticNerveError as error:
        return {"num_tokens": None, "reason": str(error)}


def _print(document: dict[str, Any]) -> None:
    from opticnerve.cli.terminal import print_table, say, short_count

    say(f"{document['models']}: {document['method']} (layout {document['layout']})")
    if document["same_connector"]:
        say(f"The same connector, by names and shapes, as: {', '.join(document['same_connector'])}")
    if document["further_connectors"]:
        say(f"Further connectors of this model, with --layout: {', '.join(document['further_connectors'])}")
    say("")
    columns = ["block", "width", "parameters"]
    levels = f" ({document['num_levels']} levels)" if document["num_levels"] > 1 else ""
    rows = [["features" + levels, str(document["vision_dim"]), ""]]
    for block in document["blocks"]:
        count = block["num_params"]
        rows.append([block["words"], str(block["out_dim"]), short_count(count) if count else ""])
    rows.append(["visual tokens", rows[-1][1], short_count(document["num_params"])])
    print_table(f"For an LLM of width {document['llm_dim']}", columns, rows, name_width=60)
    for line in (*_where(document), *_seen(document)):
        say(line)


def _where(document: dict[str, Any]) -> list[str]:
    tensors = document["tensors"]
    sizes = [_VALUE_BYTES.get(one["dtype"], 0) * _numbers(one["shape"]) for one in tensors]
    files = ", ".join(f"{file} ({count})" for file, count in document["files"].items())
    types = ", ".join(dict.fromkeys(one["dtype"] for one in tensors))
    start = f'beginning with "{document["prefix"]}"' if document["prefix"] else "without a prefix"
    return [f"Tensors: {len(tensors)} {start}, {types}, {sum(sizes) / 1e6:,.1f} MB, in {files}"]


def _seen(document: dict[str, Any]) -> list[str]:
    views = document["views"]
    lines = [f"Images: {views['policy'] or 'not known from this checkpoint'}"]
    if views["patch_px"]:
        lines[0] += f", patches of {views['patch_px']} px"
    if len(views["scales"]) > 1:
        lines[0] += f", S2 at {', '.join(f'{scale:g}' for scale in views['scales'])}"
    if document["tokens_per_tile"] is not None:
        lines.append(f"Tokens of a view of {views['tile_px']} px: {document['tokens_per_tile']}")
    for one in document["tokens"]:
        size = f"{one['width_px']} x {one['height_px']} px"
        if one["num_tokens"] is not None:
            lines.append(f"Tokens of an image of {size}: {one['num_tokens']:,}")
        elif "reason" in one:
            lines.append(f"Tokens of an image of {size}: not counted, {one['reason']}")
    is_unknown = all(one["num_tokens"] is None and "reason" not in one for one in document["tokens"])
    if views["policy"] and is_unknown:
        lines.append("Tokens of a whole image: not counted, no tiling of this library cuts images as this model does")
    return lines


def _numbers(shape: list[int]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
