"""A random part of the patches in front of an MLP: a baseline."""

from opticnerve.connectors import blocks
from opticnerve.connectors.blocks import LLM, Dim, RandomPatches
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec


@checked
def random_patches(
    *, reduction: int = 4, seed: int = 0, hidden: tuple[Dim, ...] = (LLM,), has_bias: bool = True
) -> ConnectorSpec:
    """Keep a random part of the patches, reduction times fewer, then project them with an MLP.

    Keeps: single patches as they are. Loses: all others, whatever is in them: what a method that chooses has to beat.

    Source: a baseline of this library.

    Example: 24 x 24 patches of 1024 channels -> 144 at random -> 144 tokens of the LLM's width.

    Args:
        reduction: patches for each token; 1 keeps all.
        seed: another one keeps other patches; all images of one grid have the same.
        hidden: hidden widths of the MLP; () for one Linear.
        has_bias: whether the Linears have a bias.
    """
    parts = (RandomPatches(reduction=reduction, seed=seed), *blocks.mlp(*hidden, has_bias=has_bias))
    return ConnectorSpec(name="random_patches", blocks=parts)
