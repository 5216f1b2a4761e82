"""`opticnerve show METHOD`: what a method is made of, and what it costs."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from opticnerve.connectors import ConnectorSpec
    from opticnerve.grid import Grid

_OptionPairs = Annotated[tuple[str, ...], Parameter(name="--method-option", show=False)]


def show(
    method: str,
    /,
    *,
    grid: str = "24x24",
    vision_dim: int = 1024,
    llm_dim: int = 2048,
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
    data = describe(spec, Grid(rows, cols), vision_dim=vision_dim * spec.num_levels, llm_dim=llm_dim)
    document = {"method": method, **asdict(read_docs(METHODS[method])), **data}
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
    options = [[one["name"].replace("_", "-"), one["default"], one["meaning"]] for one in document["options"]]
    if options:
        print_table("Options, as --method.KEY VALUE", ["key", "default", "meaning"], options, num_words=3)


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
