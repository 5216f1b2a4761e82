"""Concat along the raster: strips of four tokens, as MiniGPT-v2 has them."""

from opticnerve.connectors.blocks import Linear, Merge, Norm
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec
from opticnerve.grid import Odd


@checked
def concat_strip(*, length: int = 4, has_norm: bool = True, eps: float = 1e-5, odd: Odd = "error") -> ConnectorSpec:
    """Concatenate `length` neighbours of a row and project them with one Linear: `length` times fewer tokens.

    Keeps: every number of the encoder. Loses: the balance of the axes: tokens are as fine as patches from top to
    bottom, and `length` times coarser from left to right.

    Source: Chen et al., "MiniGPT-v2", 2023; encode_img of minigpt_v2.py.
    Differs: the CLS token is dropped before the norm, which works on single tokens, instead of after it.

    Example: 32 x 32 patches of 1408 channels -> 32 x 8 tokens of 5632 channels -> 256 tokens of the LLM's width.

    Args:
        length: patches in a strip.
        has_norm: whether the encoder's last layer norm (ln_vision) is part of the connector.
        eps: of that norm.
        odd: for grids whose width the length does not divide.
    """
    merged = (Merge(rows=1, cols=length, odd=odd), Linear())
    blocks = (Norm(eps=eps), *merged) if has_norm else merged
    return ConnectorSpec(name="concat_strip", blocks=blocks)
