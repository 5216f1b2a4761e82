"""A tiny language model with a tokenizer of a few words and single characters, saved to a folder."""

import string
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
WORDS = ("what", "color", "is", "the", "circle", "red", "blue", "read", "code", "where", "user", "assistant", "system")


def save_llm(folder: Path, *, hidden_size: int = 16) -> Path:
    """Write a random Llama and its word-level tokenizer.

    Args:
        folder: made if it is not there.
        hidden_size: width.
    """
    known = [*SPECIAL, *WORDS, *string.ascii_uppercase, *string.digits, *"?.:,!\n"]
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(known)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(known),
                hidden_size=hidden_size,
                intermediate_size=2 * hidden_size,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                pad_token_id=0,
                bos_token_id=2,
                eos_token_id=3,
                tie_word_embeddings=True,
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
