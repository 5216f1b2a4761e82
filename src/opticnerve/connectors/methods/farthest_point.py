"""Farthest-point sampling in front of an MLP."""

from opticnerve.connectors import blocks
from opticnerve.connectors.blocks import LLM, Dim, FarthestPoint
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec


@checked
def farthest_point(*, reduction: int = 4, hidden: tuple[Dim, ...] = (LLM,), has_bias: bool = True) -> ConnectorSpec:
    """Keep patches whose features lie far apart, reduction times fewer, then project them with an MLP.

    Keeps: single patches as they are, those with the largest features first. Loses: all others.

    Source: Eldar et al., "The Farthest Point Strategy for Progressive Image Sampling", 1997; Qi et al., "PointNet++",
    2017, section 3.2.
    Differs: the distance is that of features, not of places, and the start is the patch farthest from the mean.

    Example: 24 x 24 patches of 1024 channels -> 144 that lie far apart -> 144 tokens of the LLM's width.

    Args:
        reduction: patches for each token; 1 keeps all.
        hidden: hidden widths of the MLP; () for one Linear.
        has_bias: whether the Linears have a bias.
    """
    parts = (FarthestPoint(reduction=reduction), *blocks.mlp(*hidden, has_bias=has_bias))
    return ConnectorSpec(name="farthest_point", blocks=parts)
