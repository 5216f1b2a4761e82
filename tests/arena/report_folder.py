"""A folder as an arena leaves it, with answers whose truth is known."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

KINDS = ("color", "place", "count", "value")
SKILL = {"none": 0.85, "random_patches": 0.45, "pool": 0.55, "every_kth": 0.4, "pixel_shuffle": 0.7, "divprune": 0.5}
BASELINES = ("none", "resized", "random_patches", "every_kth", "pool")
SELECTIONS = ("random_patches", "every_kth", "divprune")


def write_folder(
    out: Path,
    *,
    num_images: int = 40,
    seeds: Sequence[int] = (0, 1),
    reductions: Sequence[int] = (4, 16),
    skill: dict[str, float] | None = None,
    without: Sequence[tuple[str, int]] = (),
) -> Path:
    """Write an arena; `without` names groups and seeds that are not finished."""
    skill = skill or SKILL
    at = {name: [1] if name == "none" else list(reductions) for name in skill}
    config = {
        "name": "synthetic",
        "encoder": "bundled",
        "contenders": [
            {"name": name, "at": {str(r): {"method": "mlp" if name == "none" else name} for r in at[name]}}
            for name in skill
        ],
        "reductions": list(reductions),
        "seeds": list(seeds),
        "rates": [0.5, 1.0, 2.0],
        "search_share": 0.25,
        "error_rate": 0.05,
    }
    groups = {f"{name}-{r}x": (name, r) for name in skill for r in at[name]}
    for place, (group, (name, reduction)) in enumerate(groups.items()):
        for seed in seeds:
            if (group, seed) not in without:
                folder = out / "cells" / f"{group}-seed{seed}-rate1"
                folder.mkdir(parents=True)
                cell = result(name, reduction, seed, skill[name], place, num_images)
                (folder / "result.json").write_text(json.dumps(cell))
    arena = {
        "config": config,
        "versions": {"opticnerve": "0.1.0", "torch": "2.13.0"},
        "hardware": {"processor": "a processor of two cores", "threads": 1},
        "command": "opticnerve arena synthetic.yaml --out here",
        "date": "2026-01-02",
        "rates": dict.fromkeys(groups, 1.0),
    }
    (out / "arena.json").write_text(json.dumps(arena))
    searched = {group: {"0.5": 0.31, "1.0": 0.42, "2.0": 0.4} for group in groups}
    (out / "rates.json").write_text(json.dumps(searched))
    write_examples(out / "examples", num=min(2, num_images))
    return out


def result(name: str, reduction: int, seed: int, skill: float, place: int, num_images: int) -> dict[str, object]:
    tokens = 256 // reduction
    chance = skill * (1 if reduction < 16 else 0.75)
    return {
        "contender": name,
        "is_baseline": name in BASELINES,
        "method": "mlp" if name == "none" else name,
        "method_options": {"reduction": reduction} if name in SELECTIONS else {},
        "view": "256 px",
        "reduction": reduction,
        "seed": seed,
        "rate": 1.0,
        "tokens": tokens,
        "encoder_flops": 1.1e9,
        "connector_flops": 2e5 * tokens * (1 + place % 3),
        "prefill_flops": 1.3e6 * (tokens + 30),
        "first_token_ms": 14 + 0.05 * tokens + 0.4 * (place % 5) + 0.1 * seed,
        "kv_bytes": 1536 * tokens,
        "trainable_params": 99_000 + 40_000 * (place % 4),
        "train_seconds": 20 + 3.0 * (place % 6) + seed,
        "steps": 550,
        "curve": [[step, 0.4 + 2.6 * (1.1 - chance) * 0.985**step] for step in range(25, 151, 25)],
        "kept": [
            {"image": f"reading/test/{i}", "grid": [16, 16], "kept": picked(f"{name}{i}", 256 // reduction)}
            for i in range(2 if name in SELECTIONS else 0)
        ],
        "answers": answers(seed * 1000 + place, chance, num_images),
    }


def answers(entropy: int, chance: float, num_images: int) -> list[dict[str, object]]:
    """Answer: half of a question's luck is its own, and the same for everybody, as some are hard."""
    questions, shared, own = random.Random(0), np.random.default_rng(7), np.random.default_rng(entropy)
    found: list[dict[str, object]] = []
    for image in range(num_images):
        for kind in KINDS:
            height = questions.randint(7, 24) if kind in ("color", "place") else None
            wanted = "".join(questions.choices("ABCDEFGH2345", k=3)) if height else str(questions.randint(1, 9))
            easy = min(0.98, chance + (0.03 * (height - 15) if height else 0.1))
            hard, luck = shared.random(), own.random()
            is_right = bool((hard if own.random() < 0.5 else luck) < easy)
            found.append(
                {
                    "image": f"reading/test/{image}",
                    "kind": kind,
                    "height_px": height,
                    "is_right": is_right,
                    "wanted": wanted,
                    "given": wanted if is_right else wanted[:-1] + "?",
                    "question": f"What <{kind}> is it?",
                }
            )
    return found


def write_examples(folder: Path, *, num: int) -> None:
    folder.mkdir(parents=True)
    for index in range(num):
        page = Image.new("RGB", (512, 512), "#f4efe4")
        draw = ImageDraw.Draw(page)
        for line in range(9):
            draw.text((24 + 50 * (line % 2), 24 + 54 * line), f"K7Q{line} {index} 4XD", fill="#1d3557", font_size=30)
        page.save(folder / f"{index}.png")
        (folder / f"{index}.json").write_text(json.dumps({"image": f"reading/test/{index}", "kept": {}}))


def picked(name: str, num: int) -> list[int]:
    return sorted(random.Random(name).sample(range(256), num))
