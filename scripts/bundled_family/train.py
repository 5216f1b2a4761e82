"""Train the bundled family: `python scripts/bundled_family/train.py --out build/family`.

The language model is trained once, by the first three stages of the recipe `tiny`; then each connector is aligned with
it, and both are tuned together, by the other two. Stop it and start it again at will. Members train side by side with
`--only`, once the language model is there.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from members import MEMBERS, PAGE
from typing_extensions import override

from opticnerve.train.load_recipe import load_recipe
from opticnerve.train.progress import Silent
from opticnerve.train.recipe import ModelSettings, Recipe
from opticnerve.train.run import run
from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor

NUM_LANGUAGE_STAGES = 3


class Lines(Silent):
    """Prints a line now and then."""

    @override
    def said(self, line: str) -> None:
        """Print a line."""
        print(line, flush=True)


def language_model(out: Path, recipe: Recipe) -> Path:
    """Train the language model, and write it as a folder of its own."""
    folder = out / "language_model"
    if not (folder / "config.json").is_file():
        stages = recipe.stages[:NUM_LANGUAGE_STAGES]
        model = ModelSettings(llm="small", **{**PAGE, "method": "pool"})
        path = run(recipe.model_copy(update={"stages": stages, "model": model}), out / "language", progress=Lines())
        vlm = OpticNerveForConditionalGeneration.from_pretrained(path)
        vlm.parts["llm"].save_pretrained(folder)
        OpticNerveProcessor.from_pretrained(path).tokenizer.save_pretrained(folder)
    return folder


def member(out: Path, recipe: Recipe, name: str, *, llm: Path) -> Path:
    """Align and tune one member."""
    update = {
        "model": ModelSettings(llm=str(llm), **MEMBERS[name]),
        "stages": recipe.stages[NUM_LANGUAGE_STAGES:],
        "features": str(out / "features"),
    }
    start = time.monotonic()
    path = run(recipe.model_copy(update=update), out / name, progress=Lines())
    with (out / name / "seconds.jsonl").open("a") as file:
        file.write(json.dumps({"seconds": round(time.monotonic() - start)}) + "\n")
    return path


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/family"))
    parser.add_argument("--only", nargs="*", choices=list(MEMBERS), default=list(MEMBERS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = load_recipe("tiny")
    llm = language_model(options.out, recipe)
    for name in options.only:
        print(name, member(options.out, recipe, name, llm=llm), flush=True)


if __name__ == "__main__":
    main()
