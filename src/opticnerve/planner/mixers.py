"""What mixes tokens in a layer of a language model: attention of several kinds, and what each keeps for later."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from typing_extensions import override

_STATE_BYTES = 4
"""Bytes of one number of a state, which is kept in float32 whatever the keys and values are in."""
_CHUNK = 64
"""Tokens of a prompt that the gated delta rule computes at once (transformers, flash-linear-attention)."""


class Mixer(ABC):
    """How tokens of a layer see each other."""

    @abstractmethod
    def num_params(self, dim: int) -> int:
        """Count the learned numbers.

        Args:
            dim: width of the layer.
        """

    @abstractmethod
    def flops(self, dim: int, *, new: int, past: int) -> int:
        """Count the operations for some tokens of one sequence.

        Every new token is counted as if it saw all that a token of the layer can see, as torch's counter does for
        unmasked attention: a causal mask saves nothing, a window does.

        Args:
            dim: width of the layer.
            new: tokens to compute.
            past: tokens that are cached before them.
        """

    @abstractmethod
    def cached_bytes(self, tokens: int, *, value_bytes: int) -> int:
        """Count the bytes that a layer keeps for one sequence.

        Args:
            tokens: of the sequence so far.
            value_bytes: bytes of one number of the keys and values.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupedAttention(Mixer):
    """Attention whose keys and values serve several heads each: MHA, GQA and MQA, over everything or a window."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    window: int = 0
    """Tokens that each token sees, itself included; 0 for all."""
    is_gated: bool = False
    """What the heads give is gated, channel by channel, by one more map as wide as the queries."""
    num_biases: int = 0
    """Learned biases, sinks, and scales of normed queries and keys."""

    @override
    def num_params(self, dim: int) -> int:
        return self._weights(dim) + self.num_biases

    def _weights(self, dim: int) -> int:
        heads = (3 if self.is_gated else 2) * self.num_heads + 2 * self.num_kv_heads
        return dim * heads * self.head_dim

    @override
    def flops(self, dim: int, *, new: int, past: int) -> int:
        seen = min(new + past, self.window) if self.window else new + past
        return 2 * new * self._weights(dim) + 4 * new * seen * self.num_heads * self.head_dim

    @override
    def cached_bytes(self, tokens: int, *, value_bytes: int) -> int:
        # the newest token is in its own step, so that a window needs one less from the cache
        kept = min(tokens, self.window - 1) if self.window else tokens
        return 2 * kept * self.num_kv_heads * self.head_dim * value_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentAttention(Mixer):
    """Multi-head latent attention (DeepSeek-V2, section 2.1): keys and values are made from a short vector a token."""

    num_heads: int
    q_rank: int
    """Width between the two maps of queries; 0 for one map."""
    kv_rank: int
    """Width of the vector that is kept for each token."""
    nope_dim: int
    """Channels of a head's keys without positions."""
    rope_dim: int
    """Channels of the key with rotary positions, one for all heads."""
    v_dim: int
    """Channels of a head's values."""

    @override
    def num_params(self, dim: int) -> int:
        norms = self.q_rank + self.kv_rank
        return self._weights(dim) + norms

    def _weights(self, dim: int) -> int:
        keys = self.num_heads * (self.nope_dim + self.rope_dim)
        queries = self.q_rank * (dim + keys) if self.q_rank else dim * keys
        down = dim * (self.kv_rank + self.rope_dim)
        return queries + down + self._up + self.num_heads * self.v_dim * dim

    @property
    def _up(self) -> int:
        """Weights from the short vector to the keys and values of all heads."""
        return self.kv_rank * self.num_heads * (self.nope_dim + self.v_dim)

    @override
    def flops(self, dim: int, *, new: int, past: int) -> int:
        """Count the operations for some tokens of one sequence, in the cheaper of two orders.

        Either the short vectors of earlier tokens are made into keys and values again, as transformers does, or queries
        are brought to the short vectors and compared there (DeepSeek-V2, section 2.1.2), as servers do for one token.

        Args:
            dim: width of the layer.
            new: tokens to compute.
            past: tokens that are cached before them.
        """
        pairs = 2 * new * (new + past) * self.num_heads
        expanded = 2 * past * self._up + pairs * (self.nope_dim + self.rope_dim + self.v_dim)
        absorbed = pairs * (2 * self.kv_rank + self.rope_dim)
        return 2 * new * self._weights(dim) + min(expanded, absorbed)

    @override
    def cached_bytes(self, tokens: int, *, value_bytes: int) -> int:
        return tokens * (self.kv_rank + self.rope_dim) * value_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class GatedDelta(Mixer):
    """Gated delta rule (Qwen3-Next, Qwen3.5): a state of fixed size instead of keys and values."""

    num_key_heads: int
    num_value_heads: int
    key_dim: int
    """Channels of a key head."""
    value_dim: int
    """Channels of a value head."""
    kernel: int
    """Tokens that the short convolution sees."""

    @property
    def _widths(self) -> tuple[int, int]:
        return self.num_key_heads * self.key_dim, self.num_value_heads * self.value_dim

    @override
    def num_params(self, dim: int) -> int:
        return self._weights(dim) + 2 * self.num_value_heads + self.value_dim

    def _weights(self, dim: int) -> int:
        keys, values = self._widths
        maps = dim * (2 * keys + 2 * values + 2 * self.num_value_heads) + values * dim
        return maps + (2 * keys + values) * self.kernel

    @override
    def flops(self, dim: int, *, new: int, past: int) -> int:
        del past
        # the state is asked twice and written once; tokens of a prompt also meet those of their chunk
        state = 3 * self.key_dim * self.value_dim
        chunk = _CHUNK * (2 * self.key_dim + self.value_dim) if new > 1 else 0
        return 2 * new * (self._weights(dim) + self.num_value_heads * (state + chunk))

    @override
    def cached_bytes(self, tokens: int, *, value_bytes: int) -> int:
        keys, values = self._widths
        recent = (2 * keys + values) * self.kernel
        state = self.num_value_heads * self.key_dim * self.value_dim
        return recent * value_bytes + state * _STATE_BYTES if tokens else 0
