"""The smallest connector: one Linear, no reduction."""

from opticnerve.connectors.blocks import Linear
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec


@checked
def linear(*, has_bias: bool = True) -> ConnectorSpec:
    """Project every feature to the LLM's width; as many tokens as patches.

    Keeps: everything a linear map can carry. Loses: nothing in number.

    Source: Liu et al., "Visual Instruction Tuning" (LLaVA), 2023, section 4.1; PaliGemma.

    Example: 24 x 24 patches of 1024 channels -> 576 tokens.

    Args:
        has_bias: whether the projection has a bias.
    """
    return ConnectorSpec(name="linear", blocks=(Linear(has_bias=has_bias),))
