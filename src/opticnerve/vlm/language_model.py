"""The language model, as it comes from a folder or the hub: read, checked, and given its placeholder."""

import json
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from opticnerve.errors import SpecError, UnknownNameError, first_line
from opticnerve.vlm.processor import IMAGE_TOKEN
from opticnerve.vlm.templates import MARKERS, TEMPLATES


def read_llm(name: str, dtype: torch.dtype) -> tuple[Any, PreTrainedTokenizerBase]:
    """Read a causal language model and its tokenizer.

    Args:
        name: folder, or name on the hub.
        dtype: of the weights.

    Raises:
        SpecError: one of them cannot be read, or the model cannot read visual tokens.
    """
    place = str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
    try:
        llm = cast("Any", AutoModelForCausalLM).from_pretrained(place, dtype=dtype, trust_remote_code=False)
        tokenizer = cast("Any", AutoTokenizer).from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise SpecError(
            f'cannot read a causal language model and its tokenizer from "{name}": {first_line(error)} Pass a folder '
            f"that holds both, or a name on the Hugging Face hub"
        ) from error
    _check_reads_embeddings(llm.eval(), name)
    llm.config.name_or_path = short_name(name)
    return llm, tokenizer


def short_name(name: str) -> str:
    """Return the last part of a folder's path, which means nothing on another machine; hub names stay as they are.

    Args:
        name: folder, or name on the hub.
    """
    path = Path(name).expanduser()
    return path.resolve().name if path.is_dir() else name


@torch.no_grad()
def _check_reads_embeddings(llm: Any, name: str) -> None:
    """Refuse an LLM that does more with a token than look its embedding up: visual tokens have no number."""
    embedding = llm.get_input_embeddings()
    ids = torch.arange(2, device=embedding.weight.device)[None]
    # The second row is no token's embedding: some look the token up by its embedding, and stop there.
    embeds = torch.cat([embedding(ids), embedding(ids) / 2])
    try:
        given, expected = (
            llm(inputs_embeds=embeds, use_cache=False).logits[:1],
            llm(input_ids=ids, use_cache=False).logits,
        )
        is_same = torch.allclose(given, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))
        reason = "its logits for embeddings are not those for their tokens"
    except (RuntimeError, ValueError, TypeError) as error:
        is_same, reason = False, first_line(error)
    if not is_same:
        raise SpecError(
            f'the language model "{name}" ({type(llm).__name__}) cannot read visual tokens: {reason}. Choose another'
        )


def choose_template(name: str, tokenizer: PreTrainedTokenizerBase, llm: str) -> str:
    """Choose the chat template.

    Args:
        name: "llm" for the tokenizer's own, or a name of `TEMPLATES`.
        tokenizer: must know the template's markers.
        llm: the language model, as it stands in the message.

    Raises:
        UnknownNameError: there is no such template.
        SpecError: the tokenizer has none of its own, or lacks the template's markers.
    """
    if name == "llm":
        own = cast("Any", tokenizer).chat_template
        if not isinstance(own, str):
            raise SpecError(
                f'the tokenizer of "{llm}" has no chat template of its own: choose template '
                f"{' or '.join(map(json.dumps, sorted(TEMPLATES)))}"
            )
        return own
    if name not in TEMPLATES:
        raise UnknownNameError("chat template", name, [*TEMPLATES, "llm"])
    known = tokenizer.get_vocab()
    missing = [marker for marker in MARKERS.get(name, ()) if marker not in known]
    if missing:
        raise SpecError(
            f'chat template "{name}" needs the tokens {", ".join(missing)}, which the tokenizer of "{llm}" lacks: '
            f"choose another template"
        )
    return TEMPLATES[name]


def add_image_token(tokenizer: PreTrainedTokenizerBase, llm: Any) -> int:
    """Give the tokenizer its placeholder. The embeddings grow only if they have no row for it.

    Args:
        tokenizer: changed in place; it pads on the left from now on, as generation needs it.
        llm: its language model; its embeddings may grow.

    Returns:
        The placeholder's number.
    """
    tokenizer.add_special_tokens({"extra_special_tokens": [IMAGE_TOKEN]}, replace_extra_special_tokens=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or IMAGE_TOKEN
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "left"  # the second of them is what is saved
    image_token_id = cast("int", tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    num_rows = llm.get_input_embeddings().num_embeddings
    if image_token_id < num_rows:
        return image_token_id
    llm.resize_token_embeddings(image_token_id + 1, mean_resizing=False)
    for module in {llm.get_input_embeddings(), llm.get_output_embeddings()}:
        _fill(module, num_rows)
    return image_token_id


@torch.no_grad()
def _fill(module: nn.Module, first: int) -> None:
    """Give new rows the mean of the old ones: a token that is neither read nor said disturbs nobody."""
    for values in module.parameters(recurse=False):
        values[first:] = values[:first].mean(0)


def set_generation(llm: Any, tokenizer: PreTrainedTokenizerBase, *, markers: tuple[str, ...]) -> None:
    """Let an LLM never say the placeholder, and stop where the template ends an answer.

    Args:
        llm: its generation config is changed in place.
        tokenizer: knows the placeholder.
        markers: tokens of the chat template; the last of them ends an answer.
    """
    generation: Any = llm.generation_config
    ends: Any = tokenizer.eos_token_id if generation.eos_token_id is None else generation.eos_token_id
    listed: list[Any] = [] if ends is None else [*cast("list[int]", ends)] if isinstance(ends, list) else [ends]
    listed += [tokenizer.convert_tokens_to_ids(marker) for marker in markers[-1:]]
    generation.eos_token_id = list(dict.fromkeys(listed)) or None
    generation.pad_token_id = tokenizer.pad_token_id
    generation.suppress_tokens = [*(generation.suppress_tokens or []), tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)]
