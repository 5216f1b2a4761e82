"""Language models of a few thousand weights, with a tokenizer of bytes, in a folder; and images of noise."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor, assemble

NUM_BYTES = 256
SIZES = {
    "vocab_size": NUM_BYTES + 1,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
    "eos_token_id": NUM_BYTES,
    "bos_token_id": None,
    "pad_token_id": None,
}
HEADS = {**SIZES, "num_key_value_heads": 2, "head_dim": 8}
GPT2 = {"vocab_size": NUM_BYTES + 1, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 2048}
LAYERS = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16}

LLMS: dict[str, Callable[[], Any]] = {
    "llama": lambda: hf.LlamaConfig(**HEADS),
    "llama_tied": lambda: hf.LlamaConfig(**HEADS, tie_word_embeddings=True),
    "qwen2": lambda: hf.Qwen2Config(**HEADS, tie_word_embeddings=True),
    "qwen3": lambda: hf.Qwen3Config(**HEADS),
    "gemma2": lambda: hf.Gemma2Config(**HEADS, query_pre_attn_scalar=8, **LAYERS),
    "gemma3": lambda: hf.Gemma3TextConfig(**HEADS, query_pre_attn_scalar=8, **LAYERS),
    "gpt2": lambda: hf.GPT2Config(**GPT2, bos_token_id=None, eos_token_id=NUM_BYTES),
    "gpt_neox": lambda: hf.GPTNeoXConfig(**SIZES),
    "opt": lambda: hf.OPTConfig(
        **{key: value for key, value in SIZES.items() if key != "intermediate_size"}, ffn_dim=48, word_embed_proj_dim=16
    ),
    "granite": lambda: hf.GraniteConfig(**HEADS, embedding_multiplier=12.0, logits_scaling=8.0),
}
"""Families that differ in what happens to their embeddings: tied or not, scaled, projected, positions added."""

PLAIN: dict[str, Any] = {"tiling": "plain", "tiling_options": {"height_px": 64, "width_px": 64}}
"""A tiling that gives one tile of 4 x 4 patches of the bundled encoder."""
ANYRES: dict[str, Any] = {
    "tiling": "anyres",
    "tiling_options": {"tile_px": 64, "pinpoints": [[128, 64], [64, 128], [128, 128]]},
}


def tokenizer(**tokens: str) -> Any:
    """A tokenizer whose words are bytes; `tokens` are special ones."""
    vocab = {char: index for index, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    made = hf.PreTrainedTokenizerFast(tokenizer_object=core)
    made.add_special_tokens({"eos_token": "</s>", **tokens})
    return made


def save_llm(folder: Path, family: str = "llama", *, seed: int = 0) -> Path:
    """Write a language model with random weights, far from the start, and its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = hf.AutoModelForCausalLM.from_config(LLMS[family]())
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def small(folder: Path, **options: Any) -> tuple[OpticNerveForConditionalGeneration, OpticNerveProcessor]:
    """The bundled encoder, a merging connector and a language model from a folder."""
    given = {"method": "pixel_shuffle", "template": "vicuna_v1", **PLAIN, **options}
    return assemble(llm=folder, **given)


def images(*sizes: tuple[int, int], seed: int = 0) -> list[torch.Tensor]:
    """Noise of the given heights and widths."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes]


def batch(processor: OpticNerveProcessor, texts: Sequence[str], pictures: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Prompts and pictures as the model takes them."""
    options: dict[str, Any] = {"images": list(pictures)} if pictures else {}
    return dict(processor(text=list(texts), return_tensors="pt", **options))
