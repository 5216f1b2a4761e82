"""TokenPacker: a coarse look at the image asks, region by region, for the details of several encoder levels."""

from typing import Literal

from opticnerve.connectors import blocks
from opticnerve.connectors.blocks import IN, LLM, RegionAttention
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec


@checked
def token_packer(
    *,
    factor: int = 2,
    num_levels: int = 4,
    query: Literal["last", "extra"] = "last",
    attn_dim: int = 1024,
    num_heads: int = 8,
    eps: float = 1e-6,
) -> ConnectorSpec:
    """Shrink one encoder level to factor^2 times fewer points, and let each attend to the patches of its region.

    Keeps: what a point asks for, from every level of the encoder, and its place. Loses: the answers to questions that
    the shrunken features do not ask; a token sees nothing outside its region.

    The features hold the encoder's levels side by side on the channels, so `vision_dim` is the levels' widths together.

    Source: Li et al., "TokenPacker", 2024, section 3.2; TokenPacker of builder.py. Its keys and values come from
    layers 12, 16, 22 and 23 of CLIP ViT-L/14, its queries from layer 23.
    Differs: the query level is read from the same features instead of being passed a second time; the grid and the
    widths are not fixed to 24 x 24, 4096 and 1024.

    Example: 24 x 24 patches of 4 x 1024 channels -> 12 x 12 regions of 4 patches -> 144 tokens.

    Args:
        factor: patches a side of a region; published models use 2, 3 and 4.
        num_levels: encoder layers that keys and values are made of.
        query: where the queries come from: the last of these levels, or one extra level behind them.
        attn_dim: channels inside the attention.
        num_heads: attention heads.
        eps: of the layer norms.
    """
    extra = 1 if query == "extra" else 0
    pack = RegionAttention(
        factor=factor,
        dim=attn_dim,
        num_heads=num_heads,
        num_levels=num_levels,
        extra_dim=IN // (num_levels + 1) if extra else 0,
        eps=eps,
    )
    return ConnectorSpec(name="token_packer", blocks=(pack, *blocks.mlp(LLM)), num_levels=num_levels + extra)
