"""Token merging in front of an MLP."""

from opticnerve.connectors import blocks
from opticnerve.connectors.blocks import LLM, Dim, TokenMerging
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec


@checked
def tome(
    *, reduction: int = 4, tokens_per_merge: int = 8, hidden: tuple[Dim, ...] = (LLM,), has_bias: bool = True
) -> ConnectorSpec:
    """Merge the patches that are most alike until reduction times fewer are left, then project them with an MLP.

    Keeps: what is rare: a patch like no other stays itself as long as others are alike. Loses: what tells patches apart
    that look alike, and how many they were.

    Source: Bolya et al., "Token Merging: Your ViT But Faster", 2023, section 3.
    Differs: merges once, behind the encoder, by its features, instead of in every layer by attention keys.

    Example: 24 x 24 patches of 1024 channels -> 504 -> 441 -> ... -> 144 means -> 144 tokens of the LLM's width.

    Args:
        reduction: patches for each token; 1 keeps all.
        tokens_per_merge: tokens for each pair that one step merges; fewer take fewer steps and choose less well.
        hidden: hidden widths of the MLP; () for one Linear.
        has_bias: whether the Linears have a bias.
    """
    parts = (
        TokenMerging(reduction=reduction, tokens_per_merge=tokens_per_merge),
        *blocks.mlp(*hidden, has_bias=has_bias),
    )
    return ConnectorSpec(name="tome", blocks=parts)
