"""A configuration that was found, as a recipe that `opticnerve train` takes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, cast

import yaml

from opticnerve.planner import catalogue
from opticnerve.planner.catalogue import Row
from opticnerve.planner.lookup import find_row
from opticnerve.planner.planned import Planned
from opticnerve.planner.whole_files import write_whole

_TEXT_TOKENS = 2048
"""Room for text beside the visual tokens: LLaVA-1.5's longest sample."""
_SOURCE = "opticnerve plan --budget; stages: haotian-liu/LLaVA, scripts/v1_5/pretrain.sh and finetune.sh"
_DATA = {
    "align": ("images with captions, as LLaVA JSON", "the folder of its images"),
    "instruct": ("conversations about images, as LLaVA JSON", "the folder of its images"),
}


def recipe_text(planned: Planned, *, name: str = "planned") -> str:
    """Write a configuration as a recipe: the parts as they were planned, trained in LLaVA-1.5's two stages.

    What only the user knows, the data, and a folder for parts that come with code of their own, stands as "??? ...".

    Args:
        planned: the configuration.
        name: of the recipe.

    Returns:
        YAML; what was planned stands at its head as a comment.
    """
    choice, plan = planned.choice, planned.plan
    model = {
        "encoder": _trainable(choice.encoder, catalogue.encoders()),
        "layers": choice.layers,
        "tiling": choice.tiling,
        "tiling_options": choice.tiling_options,
        "scales": choice.scales,
        "method": choice.method,
        "method_options": choice.method_options,
        "llm": _trainable(choice.llm, catalogue.llms()),
    }
    room = -(-(_TEXT_TOKENS + plan.visual_tokens) // 1024) * 1024
    stages = [
        {**_stage("align", {"connector": 1e-3}, max_tokens=room), "batch_size": 256, "template": "plain"},
        {**_stage("instruct", {"connector": 2e-5, "llm": 2e-5}, max_tokens=room), "group_by_length": True},
    ]
    recipe = {"name": name, "source": _SOURCE, "model": model, "num_workers": 4, "stages": stages}
    body = yaml.safe_dump(_plain(recipe), sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    head = [f"# {line}" for text in _head(planned) for line in wrap(text, 117, break_long_words=False)]
    return "\n".join(head) + f"\n{body}"


def write_recipes(found: Sequence[Planned], folder: str | Path) -> tuple[Path, ...]:
    """Write configurations as recipes, named by rank and content, such as 01-pixel_shuffle-internvl-972.yaml.

    Args:
        found: best first.
        folder: is made; recipes of the same name are replaced.

    Returns:
        The files, in the order of `found`.

    Raises:
        PlanError: they cannot be written.
    """
    written: list[Path] = []
    for rank, planned in enumerate(found, start=1):
        choice = planned.choice
        name = f"{rank:02d}-{choice.method}-{choice.tiling}-{planned.plan.visual_tokens}"
        written.append(Path(folder) / f"{name}.yaml")
        write_whole(written[-1], recipe_text(planned, name=name).encode(), what="recipe")
    return tuple(written)


def _head(planned: Planned) -> Iterator[str]:
    """Say what was planned, a paragraph each."""
    plan = planned.plan
    look, demand, first = plan.look, plan.demand, plan.timing.first_token_ms
    size = f"{look.width_px} x {look.height_px} px"
    yield f"{planned.words}. Planned for images of {size} (width x height), {demand.images_per_prompt} in a prompt."
    yield f"Visual tokens: {plan.visual_tokens} of {plan.prompt_tokens} tokens of a prompt."
    yield (
        f"Detail: type of {planned.readable_px:.0f} px of the image is readable; {planned.pixels_per_token:.0f} pixels "
        f"of the image to a visual token."
    )
    yield (
        f"On {plan.device} in {demand.dtype}, {demand.batch} at once: first token after {first.low:.0f} to "
        f"{first.high:.0f} ms; cache {plan.cache_bytes / 2**20:.0f} MiB a prompt; {plan.max_batch} prompts fit."
    )
    yield (
        "The stages are those of LLaVA-1.5. Samples with more than max_tokens, such as those of images with many more "
        "visual tokens than these, are skipped; micro_batch_size is what your device holds at once."
    )


def _stage(name: str, rates: Mapping[str, float], *, max_tokens: int) -> dict[str, Any]:
    path, images = _DATA[name]
    return {
        "name": name,
        "open": rates,
        "data": [{"kind": "llava", "path": f"??? {path}", "images": f"??? {images}"}],
        "epochs": 1,
        "batch_size": 128,
        "micro_batch_size": 4,
        "schedule": "cosine",
        "warmup_ratio": 0.03,
        "weight_decay": 0,
        "max_tokens": max_tokens,
        "precision": "bf16",
        "gradient_checkpointing": True,
    }


def _trainable(name: str, rows: Mapping[str, Row]) -> str:
    """Return the name from which training loads a part, or what the user has to bring."""
    from transformers import CONFIG_MAPPING

    row = find_row(name, rows)
    if row is None:
        return name
    if row.facts["model_type"] in CONFIG_MAPPING:
        return row.name
    return f"??? a folder with {row.name} in transformers' own format: as published it needs code of its own"


def _plain(value: object) -> object:
    """Bring mappings and sequences to what YAML has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in cast("Sequence[object]", value)]
    return value
