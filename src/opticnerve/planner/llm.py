"""A language model as numbers: parameters, operations, and bytes of its cache, without a weight or a tensor."""

from dataclasses import dataclass

from opticnerve.planner.mixers import Mixer


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedForward:
    """The map over channels of a layer: one for all tokens, or experts of which each token takes some."""

    dim: int
    """Channels in the middle; of one expert, where there are several."""
    is_gated: bool = True
    """Two maps up, one of which gates the other."""
    num_experts: int = 1
    num_active: int = 1
    """Experts that a token goes through."""
    shared_dim: int = 0
    """Channels in the middle of what all tokens go through beside the experts."""
    is_shared_gated: bool = False
    """One learned map to a number says how much of the shared part is added."""
    num_biases: int = 0

    def num_params(self, dim: int) -> int:
        """Count the learned numbers.

        Args:
            dim: width of the layer.
        """
        return self._maps * dim * (self.num_experts * self.dim + self.shared_dim) + self._router(dim) + self.num_biases

    def active_params(self, dim: int) -> int:
        """Count the learned numbers that one token meets.

        Args:
            dim: width of the layer.
        """
        return self._maps * dim * (self.num_active * self.dim + self.shared_dim) + self._router(dim) + self.num_biases

    def touched_params(self, dim: int, tokens: int) -> float:
        """Expect how many learned numbers some tokens meet together, experts being chosen evenly.

        Args:
            dim: width of the layer.
            tokens: how many.
        """
        expert = self._maps * dim * self.dim
        met = self.num_experts * (1 - (1 - self.num_active / self.num_experts) ** tokens)
        return self.active_params(dim) + (met - self.num_active) * expert

    def flops(self, dim: int, *, new: int) -> int:
        """Count the operations for some tokens.

        Args:
            dim: width of the layer.
            new: tokens to compute.
        """
        middle = self.num_active * self.dim + self.shared_dim
        return 2 * new * (self._maps * dim * middle + self._router(dim))

    @property
    def _maps(self) -> int:
        return 3 if self.is_gated else 2

    def _router(self, dim: int) -> int:
        experts = self.num_experts if self.num_experts > 1 else 0
        return dim * (experts + self.is_shared_gated)


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One layer."""

    mixer: Mixer
    feed_forward: FeedForward
    num_norms: int = 2
    """Learned vectors of the layer's width."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LLM:
    """A causal language model as the planner sees it."""

    name: str
    dim: int
    """Width of the embeddings."""
    vocab: int
    """Rows of the embedding table."""
    layers: tuple[Layer, ...]
    is_tied: bool = False
    """The output map is the embedding table."""

    @property
    def num_params(self) -> int:
        """Learned numbers."""
        return self._outside + sum(layer.feed_forward.num_params(self.dim) for layer in self.layers)

    @property
    def active_params(self) -> int:
        """Learned numbers that one token meets; fewer than all where there are experts."""
        return self._outside + sum(layer.feed_forward.active_params(self.dim) for layer in self.layers)

    def touched_params(self, tokens: int) -> float:
        """Expect how many learned numbers are read from memory when some tokens are computed at once.

        Experts are taken to be chosen evenly, each token for itself; of the embeddings only the output map is read.

        Args:
            tokens: of all sequences that are computed at once.
        """
        inside = sum(layer.feed_forward.touched_params(self.dim, tokens) for layer in self.layers)
        return inside + self._outside - (0 if self.is_tied else self.vocab * self.dim)

    @property
    def _outside(self) -> int:
        """Learned numbers outside of the feed-forwards."""
        embeddings = self.vocab * self.dim * (1 if self.is_tied else 2)
        inside = sum(layer.mixer.num_params(self.dim) + layer.num_norms * self.dim for layer in self.layers)
        return embeddings + self.dim + inside

    def flops(self, *, new: int, past: int = 0) -> int:
        """Count the operations for some tokens of one sequence, and the scores of the last one's successor.

        Args:
            new: tokens to compute: all of a prompt, or the one that was just made.
            past: tokens that are cached before them.
        """
        counts = ((layer.mixer.flops(self.dim, new=new, past=past), layer.feed_forward) for layer in self.layers)
        return sum(count + ffn.flops(self.dim, new=new) for count, ffn in counts) + 2 * self.dim * self.vocab

    def cached_bytes(self, tokens: int, *, value_bytes: int = 2) -> int:
        """Count the bytes that one sequence keeps: keys and values, or what a layer has in their place.

        Args:
            tokens: of the sequence, made ones included.
            value_bytes: bytes of one number.
        """
        return sum(layer.mixer.cached_bytes(tokens, value_bytes=value_bytes) for layer in self.layers)

    def activation_values(self, tokens: int) -> int:
        """Estimate the numbers alive at the widest point of a prefill: inside the widest feed-forward.

        Args:
            tokens: of all sequences that are computed at once.
        """
        widest = max(
            (layer.feed_forward.num_active * layer.feed_forward.dim + layer.feed_forward.shared_dim)
            * (2 if layer.feed_forward.is_gated else 1)
            for layer in self.layers
        )
        return tokens * (3 * self.dim + widest)
