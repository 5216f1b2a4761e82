"""What a choice costs, as plain numbers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from opticnerve.planner.demand import Demand
from opticnerve.planner.model import Look
from opticnerve.planner.ranges import Range

STAGES = ("preprocess", "encode", "connect", "prefill")
"""What happens until the first token, in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """How long a batch of prompts takes on a device."""

    stages: Mapping[str, Range]
    """Milliseconds of each of `STAGES`."""
    first_token_ms: Range
    """From encoded image files to the first token of every prompt of the batch."""
    tokens_per_s: Range
    """Tokens of the answer for one prompt, at the end of the prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """What fewer visual tokens would gain, everything else being as it is."""

    factor: int
    """By which the visual tokens are divided."""
    prompt_tokens: int
    first_token_ms: Range
    gain: float
    """Time to first token before, over after: in the middle of both ranges."""
    cache_bytes: int
    max_batch: int
    """Prompts that fit the device's memory at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What one image size, model, device and demand come to."""

    model: str
    encoder: str
    llm: str
    connector: str
    device: str
    demand: Demand
    look: Look
    """One image."""
    visual_tokens: int
    """Of all images of a prompt."""
    prompt_tokens: int
    """Visual tokens, separators and text of a prompt."""
    encoder_params: int
    connector_params: int
    llm_params: int
    llm_active_params: int
    """Parameters of the LLM that one token meets."""
    encoder_flops: int
    """For all images of one prompt, as those below."""
    connector_flops: int
    prefill_flops: int
    decode_flops: int
    """For one token at the end of the prompt."""
    weight_bytes: int
    activation_bytes: int
    """Estimate of what is alive at the widest moment, for the whole batch."""
    cache_bytes: int
    """Keys and values (or states) of one prompt and its answer."""
    max_batch: int
    """Prompts that fit the device's memory at once; 0 where not even one does."""
    notes: tuple[str, ...]
    """What was chosen where nobody had said, in sentences."""
    timing: Timing
    cuts: tuple[Cut, ...]
    verdict: str
    """Whether fewer tokens are worth it, in a sentence or two."""

    @property
    def params(self) -> int:
        """Learned numbers of all parts."""
        return self.encoder_params + self.connector_params + self.llm_params

    @property
    def total_bytes(self) -> int:
        """Weights, activations, and the caches of the batch."""
        return self.weight_bytes + self.activation_bytes + self.demand.batch * self.cache_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        totals = {"params": self.params, "total_bytes": self.total_bytes}
        return {**asdict(self), **totals}
