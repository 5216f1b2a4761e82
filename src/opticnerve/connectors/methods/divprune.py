"""Diverse selection in front of an MLP."""

from opticnerve.connectors import blocks
from opticnerve.connectors.blocks import LLM, Dim, DiverseSelection
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec


@checked
def divprune(*, reduction: int = 4, hidden: tuple[Dim, ...] = (LLM,), has_bias: bool = True) -> ConnectorSpec:
    """Keep the patches that are least alike, reduction times fewer, then project them with an MLP.

    Keeps: single patches as they are, as different as can be found. Loses: all others: of an even surface, or of text
    that looks alike, little is left.

    Source: Alvar et al., "DivPrune: Diversity-based Visual Token Pruning for Large Multimodal Models", 2025, section 3.
    Differs: chooses among the encoder's features, in front of the MLP instead of behind it.

    Example: 24 x 24 patches of 1024 channels -> the 144 least alike -> 144 tokens of the LLM's width.

    Args:
        reduction: patches for each token; 1 keeps all.
        hidden: hidden widths of the MLP; () for one Linear.
        has_bias: whether the Linears have a bias.
    """
    parts = (DiverseSelection(reduction=reduction), *blocks.mlp(*hidden, has_bias=has_bias))
    return ConnectorSpec(name="divprune", blocks=parts)
