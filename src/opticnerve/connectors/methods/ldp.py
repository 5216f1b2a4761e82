"""LDP: MobileVLM's first lightweight downsample projector."""

from opticnerve.connectors import blocks
from opticnerve.connectors.blocks import LLM, InvertedResidual
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec


@checked
def ldp(*, factor: int = 2) -> ConnectorSpec:
    """Project with an MLP, then reduce with two inverted residuals: factor^2 times fewer tokens.

    Keeps: where things are, since every step is a convolution over the grid. Loses: what the strided 3 x 3
    convolution does not carry over; of the factor^2 patches of a block each channel gets one weighted sum.

    Source: Chu et al., "MobileVLM", 2023; LDPBlock of vision_projector.py.
    Differs: any rows x cols grid is taken; each side comes out as ceil(side / factor), so 7 -> 4. Widths need not be
    multiples of 8, as the source's building blocks ask.

    Example: 24 x 24 patches of 1024 channels -> 24 x 24 of the LLM's width -> 12 x 12 tokens -> 144 tokens.

    Args:
        factor: stride of the second block, patches a side.
    """
    reduce = (InvertedResidual(stride=1), InvertedResidual(stride=factor))
    return ConnectorSpec(name="ldp", blocks=(*blocks.mlp(LLM), *reduce))
