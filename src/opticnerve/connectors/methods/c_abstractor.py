"""C-Abstractor: Honeybee's convolutional projector."""

from opticnerve.connectors.blocks import (
    LLM,
    Activation,
    AdaptivePool,
    BlockSpec,
    Dim,
    EndTokens,
    GridPositions,
    Linear,
    Norm,
    RegStage,
)
from opticnerve.connectors.blocks.grid_positions import OtherGrid
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec
from opticnerve.errors import SpecError


@checked
def c_abstractor(
    *,
    out_grid: tuple[int, int] = (12, 12),
    hidden_dim: Dim = 1024,
    depth: int = 3,
    mlp_depth: int = 2,
    has_norm: bool = False,
    has_position: bool = True,
    pos_grid: tuple[int, int] = (24, 24),
    other_grid: OtherGrid = "error",
    num_eos_tokens: int = 0,
) -> ConnectorSpec:
    """Convolve over the grid, average into a grid of a fixed size, convolve again, and project with an MLP.

    Keeps: the neighbourhood of each bin, and its place. Loses: what varies inside a bin and the convolutions before the
    average did not carry over.

    Source: Cha et al., "Honeybee: Locality-enhanced Projector for Multimodal LLM", 2024; CAbstractor of projectors.py.
    Differs: grids need not be square; the caller's features are not written to.

    Example: 24 x 24 patches of 1024 channels -> 12 x 12 tokens of 1024 channels -> 144 tokens of the LLM's width.

    Args:
        out_grid: rows and columns that come out; the published models have 12 x 12, 16 x 16 and 24 x 24.
        hidden_dim: channels of the convolutions.
        depth: residual blocks before and after the average; 0 leaves only the average and the MLP.
        mlp_depth: Linears of the MLP, with SiLU between.
        has_norm: whether a layer norm comes first (prenorm).
        has_position: whether learned positions are added.
        pos_grid: rows and columns that the positions are learned for: 24 x 24 for CLIP ViT-L/14 at 336 px, 16 x 16
            at 224 px (the 7B models).
        other_grid: for another grid than `pos_grid`: refuse, or resize the positions.
        num_eos_tokens: learned tokens appended to the visual ones.

    Raises:
        SpecError: the MLP has no Linear, or another count is negative.
    """
    if mlp_depth < 1:
        raise SpecError(f"c_abstractor needs an MLP of at least 1 Linear, got mlp_depth={mlp_depth}")
    parts: list[BlockSpec] = [Norm(eps=1e-6)] if has_norm else []
    if has_position:
        parts.append(GridPositions(rows=pos_grid[0], cols=pos_grid[1], other_grid=other_grid))
    pool = AdaptivePool(rows=out_grid[0], cols=out_grid[1])
    stage = RegStage(dim=hidden_dim, depth=depth) if depth else None
    parts += [stage, pool, stage] if stage else [pool]
    parts.append(Linear(dim=LLM))
    for _ in range(1, mlp_depth):
        parts += [Activation(function="silu"), Linear(dim=LLM)]
    if num_eos_tokens:
        parts.append(EndTokens(num=num_eos_tokens))
    return ConnectorSpec(name="c_abstractor", blocks=tuple(parts))
