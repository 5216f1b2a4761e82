"""A language model, an encoder and data, small enough to train in a second."""

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import LlamaConfig, LlamaForCausalLM

from encoders.tiny import TOWERS, save
from opticnerve.train.recipe import Recipe
from opticnerve.train.small_llm import small_tokenizer

NUM_SAMPLES = 24


def build(folder: Path) -> Path:
    """Write encoder/, llm/ and data.json with images/ into a folder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save(TOWERS["siglip"](), folder / "encoder")
        tokenizer = small_tokenizer()
        config = LlamaConfig(
            vocab_size=len(tokenizer) + 1,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=2,
            attention_dropout=0.1,  # so that the random state matters
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
        LlamaForCausalLM(config).save_pretrained(folder / "llm")
        tokenizer.save_pretrained(folder / "llm")
    (folder / "images").mkdir()
    (folder / "data.json").write_text(json.dumps([_record(folder / "images", number) for number in range(NUM_SAMPLES)]))
    return folder


def _record(images: Path, number: int) -> dict[str, Any]:
    """Every fourth sample has no image; lengths differ."""
    answer = " ".join("ABCDEFGH"[(number + i) % 8] for i in range(2 + number % 5))
    turns = [{"from": "human", "value": "read the code?"}, {"from": "gpt", "value": answer}]
    if number % 4 == 3:
        return {"id": str(number), "conversations": turns}
    name = f"{number}.png"
    Image.new("RGB", (28 + number, 40), (10 * number, 255 - 10 * number, 128)).save(images / name)
    turns[0]["value"] = "<image>\n" + turns[0]["value"]
    return {"id": str(number), "image": name, "conversations": turns}


def stage(parts: Path, **changes: object) -> dict[str, Any]:
    """A stage as plain data."""
    settings: dict[str, Any] = {
        "name": "align",
        "open": {"connector": 1e-2},
        "data": [{"kind": "llava", "path": str(parts / "data.json"), "images": str(parts / "images")}],
        "steps": 6,
        "batch_size": 4,
        "micro_batch_size": 4,
        "precision": "fp32",
    }
    return {**settings, **changes}


def recipe(parts: Path, *stages: dict[str, Any], **changes: object) -> Recipe:
    """A recipe of the tiny parts."""
    settings: dict[str, Any] = {
        "name": "tiny",
        "source": "tests",
        "model": {"encoder": str(parts / "encoder"), "llm": str(parts / "llm"), "method": "mlp"},
        "stages": stages or (stage(parts),),
        "save_every": 2,
        "log_every": 1,
    }
    return Recipe.model_validate({**settings, **changes})


class Listener:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.starts: list[Any] = []
        self.steps: list[Any] = []
        self.lines: list[str] = []

    def started(self, report: Any) -> None:
        self.starts.append(report)

    def stepped(self, report: Any) -> None:
        self.steps.append(report)

    def said(self, line: str) -> None:
        self.lines.append(line)


def losses(out: Path, key: str = "loss") -> dict[tuple[str, int], float]:
    """The loss of each step, or another number, as the last line about it has it."""
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return {(each["stage"], each["step"]): each[key] for each in entries if each["event"] == "step"}
