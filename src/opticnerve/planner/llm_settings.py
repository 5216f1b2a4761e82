"""The settings of a language model by the names that different families give them."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from opticnerve.errors import PlanError

_PARTS = ("text_config", "llm_config", "language_config")
"""Where the settings of a vision-language model keep those of its LLM."""
_LEFT_OUT: Mapping[str, Mapping[str, Any]] = {
    "llama": {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    "mistral": {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "sliding_window": 4096,
    },
    "qwen2": {
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
    },
    "qwen3": {
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
    },
    "gemma": {
        "vocab_size": 256000,
        "hidden_size": 3072,
        "intermediate_size": 24576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 256,
    },
    "gemma2": {
        "vocab_size": 256000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "sliding_window": 4096,
    },
    "gemma3_text": {
        "vocab_size": 262208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "sliding_window": 4096,
    },
}
"""What the config.json of a vision-language model leaves out of its LLM's settings, where they are the family's own."""


class Settings:
    """Settings of one language model, looked up with a message where one is missing."""

    def __init__(self, settings: Mapping[str, Any], *, name: str) -> None:
        part: Mapping[str, Any] | None = next((settings[key] for key in _PARTS if settings.get(key)), None)
        left_out: Mapping[str, Any] = _LEFT_OUT.get(str(part.get("model_type")), {}) if part else {}
        self.values: Mapping[str, Any] = {**left_out, **part} if part else settings
        self.whole_values = settings
        self.name = name

    @property
    def kind(self) -> str:
        """The model type."""
        return str(self.values.get("model_type", ""))

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """Return a setting; one that is null counts as not there."""
        value = self.values.get(name)
        return default if value is None else value

    def is_true(self, name: str) -> bool:
        """Tell whether a setting is there and on."""
        return bool(self.get(name))

    def words(self, name: str) -> Sequence[str]:
        """Return a setting that is a list of words, empty where it is not there.

        Args:
            name: of the setting.

        Raises:
            PlanError: it is no list.
        """
        value: object = self.get(name, ())
        if not isinstance(value, list | tuple):
            raise PlanError(f"{self.name}: its config.json has {name}={value!r}, which must be a list of words")
        return [str(word) for word in cast("Sequence[object]", value)]

    def whole(self, *names: str, default: int | None = None) -> int:
        """Return the first of some settings that is there, a whole number.

        Args:
            names: of the setting, in different families.
            default: where none is there; without it one must be, and be at least 1.

        Raises:
            PlanError: none is there and there is no default, or it is no such number.
        """
        for name in names:
            value = self.get(name)
            if value is not None:
                return self._checked(name, value, least=1 if default is None else 0)
        if default is None:
            raise PlanError(
                f'{self.name}: its config.json does not say "{names[0]}", which its cost needs: take the config.json '
                f"of the language model itself, or of the whole vision-language model"
            )
        return default

    def _checked(self, name: str, value: object, *, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise PlanError(
                f"{self.name}: its config.json has {name}={value!r}, which must be a whole number of at least {least}"
            )
        return value
