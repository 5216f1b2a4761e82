"""A few pages of the test, and what selections keep of them, for the report."""

from itertools import islice
from pathlib import Path

from PIL import Image

from opticnerve.arena.cells import RESULT
from opticnerve.arena.config import ArenaConfig
from opticnerve.arena.questions import pages
from opticnerve.arena.records import read_json, write_json
from opticnerve.arena.results import NUM_EXAMPLES

EXAMPLES = "examples"


def write_examples(config: ArenaConfig, out: Path) -> None:
    """Write OUT/examples/K.png, and K.json: its name, and the kept positions of each selection, first seed.

    Args:
        config: the arena.
        out: the arena's folder, with results.
    """
    folder = out / EXAMPLES
    folder.mkdir(parents=True, exist_ok=True)
    results = [read_json(path) for path in sorted(out.glob(f"cells/*/{RESULT}"))]
    for index, page in enumerate(islice(pages(config.test), NUM_EXAMPLES)):
        kept = {
            f"{result['contender']}-{result['reduction']}x": {"grid": one["grid"], "kept": one["kept"]}
            for result in results
            if result["seed"] == config.seeds[0]
            for one in result["kept"]
            if one["image"] == page.asked.name
        }
        (pixels,) = page.asked.images
        Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(folder / f"{index}.png")
        write_json(folder / f"{index}.json", {"image": page.asked.name, "kept": kept})
