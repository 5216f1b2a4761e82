"""D-Abstractor: Honeybee's projector with deformable attention."""

from opticnerve.connectors.blocks import (
    LLM,
    BlockSpec,
    DeformableDecoder,
    Dim,
    EndTokens,
    FitWidth,
    GridPositions,
)
from opticnerve.connectors.blocks.deformable import PooledTarget
from opticnerve.connectors.blocks.grid_positions import OtherGrid
from opticnerve.connectors.blocks.linear import ActivationKind
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec


@checked
def d_abstractor(
    *,
    query_grid: tuple[int, int] = (12, 12),
    hidden_dim: Dim = 1024,
    num_layers: int = 6,
    num_heads: int = 8,
    num_points: int = 4,
    ffn_dim: Dim = 1024,
    function: ActivationKind = "relu",
    pooled_v_target: PooledTarget = "query",
    has_position: bool = True,
    pos_grid: tuple[int, int] = (24, 24),
    other_grid: OtherGrid = "error",
    num_eos_tokens: int = 0,
) -> ConnectorSpec:
    """Let queries on a grid read the features at points of their own choice, near their own place.

    Keeps: what the queries find worth reading, in fine and in coarse. Loses: what no query reads: each reads
    num_heads * num_points points a layer, however large the grid is.

    Source: Cha et al., "Honeybee: Locality-enhanced Projector for Multimodal LLM", 2024; DAbstractor of dabs.py, with
    the defaults of transformers' DeformableDetrConfig.
    Differs: grids need not be square: offsets are in patches along each axis; only the sampling is in float32, not the
    whole projector; no dropout (0.1 in the source, in training).

    Example: 24 x 24 patches of 1024 channels -> 12 x 12 queries -> 144 tokens of the LLM's width.

    Args:
        query_grid: rows and columns of queries.
        hidden_dim: channels of the decoder; a Linear stands before and after where the widths differ.
        num_layers: decoder layers.
        num_heads: heads of both attentions.
        num_points: points that each head of a query reads.
        ffn_dim: hidden channels of each layer's MLP.
        function: nonlinearity of that MLP.
        pooled_v_target: what the pooled features become: "query" the queries' position, "tgt" their content, "none"
            nothing. The rest is learned.
        has_position: whether learned positions are added to the features.
        pos_grid: rows and columns that the positions are learned for, and that the reference points start on:
            24 x 24 for CLIP ViT-L/14 at 336 px, 16 x 16 at 224 px (the 7B models).
        other_grid: for another grid than `pos_grid`, where there are positions: refuse, or resize them.
        num_eos_tokens: learned tokens appended to the visual ones, before the last projection.
    """
    parts: list[BlockSpec] = [FitWidth(dim=hidden_dim)]
    if has_position:
        parts.append(GridPositions(rows=pos_grid[0], cols=pos_grid[1], other_grid=other_grid))
    parts.append(
        DeformableDecoder(
            rows=query_grid[0],
            cols=query_grid[1],
            num_layers=num_layers,
            num_heads=num_heads,
            num_points=num_points,
            ffn_dim=ffn_dim,
            function=function,
            pooled_v_target=pooled_v_target,
            point_rows=pos_grid[0],
            point_cols=pos_grid[1],
        )
    )
    if num_eos_tokens:
        parts.append(EndTokens(num=num_eos_tokens))
    return ConnectorSpec(name="d_abstractor", blocks=(*parts, FitWidth(dim=LLM)))
