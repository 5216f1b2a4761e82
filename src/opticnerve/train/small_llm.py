"""A small causal language model that knows the words of the reading task, to be trained from nothing."""

from pathlib import Path

import torch
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from opticnerve.data.reading import words_of_questions
from opticnerve.encoders.bundled.probe import ALPHABET

SMALL_LLM: str = "small"
"""What a recipe names as its LLM to get this one."""

PAD, UNKNOWN, USER, ASSISTANT, END = "<|pad|>", "<|unknown|>", "<|user|>", "<|assistant|>", "<|end|>"

CHAT_TEMPLATE: str = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}{{ '" + ASSISTANT + "' }}"
    "{%- generation -%}{{ message['content'] + '" + END + "' }}{%- endgeneration -%}"
    "{%- else -%}{{ '" + USER + "' + message['content'] }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '" + ASSISTANT + "' }}{%- endif -%}"
)
"""One token before each turn, and one after each answer."""


def small_tokenizer() -> PreTrainedTokenizerFast:
    """Make the tokenizer: a token for each word of the reading task, and codes character by character."""
    special = [PAD, UNKNOWN, USER, ASSISTANT, END]
    words = [*special, "?", ".", *words_of_questions(), *ALPHABET, *(f"##{symbol}" for symbol in ALPHABET)]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token=UNKNOWN, continuing_subword_prefix="##"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        extra_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=2048,
    )


def small_llm(*, seed: int) -> Qwen3ForCausalLM:
    """Make the model with random weights: a Qwen3 of 0.4 M parameters.

    Its normed queries and keys learn to find things in fewer steps than a Llama's.

    Args:
        seed: of the weights. The state of torch's own generator is left as it was.
    """
    number = small_tokenizer().get_vocab()
    config = Qwen3Config(
        vocab_size=len(number) + 1,  # and the placeholder of images
        hidden_size=128,
        intermediate_size=160,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=2048,
        initializer_range=0.06,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
        pad_token_id=number[PAD],
        bos_token_id=number[USER],
        eos_token_id=number[END],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)


def write_small_llm(folder: Path, *, seed: int) -> None:
    """Write model and tokenizer as a folder that every reader of transformers takes.

    Args:
        folder: made if it is not there.
        seed: of the weights.
    """
    model = small_llm(seed=seed)
    # Each process writes a folder of its own, and `model.save_pretrained` writes in the first process only.
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    weights = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}  # tied
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    small_tokenizer().save_pretrained(folder)
