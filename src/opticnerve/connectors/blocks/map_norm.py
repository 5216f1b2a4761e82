"""Layer norm over the channels of feature maps."""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from opticnerve.connectors.blocks.norm import LayerNorm


class MapNorm(LayerNorm):
    """Normalise every place of a feature map over its channels, which lie on the second axis.

    Source: LayerNorm2d and LayerNormAct2d of timm, as LDP and the C-Abstractor use them.
    """

    @override
    def forward(self, input: Float[Tensor, "batch dim rows cols"]) -> Float[Tensor, "batch dim rows cols"]:
        normed = super().forward(rearrange(input, "b c h w -> b h w c"))
        return rearrange(normed, "b h w c -> b c h w")
