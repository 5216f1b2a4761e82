"""LLaVA-1.5's projector: an MLP for every patch, no reduction."""

from opticnerve.connectors import blocks
from opticnerve.connectors.blocks import LLM
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec
from opticnerve.errors import SpecError


@checked
def mlp(*, depth: int = 2, has_bias: bool = True) -> ConnectorSpec:
    """Pass every feature through an MLP with exact GELU; as many tokens as patches.

    Keeps: everything, nonlinearly. Loses: nothing in number: the baseline that a reduction has to match.

    Source: Liu et al., "Improved Baselines with Visual Instruction Tuning" (LLaVA-1.5), 2023: mlp2x_gelu.

    Example: 24 x 24 patches of 1024 channels -> 576 tokens.

    Args:
        depth: how many Linears; LLaVA writes mlp2x_gelu for 2.
        has_bias: whether the Linears have a bias.

    Raises:
        SpecError: there is no Linear.
    """
    if depth < 1:
        raise SpecError(f"mlp needs at least 1 Linear, got depth={depth}")
    return ConnectorSpec(name="mlp", blocks=blocks.mlp(*([LLM] * (depth - 1)), has_bias=has_bias))
