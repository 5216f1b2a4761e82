"""What a trained cell is worth: its answers and its costs."""

from collections.abc import Sequence
from typing import Any, cast

import torch

from opticnerve.arena.budget import planned_tokens
from opticnerve.arena.cells import Cell
from opticnerve.arena.config import ArenaConfig
from opticnerve.arena.questions import Page
from opticnerve.connectors.blocks.reduction import ReduceBlock
from opticnerve.errors import SpecError
from opticnerve.evaluate import Evaluation, evaluate
from opticnerve.planner import VisionLanguageModel, read_llm
from opticnerve.planner.encoder import BuiltEncoder, module_depth
from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor

NUM_TIMED = 20
"""Images whose first question is also asked alone, for the time to the first token."""
NUM_EXAMPLES = 4
"""Images of the test of which it is kept what selections keep."""
_VALUE_BYTES = 2
"""Of a cached key or value: bfloat16."""


def assess(
    config: ArenaConfig,
    cell: Cell,
    model: OpticNerveForConditionalGeneration,
    processor: OpticNerveProcessor,
    asked: Sequence[Page],
) -> dict[str, Any]:
    """Ask a trained cell, and count what it costs.

    Args:
        config: the arena.
        cell: what was trained.
        model: in evaluation mode.
        processor: the model's.
        asked: images and questions.

    Returns:
        Plain data.

    Raises:
        SpecError: an image has more or fewer visual tokens than the budget.
    """
    budget = planned_tokens(config, cell.reduction, model.config.sight.info)
    for page in asked:
        if (given := processor.num_image_tokens(*page.size)) != budget:
            height, width = page.size
            raise SpecError(
                f"{page.asked.name}, {height} x {width} px, has {given} visual tokens, and the budget of {cell.group}"
                f" is {budget}: choose a view that gives all images the same number"
            )
    found = evaluate(
        model,
        processor,
        [page.asked for page in asked],
        max_new_tokens=config.max_new_tokens,
        num_timed=0 if cell.is_search else NUM_TIMED,
    )
    if found.visual_tokens != (budget, budget, budget):
        raise AssertionError(f"{cell.group} was given {found.visual_tokens} visual tokens, planned {budget}")
    return {
        "tokens": budget,
        **_costs(model, processor, asked[0], budget),
        "first_token_ms": 0.0 if cell.is_search else round(found.first_token_ms, 2),
        "answers": _answers(found, asked),
        "kept": [] if cell.is_search else _kept(model, asked[:NUM_EXAMPLES]),
    }


def facts(config: ArenaConfig, cell: Cell) -> dict[str, Any]:
    """Say what a cell is.

    Args:
        config: the arena.
        cell: which one.
    """
    return {
        "contender": cell.contender.name,
        "is_baseline": cell.contender.is_baseline,
        "is_elastic": cell.contender.is_elastic,
        "method": cell.entrant.method,
        "method_options": cell.entrant.method_options,
        "view": config.view(cell.entrant).name,
        "reduction": cell.reduction,
        "seed": cell.seed,
        "rate": cell.rate,
    }


def _answers(found: Evaluation, asked: Sequence[Page]) -> list[dict[str, Any]]:
    heights = [height for page in asked for height in page.heights_px]
    return [
        {
            "image": one.image,
            "kind": one.kind,
            "height_px": height,
            "is_right": one.is_right,
            "wanted": one.wanted,
            "given": one.given,
            "question": one.question,
        }
        for one, height in zip(found.answers, heights, strict=True)
    ]


def _costs(
    model: OpticNerveForConditionalGeneration, processor: OpticNerveProcessor, page: Page, tokens: int
) -> dict[str, Any]:
    """Count the operations of one image and question up to the first token, and what is cached of the image."""
    encoder, config = model.parts["encoder"], model.config
    planned = VisionLanguageModel(
        name="cell",
        encoder=BuiltEncoder(encoder=cast("Any", encoder), depth=module_depth(cast("Any", encoder))),
        sight=config.sight,
        spec=config.spec,
        llm=read_llm(cast("Any", config.text_config).to_dict(), name="the language model"),
    )
    look = planned.look(*page.size)
    question = next(iter(page.asked.questions)).text
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}],
        tokenize=False,
        add_generation_prompt=True,
    )
    text = len(processor.tokenizer(prompt, add_special_tokens=False)["input_ids"]) - 1  # the image's mark
    return {
        "encoder_flops": look.encoder_flops,
        "connector_flops": look.connector_flops,
        "prefill_flops": planned.llm.flops(new=tokens + text),
        "kv_bytes": planned.llm.cached_bytes(tokens, value_bytes=_VALUE_BYTES),
    }


@torch.inference_mode()
def _kept(model: OpticNerveForConditionalGeneration, asked: Sequence[Page]) -> list[dict[str, Any]]:
    """Say which patches a selection keeps of some images, where it sees each as one map."""
    first = model.model.multi_modal_projector.connector.blocks[0]
    if not isinstance(first, ReduceBlock):
        return []
    kept: list[dict[str, Any]] = []
    for page in asked:
        (image,) = page.asked.images
        grid, *more = model.config.sight.grids(model.config.sight.plan(*page.size))
        if more:
            return []
        views = [tiles.to(model.device) for tiles in model.config.sight.views(image)]
        features = model.image_features(views, torch.tensor([page.size]))
        found = first.reduce(features[None].float(), grid)
        kept.append(
            {
                "image": page.asked.name,
                "grid": [grid.rows, grid.cols],
                "kept": cast("list[int]", found.kept[0].tolist()),
            }
        )
    return kept
