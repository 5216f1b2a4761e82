"""Attended merging in front of an MLP."""

from opticnerve.connectors import blocks
from opticnerve.connectors.blocks import LLM, AttendedMerging, Dim
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec


@checked
def prumerge(*, reduction: int = 4, hidden: tuple[Dim, ...] = (LLM,), has_bias: bool = True) -> ConnectorSpec:
    """Keep the most attended patches, reduction times fewer, merge the others into them, then project with an MLP.

    Keeps: what the image's summary looks at, with a little of what is like it. Loses: what it does not look at. Without
    a CLS token the summary is the mean of the patches, which looks at what there is most of.

    Source: Shang et al., "LLaVA-PruMerge", 2024, section 3; Yang et al., "VisionZip", 2024, section 3.
    Differs: the attention is computed from the features (`AttendedMerging` says how); the number of tokens is given.

    Example: 1 + 24 x 24 features of 1024 channels -> 144 weighted means -> 144 tokens of the LLM's width.

    Args:
        reduction: patches for each token; 1 keeps all.
        hidden: hidden widths of the MLP; () for one Linear.
        has_bias: whether the Linears have a bias.
    """
    parts = (AttendedMerging(reduction=reduction), *blocks.mlp(*hidden, has_bias=has_bias))
    return ConnectorSpec(name="prumerge", blocks=parts)
