"""A vision transformer as numbers: parameters, operations and activations for a tile of any size, in closed form."""

from dataclasses import dataclass

from typing_extensions import override

from opticnerve.encoders import EncoderInfo
from opticnerve.planner.encoder import EncoderCosts


@dataclass(frozen=True, kw_only=True, slots=True)
class VitLayer:
    """One layer: attention of all to all (or within windows), then an MLP."""

    dim: int
    """Channels of a hidden state."""
    mlp_dim: int
    """Channels in the middle of the MLP."""
    is_gated: bool
    """Two maps up, one of which gates the other."""
    num_small: int
    """Learned numbers besides the maps: norms, biases, layer scales."""
    num_wide: int
    """Values of `mlp_dim` channels that are alive at once, since activation and product are not done in place."""

    @property
    def map_params(self) -> int:
        """Learned numbers of the maps; each is one multiply-add for each token."""
        return 4 * self.dim**2 + (3 if self.is_gated else 2) * self.dim * self.mlp_dim

    @property
    def num_params(self) -> int:
        """All learned numbers."""
        return self.map_params + self.num_small

    def flops(self, tokens: int, *, pairs: int) -> int:
        """Count the operations.

        Args:
            tokens: positions.
            pairs: query and key pairs that attention compares: the square of the tokens, or of those of each window.
        """
        return 2 * tokens * self.map_params + 4 * pairs * self.dim

    @property
    def live_values(self) -> int:
        """Estimate the numbers alive for each token at the widest point, in the MLP.

        The embedding, what enters the layer, what attention left and its norm are `dim` channels each. Attention
        never holds all pairs at once.
        """
        return 4 * self.dim + self.num_wide * self.mlp_dim


@dataclass(frozen=True, kw_only=True, slots=True)
class ViT(EncoderCosts):
    """A vision transformer, cut after the last layer that is read."""

    about: EncoderInfo
    """Sizes, channels and patches."""
    layer: VitLayer
    """All layers are the same."""
    depth: int
    """Layers that are run."""
    num_prefix: int
    """Class and register tokens, which are computed and then dropped."""
    patch_values: int
    """Numbers of the image in a patch: channels x frames x side x side."""
    num_outside: int
    """Learned numbers outside the layers besides the map of patches: biases, tokens, position table, norms."""
    window_patches: int = 0
    """Side of an attention window; 0 where every layer attends to everything."""
    num_windowed: int = 0
    """Layers that attend within windows."""

    @property
    @override
    def info(self) -> EncoderInfo:
        return self.about

    @property
    @override
    def num_params(self) -> int:
        return self.patch_values * self.layer.dim + self.num_outside + self.depth * self.layer.num_params

    @property
    @override
    def num_layers(self) -> int:
        return self.depth

    @override
    def flops(self, height_px: int, width_px: int) -> int:
        grid = self.about.grid(height_px, width_px)
        tokens = grid.num_patches + self.num_prefix
        within = _squares(grid.rows, self.window_patches) * _squares(grid.cols, self.window_patches)
        everything = self.layer.flops(tokens, pairs=tokens**2)
        windowed = self.layer.flops(tokens, pairs=within)
        embedding = 2 * grid.num_patches * self.patch_values * self.layer.dim
        return embedding + (self.depth - self.num_windowed) * everything + self.num_windowed * windowed

    @override
    def activation_values(self, height_px: int, width_px: int) -> int:
        grid = self.about.grid(height_px, width_px)
        tokens = grid.num_patches + self.num_prefix
        kept = tokens * (self.about.dim - self.layer.dim)
        return tokens * self.layer.live_values + kept + grid.num_patches * self.patch_values


def _squares(side: int, window: int) -> int:
    """Add up the squares of the pieces that a side is cut into, the last of which may be short.

    >>> _squares(10, 4)
    36

    Args:
        side: patches.
        window: patches of a piece; 0 for all in one.
    """
    if not window:
        return side**2
    return side // window * window**2 + (side % window) ** 2
