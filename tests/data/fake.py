"""A processor that needs no model: a tokenizer of single characters, and one visual token for each 8 x 8 px."""

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from opticnerve.errors import ImageError

CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %}
"""

MARKED = """\
{{- bos_token }}
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{{- 'ASSISTANT: ' }}{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}{{ ' ' }}
{%- else %}
{{- message.role | upper + ': ' + message.content + ' ' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- 'ASSISTANT: ' }}{% endif %}
"""

SPECIAL = ("<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>", "<image>")


def byte_tokenizer(*, adds_bos: bool = False, eos: str = "<|im_end|>") -> PreTrainedTokenizerFast:
    """Each byte is a token; spaces are tokens too."""
    vocabulary = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    start = tokenizer.token_to_id("<s>")
    bos = [processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])] if adds_bos else []
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), *bos])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token=eos,
        pad_token="<pad>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>", "<image>"],
    )


def piece_tokenizer(*, is_legacy: bool) -> PreTrainedTokenizerFast:
    """As Llama's: spaces belong to the word behind them, unknown letters are spelled in bytes."""
    letters = [
        *SPECIAL,
        "<unk>",
        "\u2581",
        "\n",
        *map(chr, range(33, 127)),
        *(f"<0x{byte:02X}>" for byte in range(256)),
    ]
    known = {letter: index for index, letter in enumerate([*letters, "\u2581T", "\u2581Tw", "\u2581Two"])}
    merges = [("\u2581", "T"), ("\u2581T", "w"), ("\u2581Tw", "o")]
    tokenizer = Tokenizer(models.BPE(vocab=known, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if is_legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )


class FakeProcessor:
    """As much of a processor as data preparation asks for."""

    image_token = "<image>"

    def __init__(self, template: str = CHATML, tokenizer: PreTrainedTokenizerFast | None = None) -> None:
        self.tokenizer: Any = tokenizer or byte_tokenizer()
        self.chat_template: Any = template
        self.views_made = 0

    @property
    def image_token_id(self) -> int:
        return self.tokenizer.convert_tokens_to_ids("<image>")

    def num_image_tokens(self, height_px: int, width_px: int) -> int:
        if width_px > 100 * height_px:
            raise ImageError(f"an image of {height_px} x {width_px} px is too wide")
        return -(-height_px // 8) * -(-width_px // 8)

    def views(self, image: Tensor) -> list[Tensor]:
        self.views_made += 1
        return [image[None, :, ::8, ::8].contiguous()]

    def collate_views(self, images: list[tuple[Sequence[Tensor], tuple[int, int]]]) -> dict[str, Any]:
        return {
            "pixel_values": [view for views, _ in images for view in views],
            "image_sizes": torch.tensor([size for _, size in images]),
        }


def decoded(processor: FakeProcessor, ids: Tensor) -> str:
    """The text of ids; each visual token as one mark."""
    return processor.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
