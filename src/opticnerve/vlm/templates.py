"""Chat templates: how messages become one prompt. What the model is to say stands between generation markers."""

from collections.abc import Mapping
from types import MappingProxyType

_VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)

PLAIN = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{ message['content'] + '\\n' }}{%- endgeneration -%}"
    "{%- else -%}{{ '<image>' * (message['content'].split('<image>') | length - 1) }}{%- endif -%}"
    "{%- endfor -%}"
)
"""The image, then its caption; the instruction is left out.

Source: LLaVA, `train.py`, `preprocess_plain` (stage I); MobileVLM likewise."""

VICUNA_V1 = (
    "{%- if messages[0]['role'] == 'system' -%}{{ messages[0]['content'] }}"
    "{%- else -%}" + _VICUNA_SYSTEM + "{%- endif -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}{{ ' USER: ' + message['content'] }}"
    "{%- elif message['role'] == 'assistant' -%}{{ ' ASSISTANT:' }}"
    "{%- generation -%}{{ ' ' + message['content'] + eos_token }}{%- endgeneration -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ ' ASSISTANT:' }}{%- endif -%}"
)
"""Source: LLaVA, `conversation.py`, `conv_vicuna_v1`. What differs: a space stands before each later "USER:" too."""

CHATML = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{ message['content'] + '<|im_end|>' }}{%- endgeneration -%}"
    "{%- else -%}{{ message['content'] + '<|im_end|>' }}{%- endif -%}"
    "{{ '\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)
"""Qwen, SmolLM2 and others; its two markers must be tokens of the tokenizer."""

TEMPLATES: Mapping[str, str] = MappingProxyType({"plain": PLAIN, "vicuna_v1": VICUNA_V1, "chatml": CHATML})
"""Chat templates by name."""

MARKERS: Mapping[str, tuple[str, ...]] = MappingProxyType({"chatml": ("<|im_start|>", "<|im_end|>")})
"""Tokens that a template needs; the last of them ends an answer."""
