"""Train the bundled encoder from scratch on one CPU thread: `python scripts/bundled_encoder/train.py --minutes 58`.

Stage one trains the stem alone to name the character centred in each small cell (without it nothing learns to read in
this budget); stage two trains everything. The scene of step i depends on the seed alone. With `--steps` the learning
rate follows the step and a run repeats itself on the same machine; with `--minutes` it follows the clock. Bits may
differ between CPUs, thread counts and torch versions.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path
from typing import Any

import torch
from export import export
from labels import Batch, draw_batch
from losses import Trainee
from measure import score
from render import Recipe
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

STAGE_ONE = 0.1
MUON_SCALE = 2.0
"""Muon's learning rate over AdamW's."""
SIZES = ((128, 128),) * 7 + ((96, 176), (176, 96), (256, 256))
"""Image sizes, height and width in px; one in ten batches holds whole views."""


def recipes_at(progress: float) -> tuple[Recipe, Recipe]:
    """Give the thumbnail and the tile recipe: small type comes in during stage one, long words early in stage two."""
    ease = min(progress / STAGE_ONE, 1.0)
    lengths = (1, 2, 3, 3) if progress < STAGE_ONE + 0.05 else Recipe().word_lengths
    thumbnail = Recipe(font_px=(11 - 4.5 * ease, 19), word_lengths=lengths)
    tile = Recipe(font_px=(18 - 5 * ease, 38), word_lengths=lengths, scale=(0.85, 1.25), attempts_per_megapixel=500)
    return thumbnail, tile


class Scenes:
    """Batches of which half is new and half was seen once before: drawing costs a third of a training step."""

    def __init__(self, *, seed: int, batch: int) -> None:
        self.seed, self.batch = seed, batch
        self.old: dict[tuple[int, int], list[Batch]] = {}

    def at(self, step: int, recipes: tuple[Recipe, ...]) -> Batch:
        """Draw the batch of a step."""
        rng = random.Random(self.seed * 1_000_003 + step)
        height, width = rng.choice(SIZES)
        count = max(2, round(self.batch * 128 * 128 / (height * width)) // 2 * 2)
        new = draw_batch(rng, recipes=recipes, count=count // 2, height_px=height, width_px=width)
        pool = self.old.setdefault((height, width), [])
        old = pool.pop(rng.randrange(len(pool))) if len(pool) >= 64 else None
        pool.append(new)
        if old is None:
            return new
        both = {name: torch.cat([getattr(new, name), getattr(old, name)]) for name in Batch.__slots__}
        return Batch(**both)


def make_optimizers(model: Trainee, *, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for all else."""
    matrices = {id(p) for p in model.encoder.blocks.parameters() if p.ndim == 2}
    muon = [p for p in model.parameters() if id(p) in matrices]
    decayed = [p for p in model.parameters() if id(p) not in matrices and p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    return [
        torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True),
        torch.optim.Muon(muon, lr=MUON_SCALE * lr, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
    ]


def rate_at(progress: float, step: int, stage_step: int) -> float:
    """Scale the learning rate: a short warm-up before each stage, level in stage one, then a cosine down to 1 %."""
    decay = max(0.0, (progress - STAGE_ONE) / (1 - STAGE_ONE))
    cosine = (1 + math.cos(math.pi * min(decay, 1.0))) / 2
    return min(1.0, (step + 1) / 100, (stage_step + 1) / 200) * (0.01 + 0.99 * cosine)


def train_step(model: Trainee, batch: Batch, *, stem_only: bool, rng: random.Random) -> dict[str, Tensor]:
    """Run forward and backward; return the losses."""
    pixels = batch.pixels.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        cells = model.encoder.cells(pixels)
        losses = model.cell_losses(cells, batch)
        if not stem_only:
            rows = pixels.shape[2] // 16
            offset = (rng.randrange(17), rng.randrange(17)) if rng.random() < 0.8 else (0, 0)
            features = model.encoder.blocks_forward(cells, offset=offset)
            losses = {key: 0.5 * loss for key, loss in losses.items()} | model.patch_losses(features, batch, rows=rows)
    torch.stack(list(losses.values())).sum().backward()
    return losses


class Run:
    """A training run that survives being killed: everything it needs is in one checkpoint."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.model = Trainee().to(memory_format=torch.channels_last)
        self.optimizers = make_optimizers(self.model, lr=args.lr)
        self.state: dict[str, Any] = {"step": 0, "stage_two": 0, "images": 0, "seconds": 0.0}
        self.checkpoint = args.out / "checkpoint.pt"
        if self.checkpoint.exists():
            self.state = torch.load(self.checkpoint, weights_only=True)
            self.model.load_state_dict(self.state.pop("model"))
            for opt, saved in zip(self.optimizers, self.state.pop("optimizers"), strict=True):
                opt.load_state_dict(saved)
        self.scenes = Scenes(seed=args.seed, batch=args.batch)
        self.began = time.perf_counter() - self.state["seconds"]
        self.totals: dict[str, float] = {}

    def tick(self) -> float:
        """Bring the clock and the stage up to date; return the share of the run that is done."""
        seconds, step = time.perf_counter() - self.began, self.state["step"]
        progress = step / self.args.steps if self.args.steps else seconds / (60 * self.args.minutes)
        self.state["seconds"] = seconds
        if progress >= STAGE_ONE and not self.state["stage_two"]:
            self.state["stage_two"] = step
        return progress

    def update(self, progress: float) -> None:
        """Take one step."""
        step, began = self.state["step"], self.state["stage_two"]
        stem_only = not began
        rate = rate_at(progress, step, step - began)
        for opt, scale in zip(self.optimizers, (1.0, MUON_SCALE), strict=True):
            for group in opt.param_groups:
                group["lr"] = self.args.lr * scale * rate
        self.model.train()
        if progress > 0.8:  # the last fifth trains what will ship: fixed normalisation
            self.model.encoder.stem.eval()
            self.model.encoder.embed.eval()
        batch = self.scenes.at(step, recipes_at(progress))
        losses = train_step(self.model, batch, stem_only=stem_only, rng=random.Random(step))
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        for opt in self.optimizers[: 1 if stem_only else 2]:
            opt.step()
        self.model.zero_grad(set_to_none=True)
        for key, loss in losses.items():
            self.totals[key] = self.totals.get(key, 0.0) + loss.item() / self.args.log_every
        self.state |= {"step": step + 1, "images": self.state["images"] + len(batch.pixels)}
        if self.state["step"] % self.args.log_every == 0:
            self.log({"rate": round(rate, 4)} | {key: round(value, 4) for key, value in self.totals.items()})
            self.totals = {}

    def save(self) -> None:
        """Write the checkpoint, export the encoder, and log its scores on the validation scenes."""
        saved = {"model": self.model.state_dict(), "optimizers": [opt.state_dict() for opt in self.optimizers]}
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(self.state | saved, partial)
        partial.replace(self.checkpoint)  # a kill leaves the old file whole
        encoder, probe = export(self.model.encoder, self.model.probe, folder=self.args.out)
        self.log({"images": self.state["images"]} | score(encoder, probe, seed=777, scenes=24))

    def log(self, entry: dict[str, Any]) -> None:
        """Add one JSON line to the log."""
        with (self.args.out / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": self.state["step"], "seconds": round(self.state["seconds"])} | entry) + "\n")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=58.0, help="wall time, with the exports")
    parser.add_argument("--steps", type=int, default=0, help="let the schedule follow steps, not the clock")
    parser.add_argument("--batch", type=int, default=24, help="images of 128 x 128 px a step, an even number")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate of AdamW")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/bundled_encoder"), help="checkpoint, log and exports")
    parser.add_argument("--log-every", type=int, default=100, help="steps")
    parser.add_argument("--export-every", type=float, default=300.0, help="seconds")
    return parser.parse_args()


def main() -> None:
    """Train, or go on where an earlier run with the same --out stopped."""
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(args.seed)
    run = Run(args)
    saved_at = run.state["seconds"]
    while (progress := run.tick()) < 1:
        if run.state["seconds"] - saved_at > args.export_every:
            saved_at = run.state["seconds"]
            run.save()
        run.update(progress)
    run.save()


if __name__ == "__main__":
    main()
