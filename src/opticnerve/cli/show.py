"""`opticnerve show METHOD`: what a method is made of, and what it costs."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from opticnerve.connectors import ConnectorSpec
    from opticnerve.connectors.rewrites import Applied, Mode
    from opticnerve.grid import Grid

_OptionPairs = Annotated[tuple[str, ...], Parameter(name="--method-option", show=False)]


def show(
    method: str,
    /,
    *,
    grid: str = "24x24",
    vision_dim: int = 1024,
    llm_dim: int = 2048,
    optimized: Literal["train", "inference"] | None = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
    method_option: _OptionPairs = (),
    **options: str,
) -> int:
    """Show the blocks of a method with their shapes and costs, its source, an example, and its options.

    Args:
        method: Name of the method; `opticnerve methods` lists them.
        grid: Rows x columns of the features.
        vision_dim: Width of the encoder's features; of one level, where the method reads several.
        llm_dim: Width of the LLM's embeddings.
        optimized: Show also how the method is computed with fewer operations and less memory: for train, only rewrites
            whose gradients are equal; for inference, all.
        json: Print JSON instead of text.
        method_option: As --method.KEY VALUE.
        options: An option of the method, such as --factor 4; --method.factor 4 means the same.
    """
    from opticnerve.cli.method_docs import read_docs
    from opticnerve.cli.options import read_grid, read_options
    from opticnerve.cli.terminal import print_json
    from opticnerve.connectors import METHODS
    from opticnerve.connectors import method as make
    from opticnerve.errors import SpecError
    from opticnerve.grid import Grid

    pairs = [f"{key}={value}" for key, value in options.items()]
    spec = make(method, **read_options([*method_option, *pairs]))
    rows, cols = read_grid(grid)
    if vision_dim < 1 or llm_dim < 1:
        raise SpecError(f"widths must be at least 1, got --vision-dim {vision_dim} and --llm-dim {llm_dim}")
    widths = {"vision_dim": vision_dim * spec.num_levels, "llm_dim": llm_dim}
    data = describe(spec, Grid(rows, cols), **widths)
    document = {"method": method, **asdict(read_docs(METHODS[method])), **data}
    if optimized is not None:
        document["optimized"] = describe_rewrites(spec, Grid(rows, cols), **widths, mode=optimized)
    if json:
        print_json({**document, "connector": spec.to_dict()})
    else:
        _print(document)
    return 0


def describe(spec: "ConnectorSpec", grid: "Grid", *, vision_dim: int, llm_dim: int) -> dict[str, Any]:
    """Count everything about a connector on a grid, block by block.

    Args:
        spec: the connector.
        grid: where the features lie.
        vision_dim: width of the features, all levels together.
        llm_dim: width of the LLM's embeddings.

    Raises:
        GridError: a block cannot take the grid.
        SpecError: a width does not fit a block.
    """
    widths = {"vision_dim": vision_dim, "llm_dim": llm_dim}
    blocks: list[dict[str, Any]] = []
    places: Any = grid
    for block, dim in spec.walk(**widths):
        out = block.out_grid(places)
        blocks.append(
            {
                "block": block.kind,
                "settings": asdict(block),
                "places": str(out),
                "dim": block.out_dim(dim),
                "num_params": block.num_params(dim),
                "flops": block.flops(places, dim),
            }
        )
        places = out
    return {
        "grid": str(grid),
        **widths,
        "num_levels": spec.num_levels,
        "num_features": grid.size,
        "num_tokens": spec.num_tokens(grid),
        "num_params": spec.num_params(**widths),
        "flops": spec.flops(grid, **widths),
        "activation_bytes": spec.activation_bytes(grid, **widths),
        "blocks": blocks,
    }


def describe_rewrites(
    spec: "ConnectorSpec", grid: "Grid", *, vision_dim: int, llm_dim: int, mode: "Mode"
) -> dict[str, Any]:
    """Tell how a connector is computed more cheaply on a grid, and what that is predicted to save.

    Args:
        spec: the connector.
        grid: where the features lie.
        vision_dim: width of the features, all levels together.
        llm_dim: width of the LLM's embeddings.
        mode: "train" takes only rewrites whose gradients are equal too.

    Raises:
        GridError: a block cannot take the grid.
    """
    from opticnerve.connectors.rewrites import plan_rewrites
    from opticnerve.connectors.rewrites.slice_plan import PLANNED_BATCH

    applied = plan_rewrites(spec, grid, vision_dim=vision_dim, llm_dim=llm_dim, mode=mode)
    features = grid.size * vision_dim  # the caller has them to the end
    peak = max(one.after.values + (features if index else 0) for index, one in enumerate(applied))
    return {
        "mode": mode,
        "batch": PLANNED_BATCH,
        "flops_before": sum(one.before.flops for one in applied),
        "flops_after": sum(one.after.flops for one in applied),
        "activation_bytes_before": spec.activation_bytes(grid, vision_dim=vision_dim, llm_dim=llm_dim),
        "activation_bytes_after": 2 * peak,
        "pieces": [_describe_piece(one) for one in applied],
    }


def _describe_piece(one: "Applied") -> dict[str, Any]:
    rewrite = one.rewrite
    return {
        "blocks": [block.spec.kind for block in one.blocks],
        "rewrite": rewrite.name if rewrite else None,
        "why": rewrite.why if rewrite else None,
        "holds_in_training": rewrite.holds_in_training if rewrite else True,
        "flops_before": one.before.flops,
        "flops_after": one.after.flops,
        "bytes_before": 2 * one.before.values,
        "bytes_after": 2 * one.after.values,
        "parts": [_describe_piece(part) for part in one.parts],
    }


def _print(document: dict[str, Any]) -> None:
    from opticnerve.cli.terminal import print_table, say

    say(f"{document['method']}: {document['summary']}\n")
    for key in ("keeps", "loses", "source", "differs", "example"):
        if document[key]:
            say(f"{key.capitalize()}: {document[key]}")
    say("")
    columns = ["block", "settings", "places", "width", "parameters", "GFLOP"]
    print_table("Blocks, and the shapes after them", columns, _block_rows(document), num_words=2)
    ratio = document["num_features"] / document["num_tokens"]
    memory = document["activation_bytes"] / 2**20
    say(
        f"{document['num_features']} features -> {document['num_tokens']} visual tokens ({ratio:.3g} : 1), "
        f"about {memory:.3g} MiB of activations for one image in bfloat16\n"
    )
    if "optimized" in document:
        _print_rewrites(document["optimized"])
    options = [[one["name"].replace("_", "-"), one["default"], one["meaning"]] for one in document["options"]]
    if options:
        print_table("Options, as --method.KEY VALUE", ["key", "default", "meaning"], options, num_words=3)


def _print_rewrites(program: dict[str, Any]) -> None:
    from opticnerve.cli.terminal import print_table, say

    pieces = [each for one in program["pieces"] for each in (one, *one["parts"])]
    whys = {one["rewrite"]: one["why"] for one in pieces if one["rewrite"]}
    if not whys:
        say(f"Optimized for {program['mode']}: as it stands; no rewrite pays.\n")
        return
    columns = ["blocks", "computed by", "equal gradients", "GFLOP\nbefore", "after", "MiB\nbefore", "after"]
    rows = [row for one in program["pieces"] for row in _piece_rows(one)]
    print_table(f"Optimized for {program['mode']}", columns, rows, num_words=3, name_width=40)
    for name, why in whys.items():
        say(f"{name}: {why}.")
    saved = program["flops_before"] / max(program["flops_after"], 1)
    memory = program["activation_bytes_after"] / program["activation_bytes_before"]
    say(
        f"Predicted for each image of a batch of {program['batch']}: operations divided by {saved:.3g}, activations of "
        f"{memory:.2f} times the size in a forward pass without gradients.\n"
    )


def _piece_rows(one: dict[str, Any], *, indent: str = "") -> list[list[str]]:
    from opticnerve.cli.terminal import giga

    flops = [giga(one[key]) if one[key] else "" for key in ("flops_before", "flops_after")]
    memory = [f"{one[key] / 2**20:.3g}" for key in ("bytes_before", "bytes_after")]
    name, trains = one["rewrite"] or "", "yes" if one["holds_in_training"] else "no"
    row = [indent + ", ".join(one["blocks"]), name, trains if name else "", *flops, *memory]
    return [row, *(inner for part in one["parts"] for inner in _piece_rows(part, indent=indent + "  "))]


def _block_rows(document: dict[str, Any]) -> list[list[str]]:
    from opticnerve.cli.terminal import giga, short_count

    levels = f" ({document['num_levels']} levels)" if document["num_levels"] > 1 else ""
    rows = [["features" + levels, "", document["grid"], str(document["vision_dim"]), "", ""]]
    for block in document["blocks"]:
        settings = ", ".join(f"{key}={value}" for key, value in block["settings"].items())
        params, flops = block["num_params"], block["flops"]
        costs = [short_count(params) if params else "", giga(flops) if flops else ""]
        rows.append([block["block"], settings, block["places"], str(block["dim"]), *costs])
    total = [short_count(document["num_params"]), giga(document["flops"])]
    return [*rows, ["visual tokens", "", str(document["num_tokens"]), rows[-1][3], *total]]
