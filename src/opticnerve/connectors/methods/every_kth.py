"""Every k-th patch in front of an MLP: a baseline."""

from opticnerve.connectors import blocks
from opticnerve.connectors.blocks import LLM, Dim, EveryKth
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec


@checked
def every_kth(*, reduction: int = 4, hidden: tuple[Dim, ...] = (LLM,), has_bias: bool = True) -> ConnectorSpec:
    """Keep every k-th patch, k being the reduction, then project them with an MLP.

    Keeps: single patches as they are, evenly over the image. Loses: all others, whatever is in them: what a method that
    chooses has to beat.

    Source: a baseline of this library.

    Example: 24 x 24 patches of 1024 channels -> the first of each 2 x 2 block -> 144 tokens of the LLM's width.

    Args:
        reduction: patches for each token; 1 keeps all.
        hidden: hidden widths of the MLP; () for one Linear.
        has_bias: whether the Linears have a bias.
    """
    parts = (EveryKth(reduction=reduction), *blocks.mlp(*hidden, has_bias=has_bias))
    return ConnectorSpec(name="every_kth", blocks=parts)
