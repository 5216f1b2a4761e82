"""Deformable decoder: queries on a grid that read the features around points which they choose themselves."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.attention import Attention, heads_of
from opticnerve.connectors.blocks.base import Block, BlockSpec, Dim, fixed
from opticnerve.connectors.blocks.deformable_attention import DeformableAttention
from opticnerve.connectors.blocks.feed_forward import FeedForward
from opticnerve.connectors.blocks.linear import ActivationKind
from opticnerve.connectors.blocks.maps import from_maps, to_maps
from opticnerve.connectors.blocks.norm import LayerNorm
from opticnerve.errors import SpecError
from opticnerve.grid import Grid, Places, Queries

PooledTarget = Literal["query", "tgt", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DeformableDecoder(BlockSpec):
    """Turn any grid into rows x cols tokens: each reads a few points around its own, learned, reference point.

    Every frame is read by itself. The width stays. What comes out lies on no grid: the points are learned.

    Source: DAbstractor of Honeybee (dabs.py), whose layers are those of Deformable DETR's decoder.
    """

    kind: ClassVar[str] = "deformable_decoder"

    rows: int = 12
    """Rows of queries."""
    cols: int = 12
    """Columns of queries."""
    num_layers: int = 6
    """Layers."""
    num_heads: int = 8
    """Heads of both attentions."""
    num_points: int = 4
    """Points that each head of a query reads."""
    ffn_dim: Dim = 1024
    """Hidden channels of each layer's MLP."""
    function: ActivationKind = "relu"
    """Nonlinearity of each layer's MLP."""
    pooled_v_target: PooledTarget = "query"
    """What the pooled features become: the queries' position, the content learned ("query"); their content, the
    position learned ("tgt"); or nothing, both learned ("none")."""
    point_rows: int = 24
    """Rows of the grid of patches whose outermost patches the outermost reference points start on."""
    point_cols: int = 24
    """Columns of that grid."""
    eps: float = 1e-5
    """Of the layer norms."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        for name in ("rows", "cols", "num_layers", "num_heads", "num_points", "point_rows", "point_cols"):
            if getattr(self, name) < 1:
                raise SpecError(f"deformable_decoder needs {name} of at least 1, got {getattr(self, name)}")

    @property
    def num_queries(self) -> int:
        """Queries of one frame."""
        return self.rows * self.cols

    @override
    def out_grid(self, grid: Places) -> Queries:
        frames = grid.spatial("deformable attention").frames
        return Queries(self.num_queries * frames, spread=(self.rows * frames, self.cols))

    @override
    def flops(self, grid: Places, dim: int) -> int:
        queries, hidden = self.out_grid(grid).size, fixed(self.ffn_dim)
        attend = 8 * queries * dim * dim + 4 * queries * self.num_queries * dim
        look = 2 * queries * dim * (3 * self.num_heads * self.num_points + dim) + 2 * grid.size * dim * dim
        return self.num_layers * (attend + look + 4 * queries * dim * hidden)

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        queries = self.out_grid(grid).size
        found_and_weighed = 2 * self.num_points * dim
        return 2 * grid.size * dim + queries * (3 * dim + max(found_and_weighed, 2 * fixed(self.ffn_dim)))

    @override
    def build(self, dim: int) -> "DeformableDecoderBlock":
        heads_of(dim, num_heads=self.num_heads, what="a deformable decoder")
        return DeformableDecoderBlock(self, dim)


class DeformableDecoderBlock(Block):
    """Applies `DeformableDecoder`."""

    def __init__(self, spec: DeformableDecoder, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.queries = nn.Parameter(torch.empty(spec.num_queries, 2 * dim if spec.pooled_v_target == "none" else dim))
        nn.init.normal_(self.queries)
        self.points = nn.Parameter(initial_points(spec))
        self.layers = nn.ModuleList(DecoderLayer(spec, dim) for _ in range(spec.num_layers))

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch queries dim"]:
        grid = grid.spatial("deformable attention")
        frames = rearrange(features, "b (t n) c -> (b t) n c", t=grid.frames)
        position, content = self._start(features, grid)
        for layer in self.layers:
            content = layer(content, position, frames, self.points[0], rows=grid.rows, cols=grid.cols)
        return rearrange(content, "(b t) q c -> b (t q) c", t=grid.frames)

    def _start(self, features: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Return the queries' positions and contents before the first layer, a row for each frame."""
        maps = to_maps(features, grid)
        learned = self.queries.expand(maps.shape[0], -1, -1)
        if self.spec.pooled_v_target == "none":
            position, content = learned.chunk(2, dim=-1)
            return position, content
        pooled = from_maps(F.adaptive_avg_pool2d(maps, (self.spec.rows, self.spec.cols)), frames=1)
        return (pooled, learned) if self.spec.pooled_v_target == "query" else (learned, pooled)


class DecoderLayer(nn.Module):
    """Queries talk to each other, then look at the features, then think: each step added back and normalised after."""

    def __init__(self, spec: DeformableDecoder, dim: int) -> None:
        super().__init__()
        self.talk = Attention(dim=dim, key_dim=dim, num_heads=spec.num_heads, head_dim=dim // spec.num_heads)
        self.talk_norm = LayerNorm(dim, eps=spec.eps)
        self.look = DeformableAttention(dim=dim, num_heads=spec.num_heads, num_points=spec.num_points)
        self.look_norm = LayerNorm(dim, eps=spec.eps)
        self.think = FeedForward(
            dim=dim, hidden_dim=fixed(spec.ffn_dim), out_dim=dim, function=spec.function, has_bias=True
        )
        self.think_norm = LayerNorm(dim, eps=spec.eps)

    @override
    def forward(
        self,
        content: Float[Tensor, "batch queries dim"],
        position: Float[Tensor, "batch queries dim"],
        maps: Float[Tensor, "batch patches dim"],
        points: Float[Tensor, "queries 2"],
        *,
        rows: int,
        cols: int,
    ) -> Float[Tensor, "batch queries dim"]:
        placed = content + position  # position counts for who looks at whom, not for what is seen
        content = self.talk_norm(content + self.talk(placed, placed, content))
        placed = content + position
        content = self.look_norm(content + self.look(placed, maps, points, rows=rows, cols=cols))
        return self.think_norm(content + self.think(content))


def initial_points(spec: DeformableDecoder) -> Float[Tensor, "1 queries 2"]:
    """Spread the reference points evenly from the centre of the first patch to the centre of the last, as (x, y)."""
    device = torch.empty(0).device  # transformers makes linspace forget the device it is built on
    y = torch.linspace(0.5, spec.point_rows - 0.5, spec.rows, device=device) / spec.point_rows
    x = torch.linspace(0.5, spec.point_cols - 0.5, spec.cols, device=device) / spec.point_cols
    across, down = torch.meshgrid(x, y, indexing="xy")
    return torch.stack((across.flatten(), down.flatten()), -1)[None]
