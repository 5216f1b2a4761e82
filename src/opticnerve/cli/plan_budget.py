"""`opticnerve plan --budget`: what fits."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opticnerve.cli.plan_flags import DemandFlags, ModelFlags
    from opticnerve.planner import Planned


def find_fitting(
    images: str, model: "ModelFlags", demand: "DemandFlags", *, budgets: tuple[str, ...], out: str, json: bool
) -> int:
    """Find the configurations that fit, print them, and write their recipes.

    Args:
        images: size of the images, or a folder, of which the 95th percentile by pixels is planned for.
        model: names the encoder and the LLM.
        demand: what is asked of it.
        budgets: limits.
        out: folder for recipes; none are written if it is empty.
        json: print JSON instead of text.
    """
    from opticnerve.cli.terminal import print_json, print_table, say
    from opticnerve.planner import find_device, read_budgets, read_sizes, search, write_recipes

    limits = read_budgets(budgets)
    height, width = read_sizes(images).typical
    found = search(limits, model.choice(), find_device(demand.device), demand.demand(), size=(height, width))
    paths = write_recipes(found, out) if out else ()
    if json:
        rows = [row_of(one) for one in found]
        print_json([{**row, "recipe": str(path)} for row, path in zip(rows, paths or [""] * len(rows), strict=True)])
        return 0
    title = f"What fits {' and '.join(one.words(one.limit) for one in limits)}, images of {width} x {height} px"
    print_table(title, COLUMNS, [cells_of(one) for one in found], num_words=1, name_width=46)
    say(
        "Best detail first. Readable: size of type, in pixels of the image, that the finest tiles and the tokens leave "
        "legible, by rule of thumb."
    )
    for path in paths:
        say(f"written: {path}")
    if not paths:
        say("With --out FOLDER each becomes a recipe for `opticnerve train`.")
    return 0


COLUMNS = ["configuration", "readable\npx", "pixels\na token", "tokens", "first token", "cache", "prompts\nthat fit"]
"""Headings of a table of configurations."""


def cells_of(one: "Planned") -> list[str]:
    """Write a configuration as a row of a table.

    Args:
        one: the configuration.
    """
    from opticnerve.cli.plan_report import range_words, size_words

    plan = one.plan
    return [
        one.words,
        f"{one.readable_px:.0f}",
        f"{one.pixels_per_token:,.0f}",
        f"{plan.visual_tokens:,}",
        range_words(plan.timing.first_token_ms),
        size_words(plan.cache_bytes),
        f"{plan.max_batch:,}",
    ]


def row_of(one: "Planned") -> dict[str, Any]:
    """Write a configuration as plain data.

    Args:
        one: the configuration.
    """
    choice = one.choice
    return {
        "method": choice.method,
        "method_options": dict(choice.method_options),
        "tiling": choice.tiling,
        "tiling_options": dict(choice.tiling_options),
        "scales": list(choice.scales),
        "readable_px": one.readable_px,
        "pixels_per_token": one.pixels_per_token,
        "plan": one.plan.to_dict(),
    }
