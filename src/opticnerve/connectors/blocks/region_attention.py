"""Region attention: one point query looks at the patches of its own region, and at nothing else."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from einops import rearrange
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.attention import Attention, heads_of
from opticnerve.connectors.blocks.base import Block, BlockSpec, Dim, fixed
from opticnerve.connectors.blocks.feed_forward import FeedForward
from opticnerve.connectors.blocks.maps import from_maps, to_maps
from opticnerve.connectors.blocks.norm import LayerNorm
from opticnerve.errors import SpecError
from opticnerve.grid import Grid, Places, require_multiple


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionAttention(BlockSpec):
    """Give each `factor` x `factor` region one token: the bilinear middle of one encoder level asks, all levels answer.

    The middle of a region is its mean at factor 2, its centre patch at 3, and the mean of its inner 2 x 2 at 4.
    Nothing of the query is added to the answer.

    Source: Li et al., "TokenPacker", 2024, section 3.2; TokenPacker of builder.py.
    """

    kind: ClassVar[str] = "region_attention"

    factor: int = 2
    """Patches a side of a region."""
    dim: Dim = 1024
    """Channels inside the attention, and of the tokens that come out."""
    num_heads: int = 8
    """Attention heads."""
    num_levels: int = 4
    """Encoder levels that keys and values are made of, side by side on the channels."""
    extra_dim: Dim | Literal[0] = 0
    """Channels of one more level, behind the others, that only the queries are drawn from; 0 where they are drawn from
    the last of the keys' levels."""
    eps: float = 1e-6
    """Of the layer norms."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        for name, value in (("factor", self.factor), ("num_heads", self.num_heads), ("num_levels", self.num_levels)):
            if value < 1:
                raise SpecError(f"region_attention needs {name} of at least 1, got {value}")
        if isinstance(self.extra_dim, int) and self.extra_dim < 0:
            raise SpecError(f"region_attention needs extra_dim of at least 0 channels, got {self.extra_dim}")

    @override
    def out_grid(self, grid: Places) -> Grid:
        grid = grid.spatial("region attention")
        remedy = 'A pool in mode "adaptive" or "bilinear" takes any grid.'
        require_multiple(grid, rows=self.factor, cols=self.factor, action="divide", remedy=remedy)
        return Grid(grid.rows // self.factor, grid.cols // self.factor, frames=grid.frames)

    @override
    def out_dim(self, dim: int) -> int:
        return fixed(self.dim)

    def widths(self, dim: int) -> tuple[int, int]:
        """Split the width of the features into that of the keys' levels together and that of the query's level.

        Raises:
            SpecError: the levels do not share the channels evenly.
        """
        extra = fixed(self.extra_dim)
        keys = dim - extra
        if keys < 1 or keys % self.num_levels:
            extra_text = f" and one more of {extra}" if extra else ""
            raise SpecError(
                f"{dim} channels do not hold {self.num_levels} encoder levels of one width{extra_text}: pass "
                f"vision_dim = {self.num_levels} x the encoder's width{extra_text}, or set num_levels"
            )
        return keys, extra or keys // self.num_levels

    @override
    def flops(self, grid: Places, dim: int) -> int:
        keys, points = self.widths(dim)
        inner, size, out = fixed(self.dim), grid.size, self.out_grid(grid).size
        asked = 2 * out * inner * (points + inner + inner)
        answered = 2 * 2 * size * inner * (keys + inner + inner)
        return asked + answered + 4 * size * inner

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        keys_values_and_their_maps = 4 * grid.size * fixed(self.dim)
        return grid.size * dim + keys_values_and_their_maps + 2 * self.out_grid(grid).size * fixed(self.dim)

    @override
    def build(self, dim: int) -> "RegionAttentionBlock":
        return RegionAttentionBlock(self, dim)


class RegionAttentionBlock(Block):
    """Applies `RegionAttention`."""

    def __init__(self, spec: RegionAttention, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.key_levels_dim, self.point_dim = spec.widths(dim)
        inner = fixed(spec.dim)
        self.point = nn.Linear(self.point_dim, inner, bias=False)
        self.key_mlp, self.value_mlp = (
            FeedForward(dim=self.key_levels_dim, hidden_dim=inner, out_dim=inner, function="gelu", has_bias=True)
            for _ in range(2)
        )
        self.point_norm = LayerNorm(inner, eps=spec.eps)
        self.key_norm = LayerNorm(inner, eps=spec.eps)
        self.value_norm = LayerNorm(inner, eps=spec.eps)
        head_dim = heads_of(inner, num_heads=spec.num_heads, what="region attention")
        self.attention = Attention(dim=inner, key_dim=inner, num_heads=spec.num_heads, head_dim=head_dim)

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch regions out"]:
        grid = grid.spatial("region attention")
        out = self.spec.out_grid(grid)
        levels = features[..., : self.key_levels_dim]
        points = middles(features[..., -self.point_dim :], grid=grid, out=out)
        queries = rearrange(self.point_norm(self.point(points)), "b p c -> (b p) 1 c")
        keys = regions(self.key_norm(self.key_mlp(levels)), grid=out, factor=self.spec.factor)
        values = regions(self.value_norm(self.value_mlp(levels)), grid=out, factor=self.spec.factor)
        return rearrange(self.attention(queries, keys, values), "(b p) 1 c -> b p c", p=out.size)


def middles(features: Float[Tensor, "batch patches dim"], *, grid: Grid, out: Grid) -> Float[Tensor, "batch out dim"]:
    """Interpolate the middle of each region, in float32 whatever the data type.

    Args:
        features: one encoder level.
        grid: where they lie.
        out: the grid of the regions.
    """
    image = F.interpolate(to_maps(features, grid).float(), size=(out.rows, out.cols), mode="bilinear")
    return from_maps(image, frames=grid.frames).to(features.dtype)


def regions(
    tokens: Shaped[Tensor, "batch patches dim"], *, grid: Grid, factor: int
) -> Shaped[Tensor, "batch_regions members dim"]:
    """Gather the patches of each region.

    Args:
        tokens: patches in raster order.
        grid: the grid of the regions.
        factor: patches a side of a region.
    """
    pattern = "b (t h r w q) c -> (b t h w) (r q) c"
    return rearrange(tokens, pattern, t=grid.frames, h=grid.rows, w=grid.cols, r=factor, q=factor)
