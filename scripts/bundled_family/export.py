"""Score the trained family and put it into the package: `python scripts/bundled_family/export.py --out build/family`.

Test pages are looked at here and nowhere else; whatever was chosen, was chosen on validation pages.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from members import MEMBERS

from opticnerve import family
from opticnerve.evaluate import evaluate, reading_questions
from opticnerve.train.load_recipe import load_recipe
from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor


def scores(path: Path, *, split: str, num_images: int) -> dict[str, Any]:
    """Ask a model every question of some pages."""
    model = OpticNerveForConditionalGeneration.from_pretrained(path).eval()
    processor = OpticNerveProcessor.from_pretrained(path)
    result = evaluate(model, processor, reading_questions(split=split, num_samples=num_images))
    kinds = {
        one.kind: {
            "right": one.num_right,
            "asked": one.num_questions,
            "share": round(one.share, 4),
            "interval_95": [round(one.low, 4), round(one.high, 4)],
        }
        for one in result.scores
    }
    return {"split": split, "images": num_images, "exact_match": kinds}


def pages() -> str:
    """Say which pages members are trained on, as the recipe has them."""
    sources = load_recipe("tiny").stages[-1].data
    return " and ".join(
        f"{one.num_samples:,} (share of charts: {one.chart_share or 'of the level'})" for one in sources
    )


def card(out: Path, name: str, *, num_images: int) -> dict[str, Any]:
    """Say how a member was trained, and how well it answers."""
    steps = [json.loads(line) for line in (out / name / "log.jsonl").read_text().splitlines()]
    stages = {line["stage"]: line["num_steps"] for line in steps if line["event"] == "step"}
    seconds = [json.loads(line)["seconds"] for line in (out / name / "seconds.jsonl").read_text().splitlines()]
    path = out / name / "model"
    return {
        "made_by": "scripts/bundled_family, recipe tiny",
        "data": f"rendered pages, split train of the reading task, level 1: {pages()}",
        "settings": MEMBERS[name],
        "steps": stages,
        "seconds_on_one_cpu_thread": sum(seconds),
        "language_model": "three stages of recipe tiny on symbols, shared by all members before they are tuned",
        "license": "Apache-2.0",
        "accuracy": [scores(path, split=split, num_images=num_images) for split in ("validation", "test")],
    }


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/family"))
    parser.add_argument("--only", nargs="*", choices=list(MEMBERS), default=list(MEMBERS))
    parser.add_argument("--images", type=int, default=250)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.only:
        facts = card(options.out, name, num_images=options.images)
        print(name, family.export(options.out / name / "model", name, card=facts))
        print(json.dumps(facts["accuracy"]))


if __name__ == "__main__":
    main()
