"""`opticnerve methods`: all methods in one table."""

from typing import Annotated

from cyclopts import Parameter

_ROWS, _COLS, _VISION_DIM, _LLM_DIM = 24, 24, 1024, 2048


def methods(*, json: Annotated[bool, Parameter(name="--json")] = False) -> int:
    """List all methods: what each does, its tokens for a 24 x 24 grid, its parameters and its source.

    Parameters are counted for features of 1024 channels and an LLM of 2048.

    Args:
        json: Print JSON instead of a table.
    """
    from opticnerve.cli.method_docs import read_docs
    from opticnerve.cli.terminal import print_json, print_table, say, short_count
    from opticnerve.connectors import METHODS, method
    from opticnerve.grid import Grid

    grid = Grid(_ROWS, _COLS)
    entries: list[dict[str, object]] = []
    rows: list[list[str]] = []
    for name, function in METHODS.items():
        spec, docs = method(name), read_docs(function)
        tokens = spec.num_tokens(grid)
        params = spec.num_params(vision_dim=_VISION_DIM * spec.num_levels, llm_dim=_LLM_DIM)
        ratio = grid.size / tokens
        entries.append(
            {
                "method": name,
                "summary": docs.summary,
                "num_tokens": tokens,
                "reduction": ratio,
                "num_params": params,
                "num_levels": spec.num_levels,
                "source": docs.source,
            }
        )
        source = docs.source.split(";")[0].rstrip(".")
        rows.append([name, docs.summary, source, str(tokens), f"{ratio:.3g}", short_count(params)])
    if json:
        sizes = {"grid": [_ROWS, _COLS], "vision_dim": _VISION_DIM, "llm_dim": _LLM_DIM}
        print_json({**sizes, "methods": entries})
        return 0
    title = f"Tokens for {grid} features; parameters from {_VISION_DIM} channels to an LLM of {_LLM_DIM}"
    print_table(title, ["method", "what it does", "source", "tokens", "reduction", "parameters"], rows, num_words=3)
    say("opticnerve show METHOD tells more.")
    return 0
