"""Score an encoder and its probe on scenes that training never drew: `python scripts/bundled_encoder/measure.py`.

The words are held out by a hash, so none of them was ever seen. "thumbnail" is a canvas of 512 px seen at 256 px,
"tile" is a quarter of that canvas at full size. A glyph counts where its centre lies; a word counts when the patch at
its centre names every character; kind and colour count at the patch at a thing's centre.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from labels import to_pixels
from render import Item, Recipe, draw_scene

from opticnerve.data.reading import FONTS, UNSEEN_FONTS
from opticnerve.encoders.bundled.model import BundledEncoderModel, load_bundled
from opticnerve.encoders.bundled.probe import ALPHABET, COLORS, KINDS, MAX_WORD, BundledProbe, load_probe

VIEWS = {
    "thumbnail": Recipe(font_px=(7, 17), scale=(2.0, 2.0), word_lengths=(3,), held_out_words=True),
    "tile": Recipe(
        font_px=(14, 34), scale=(1.0, 1.0), word_lengths=(3,), held_out_words=True, attempts_per_megapixel=350
    ),
}
_Tally = dict[str, list[bool]]


def tally_scene(
    tally: _Tally, items: tuple[Item, ...], answers: dict[str, torch.Tensor], *, view: str, scale: float
) -> None:
    """Mark each thing of one 256 px scene right or wrong."""
    for item in items:
        left, top, right, bottom = item.box
        if left < 0 or top < 0 or right > 256 or bottom > 256:
            continue
        x, y = int((left + right) / 2), int((top + bottom) / 2)
        patch = y // 16 * 16 + x // 16
        tally[f"{view}/kind"].append(KINDS[answers["kind"][patch] - 1] == item.kind)
        tally[f"{view}/color"].append(tuple(COLORS)[answers["color"][patch] - 1] == item.color)
        if item.kind != "text":
            continue
        truth = [ALPHABET.index(char) + 1 for char in item.text]
        for symbol, (a, _, b, _) in zip(truth, item.glyphs, strict=True):
            tally[f"{view}/glyph"].append(answers["glyphs"][y // 8, int((a + b) / 2) // 4].item() == symbol)
        named = answers["words"][patch].tolist() == truth + [0] * (6 - len(truth))
        tally[f"{view}/word"].append(named)
        low = int(item.font_px * scale) // 4 * 4
        tally[f"{view}/word at {low:02d}-{low + 3:02d} canvas px"].append(named)


@torch.no_grad()
def tally(
    encoder: BundledEncoderModel,
    probe: BundledProbe,
    *,
    seed: int,
    scenes: int,
    fonts: tuple[str, ...] = FONTS,
    views: tuple[str, ...] = tuple(VIEWS),
) -> dict[str, list[bool]]:
    """List right and wrong answers.

    Args:
        encoder: the encoder.
        probe: its probe.
        seed: seed of the scenes. Development used 777 only.
        scenes: scenes of each view.
        fonts: fonts to draw with.
        views: names of views.
    """
    hits: _Tally = defaultdict(list)
    for view in views:
        rng, recipe = random.Random(f"{seed} {view}"), replace(VIEWS[view], fonts=fonts)
        for _ in range(scenes):
            image, items = draw_scene(rng, height_px=256, width_px=256, recipe=recipe)
            features = encoder(to_pixels(image)[None])
            answers = {
                "glyphs": probe.glyph_map(features, rows=16)[0].argmax(0),
                "words": probe.words(features)[0].argmax(-1),
                "kind": probe.kind(features)[0].argmax(-1),
                "color": probe.color(features)[0].argmax(-1),
            }
            tally_scene(hits, items, answers, view=view, scale=recipe.scale[0])
    return dict(sorted(hits.items()))


def score(
    encoder: BundledEncoderModel,
    probe: BundledProbe,
    *,
    seed: int,
    scenes: int,
    views: tuple[str, ...] = tuple(VIEWS),
) -> dict[str, float]:
    """Compute the shares of right answers with the training fonts; for the arguments see `tally`."""
    hits = tally(encoder, probe, seed=seed, scenes=scenes, views=views)
    return {key: round(sum(marks) / len(marks), 4) for key, marks in hits.items()}


def describe(*, seed: int, scenes: int, log: Path) -> dict[str, Any]:
    """Fill the card of the shipped weights."""
    encoder, probe = load_bundled(), load_probe()
    training = json.loads(log.read_text().splitlines()[-1])
    accuracy: dict[str, Any] = {"seed": seed, "scenes_a_view": scenes}
    for name, fonts in (("training_fonts", FONTS), ("unseen_fonts", UNSEEN_FONTS)):
        hits = tally(encoder, probe, seed=seed, scenes=scenes, fonts=fonts)
        accuracy[name] = {
            key: {"share": round(sum(marks) / len(marks), 4), "count": len(marks)} for key, marks in hits.items()
        }
    folder = files("opticnerve.encoders.bundled")
    weights = ("weights.safetensors", "probe.safetensors")
    return {
        "what": "CNN stem and 4 transformer blocks, trained from scratch on rendered scenes",
        "made_by": "scripts/bundled_encoder/train.py",
        "license": "Apache-2.0",
        "training": {key: training[key] for key in ("step", "images", "seconds")},
        "torch": torch.__version__,
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "file_bytes": {name: len(folder.joinpath(name).read_bytes()) for name in weights},
        "flops_256_px": encoder.flops(256, 256),
        "mean": encoder.mean,
        "std": encoder.std,
        "classes": {"alphabet": ALPHABET, "kinds": KINDS, "colors": COLORS, "longest_word": MAX_WORD},
        "fonts": {"training": FONTS, "unseen": UNSEEN_FONTS},
        "accuracy": accuracy,
    }


def main() -> None:
    """Score the shipped weights and write their card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=200, help="scenes of each view and set of fonts")
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--log", type=Path, default=Path("build/bundled_encoder/log.jsonl"), help="of the training run")
    parser.add_argument("--out", type=Path, default=Path("card.json"))
    args = parser.parse_args()
    card = describe(seed=args.seed, scenes=args.scenes, log=args.log)
    args.out.write_text(json.dumps(card, indent=2) + "\n")
    print(json.dumps(card["accuracy"], indent=2))


if __name__ == "__main__":
    main()
