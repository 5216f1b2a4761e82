"""Pooling, before or after the projection: LLaVA-OneVision, Gemma 3, PLLaVA."""

from typing import Literal

from opticnerve.connectors import blocks
from opticnerve.connectors.blocks import LLM, Activation, AdaptivePool, BlockSpec, Dim, Downsample, Norm, Pool
from opticnerve.connectors.blocks.norm import NormKind
from opticnerve.connectors.blocks.pool import PoolOdd
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec
from opticnerve.errors import SpecError


@checked
def pool(
    *,
    factor: int = 2,
    mode: Literal["average", "max", "bilinear", "adaptive", "conv"] = "average",
    out_grid: tuple[int, int] = (12, 12),
    out_frames: int = 0,
    place: Literal["before", "after"] = "after",
    norm: NormKind | Literal["none"] = "none",
    eps: float = 1e-6,
    hidden: tuple[Dim, ...] = (LLM,),
    has_bias: bool = True,
    odd: PoolOdd = "error",
) -> ConnectorSpec:
    """Reduce factor x factor neighbours to one, before or after an MLP: factor^2 times fewer tokens.

    Keeps: the mean (or maximum, or interpolation) of each block. Loses: what varies inside it: thin strokes first.

    Source: Li et al., "LLaVA-OneVision", 2024, section 3 (bilinear, after the MLP, for video frames: get_2dPool);
    Gemma 3 technical report, 2025 (factor 4, average, before one Linear, with RMS norm between); Xu et al., "PLLaVA",
    2024 (adaptive, after the MLP, over frames too).

    Example: 24 x 24 patches of 1024 channels -> 12 x 12 tokens -> 144 tokens of the LLM's width.

    Args:
        factor: patches a side that become one; adaptive pooling goes by `out_grid` instead.
        mode: average or max of the block; bilinear interpolation to ceil(side / factor), which takes any grid; adaptive
            average into `out_grid`, whatever comes in; or a learned convolution of that stride, which also sets the
            LLM's width (LLaVA-NeXT's PoolerProjector: before, hidden ()).
        out_grid: rows and columns that adaptive pooling gives (PLLaVA 7B: 12 x 12).
        out_frames: frames that adaptive pooling gives (PLLaVA: 16); 0 keeps those that come in.
        place: before or after the projection. They differ, because the projection is not linear.
        norm: a norm right after the pool (Gemma 3: "rms_one_plus").
        eps: of that norm.
        hidden: the projection's hidden widths; () for one Linear.
        has_bias: whether the Linears have a bias (Gemma 3: False).
        odd: for average, max and conv on grids that the factor does not divide: refuse, or drop the rest (LLaVA).

    Raises:
        SpecError: the size of what comes out is given in a way that the mode does not go by.
    """
    if mode == "adaptive" and factor != 2:
        raise SpecError(f'mode="adaptive" goes by out_grid, not by factor={factor}: leave factor out, or set out_grid')
    if mode != "adaptive" and (out_grid != (12, 12) or out_frames):
        raise SpecError(
            f'out_grid={out_grid} and out_frames={out_frames} are for mode="adaptive", but the mode is "{mode}", which '
            f"goes by factor"
        )
    reduce: list[BlockSpec]
    match mode:
        case "adaptive":
            reduce = [AdaptivePool(rows=out_grid[0], cols=out_grid[1], frames=out_frames)]
        case "conv":
            reduce = [Downsample(factor=factor, odd=odd), Activation()]
        case _:
            reduce = [Pool(factor=factor, mode=mode, odd=odd)]
    if norm != "none":
        reduce.append(Norm(norm=norm, eps=eps))
    project = blocks.mlp(*hidden, has_bias=has_bias)
    parts = (*reduce, *project) if place == "before" else (*project, *reduce)
    return ConnectorSpec(name="pool", blocks=parts)
