"""LDPv2: MobileVLM V2's lightweight downsample projector."""

from opticnerve.connectors import blocks
from opticnerve.connectors.blocks import LLM, PEG, AdaptivePool
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec


@checked
def ldpv2(*, out_grid: tuple[int, int] = (12, 12)) -> ConnectorSpec:
    """Project with an MLP, average into a grid of a fixed size, and add what a 3 x 3 convolution sees of position.

    Keeps: the mean of each bin, and its neighbourhood. Loses: what varies inside a bin. A grid that is smaller than
    `out_grid` is enlarged: then there are more tokens than patches.

    Source: Chu et al., "MobileVLM V2", 2024; LDPNetV2Projector of vision_projector.py.
    Differs: any rows x cols grid is taken, and the size that comes out is an option; frames are pooled one by one.

    Example: 24 x 24 patches of 1024 channels -> 24 x 24 of the LLM's width -> 12 x 12 tokens -> 144 tokens.

    Args:
        out_grid: rows and columns that come out.
    """
    rows, cols = out_grid
    return ConnectorSpec(name="ldpv2", blocks=(*blocks.mlp(LLM), AdaptivePool(rows=rows, cols=cols), PEG()))
