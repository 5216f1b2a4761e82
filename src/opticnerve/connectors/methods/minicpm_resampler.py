"""MiniCPM-V's resamplers, from OmniLMM to 2.6: Qwen-VL's with positions for any grid."""

from math import isqrt

from opticnerve.connectors.blocks import LLM, BlockSpec, Dim, Linear, Norm, Resampler
from opticnerve.connectors.blocks.resampler import KeyPositions
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec
from opticnerve.errors import SpecError


@checked
def minicpm_resampler(
    *,
    num_queries: int = 96,
    has_query_positions: bool = False,
    key_positions: KeyPositions = "computed",
    dim: Dim = LLM,
    head_dim: int = 128,
    eps: float = 1e-6,
    has_kv_proj: bool = True,
    num_used: int = 0,
) -> ConnectorSpec:
    """Let queries look once at the patches of an image slice, whatever its shape: always `num_queries` tokens.

    Keeps: what each query finds; it knows where the patches are. Loses: what no query looks at: there is one look, no
    residual and no feed-forward network.

    Source: Yao et al., "MiniCPM-V", 2024; resampler.py of MiniCPM-Llama3-V 2.5, MiniCPM-V 2.0 and 2.6,
    and OmniLMM. 2.0 with adaptive=False resizes the table even to its own size, which changes nothing.
    Differs: slices of several shapes go in packed, without padding; where the widths are equal the Linear in front
    must be left out by hand.

    Example: 32 x 32 patches of 1152 channels -> 96 queries of 4096 channels -> 96 tokens.

    Args:
        num_queries: tokens that come out. 1.0, 2.0 and 2.6: 64. 2.5: 96.
        has_query_positions: whether queries lie on a square grid and get positions. Up to 2.0: True.
        key_positions: "computed" for the patches' own grid; 1.0, and 2.0 with adaptive=False: "resized" from the
            queries' table.
        dim: width of the cross-attention.
        head_dim: channels of a head; there are dim // head_dim heads, at least one.
        eps: of the three layer norms.
        has_kv_proj: whether a Linear brings the features to `dim`. The published code leaves it out where the
            encoder is as wide already: False.
        num_used: queries that look, of those that there are; 0 for all. Weights stay, so one connector can be asked for
            more or fewer tokens, best if it was trained so.

    Raises:
        SpecError: the queries need a square grid and do not fill one.
    """
    side = isqrt(max(0, num_queries))
    is_square = side * side == num_queries
    if not is_square and (has_query_positions or key_positions == "resized"):
        raise SpecError(
            f"queries with positions lie on a square grid, but {num_queries} is not a square: take {side**2} or "
            f'{(side + 1) ** 2} queries, or has_query_positions=False with key_positions="computed"'
        )
    resampler = Resampler(
        query_grid=(side, side) if is_square else (1, num_queries),
        head_dim=head_dim,
        eps=eps,
        has_query_positions=has_query_positions,
        key_positions=key_positions,
        num_used=num_used,
    )
    parts: list[BlockSpec] = [Linear(dim=dim, has_bias=False)] if has_kv_proj else []
    parts += [Norm(eps=eps), resampler, Norm(eps=eps), Linear(has_bias=False)]
    return ConnectorSpec(name="minicpm_resampler", blocks=tuple(parts))
