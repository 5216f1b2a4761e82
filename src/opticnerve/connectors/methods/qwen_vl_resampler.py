"""Qwen-VL's resampler: one cross-attention with 2-D positions."""

from opticnerve.connectors.blocks import LLM, BlockSpec, Dim, Linear, Norm, Resampler
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec


@checked
def qwen_vl_resampler(
    *,
    query_grid: tuple[int, int] = (16, 16),
    dim: Dim = LLM,
    head_dim: int = 128,
    eps: float = 1e-6,
    has_kv_proj: bool = True,
    num_used: int = 0,
) -> ConnectorSpec:
    """Let a grid of queries look once at all patches, with the positions of both: always rows x cols tokens.

    Keeps: what each query finds; queries know their place and the places of the patches. Loses: what no query looks
    at: there is one look, no residual and no feed-forward network.

    Source: Bai et al., "Qwen-VL", 2023, section 2.1; Resampler and VisionTransformer of visual.py.
    Differs: grids need not be square; where the widths are equal the Linear in front must be left out by hand.

    Example: 32 x 32 patches of 1664 channels -> 16 x 16 queries of 4096 channels -> 256 tokens.

    Args:
        query_grid: rows and columns of the queries.
        dim: width of the cross-attention.
        head_dim: channels of a head; there are dim // head_dim heads, at least one.
        eps: of the three layer norms.
        has_kv_proj: whether a Linear brings the features to `dim`. The published code leaves it out where the
            encoder is as wide already: False.
        num_used: queries that look, of those that there are; 0 for all. Weights stay, so one connector can be asked for
            more or fewer tokens, best if it was trained so.
    """
    resampler = Resampler(query_grid=query_grid, head_dim=head_dim, eps=eps, num_used=num_used)
    parts: list[BlockSpec] = [Linear(dim=dim, has_bias=False)] if has_kv_proj else []
    parts += [Norm(eps=eps), resampler, Norm(eps=eps), Linear(has_bias=False)]
    return ConnectorSpec(name="qwen_vl_resampler", blocks=tuple(parts))
