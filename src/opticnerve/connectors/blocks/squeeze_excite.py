"""Squeeze and excitation: every channel of a map is scaled by what the whole map says about it."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.linear import ActivationKind, activate

Gate = Literal["sigmoid", "hardsigmoid"]


class SqueezeExcite(nn.Module):
    """Average the map, pass the mean through two small layers, and scale the channels by the outcome.

    Source: Hu et al., "Squeeze-and-Excitation Networks", 2018; SqueezeExcitation of torchvision (LDP: ReLU and hard
    sigmoid) and SEModule of timm (C-Abstractor: SiLU and sigmoid).
    """

    def __init__(self, *, dim: int, squeezed: int, function: ActivationKind, gate: Gate) -> None:
        super().__init__()
        self.function: ActivationKind = function
        self.gate: Gate = gate
        self.squeeze = nn.Conv2d(dim, squeezed, kernel_size=1)
        self.excite = nn.Conv2d(squeezed, dim, kernel_size=1)

    @override
    def forward(self, maps: Float[Tensor, "batch dim rows cols"]) -> Float[Tensor, "batch dim rows cols"]:
        mean = maps.mean((2, 3), keepdim=True)
        scale = self.excite(activate(self.squeeze(mean), self.function))
        return maps * (scale.sigmoid() if self.gate == "sigmoid" else F.hardsigmoid(scale))


def squeeze_excite_flops(*, dim: int, squeezed: int) -> int:
    """Count the operations for one map: two layers on its mean."""
    return 4 * dim * squeezed


def divisible(channels: int, by: int) -> int:
    """Round a number of channels to the nearest multiple, at least one, and never more than a tenth below.

    Source: _make_divisible of torchvision.

    Args:
        channels: the number that would be right.
        by: what the answer is a multiple of.
    """
    near = max(by, (channels + by // 2) // by * by)
    return near + by if 10 * near < 9 * channels else near
