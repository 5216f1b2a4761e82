"""The bundled encoder: a small convolution-and-transformer network that reads text, colours and shapes.

It exists so that everything in this library means something on a laptop and without a download. It is not a general
vision encoder: it was trained, from scratch and in under an hour, on images that `scripts/bundled_encoder` draws.

    pixels (3, H, W) --stem, stride 8--> cells (128, H/8, W/8) --conv, stride 2--> patches (192, H/16, W/16)
      + 2-D sine-cosine positions --4 transformer blocks, each with a depthwise 3x3--> norm --> (rows * cols, 192)

Source: the stem follows "Early Convolutions Help Transformers See Better" (Xiao et al. 2021), the depthwise 3x3 in each
block follows "Conditional Positional Encodings for Vision Transformers" (Chu et al. 2021). No prefix tokens, no
position table: any height and width that are multiples of 16 work.
"""

import math
from importlib.resources import files

import torch
from einops import rearrange
from jaxtyping import Float
from safetensors.torch import load
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.encoders.bundled.blocks import Block, ConvReLU, ResidualConv, sincos_positions
from opticnerve.errors import EncoderError, ImageError


class BundledEncoderModel(nn.Module):
    """Pixels to one feature per 16 px patch.

    Args:
        dim: channels of the features.
        stem_dims: channels after each of the stem's three halvings.
        num_layers: transformer blocks.
        num_heads: attention heads of a block.
        mlp_dim: hidden channels of a block's MLP.
    """

    patch_px: int = 16
    native_px: int = 256
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)

    def __init__(
        self,
        *,
        dim: int = 192,
        stem_dims: tuple[int, int, int] = (32, 64, 128),
        num_layers: int = 4,
        num_heads: int = 6,
        mlp_dim: int = 768,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.num_layers = num_layers
        half, quarter, eighth = stem_dims
        self.stem = nn.Sequential(
            ConvReLU(in_dim=3, out_dim=half),
            ConvReLU(in_dim=half, out_dim=quarter),
            ResidualConv(dim=quarter),
            ConvReLU(in_dim=quarter, out_dim=eighth),
            ResidualConv(dim=eighth),
            ResidualConv(dim=eighth),
        )
        self.embed = nn.Conv2d(eighth, dim, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(dim=dim, num_heads=num_heads, mlp_dim=mlp_dim) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)

    def cells(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch cell_dim rows cols"]:
        """Compute the stem's features, one for every cell of 8 x 8 px."""
        return self.stem(pixels)

    @override
    def forward(
        self, pixels: Float[Tensor, "batch 3 height width"], *, layers: tuple[int, ...] = (-1,)
    ) -> Float[Tensor, "batch patches out_dim"]:
        """Encode images.

        Args:
            pixels: RGB in [0, 1], minus `mean`, over `std`; height and width are multiples of 16.
            layers: features to join on the channels: -1 is the output after the last norm, 0 to `num_layers - 1` are
                the outputs of the blocks.

        Returns:
            Features in raster order (row by row), with `dim * len(layers)` channels.

        Raises:
            ImageError: a side is not a multiple of 16.
            EncoderError: there is no such layer.
        """
        self._check_size(*pixels.shape[-2:])
        if not layers or not all(-1 <= layer < self.num_layers for layer in layers):
            raise EncoderError(
                f"the bundled encoder cannot return layers={layers}: name one or more of its blocks, 0 to "
                f"{self.num_layers - 1}, or -1 for the output after the last norm"
            )
        return self.blocks_forward(self.cells(pixels), layers=layers)

    def blocks_forward(
        self, cells: Tensor, *, layers: tuple[int, ...] = (-1,), offset: tuple[int, int] = (0, 0)
    ) -> Float[Tensor, "batch patches out_dim"]:
        """Turn the stem's cells into patch features; training moves the grid by an `offset` of whole patches."""
        patches = self.embed(cells)
        rows, cols = patches.shape[-2:]
        positions = sincos_positions(rows, cols, dim=self.dim, offset=offset).to(patches)
        x = rearrange(patches, "b d r c -> b (r c) d") + rearrange(positions, "r c d -> (r c) d")
        outputs: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks):
            x = block(x, rows=rows)
            outputs[index] = x
        outputs[-1] = self.norm(x)
        return torch.cat([outputs[layer] for layer in layers], dim=-1)

    def flops(self, height_px: int, width_px: int) -> int:
        """Count two operations per multiply-add of one image's convolutions, matrix products and attention."""
        self._check_size(height_px, width_px)
        total, stride = 0, 1
        for module in [*self.stem.modules(), self.embed]:
            if isinstance(module, nn.Conv2d):
                stride *= module.stride[0]
                total += module.weight.numel() * (height_px // stride) * (width_px // stride)
        patches = (height_px // self.patch_px) * (width_px // self.patch_px)
        for module in self.blocks.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                total += module.weight.numel() * patches
        attention = self.num_layers * 2 * patches * patches * self.dim
        return 2 * (total + attention)

    def _check_size(self, height: int, width: int) -> None:
        if height % self.patch_px or width % self.patch_px or not height or not width:
            fit = [max(math.ceil(side / self.patch_px), 1) * self.patch_px for side in (height, width)]
            raise ImageError(
                f"cannot cut an image of {height} x {width} px into patches of {self.patch_px} px: both sides must be "
                f"multiples of {self.patch_px}. Resize or pad it first, for example to {fit[0]} x {fit[1]} px"
            )


def load_bundled() -> BundledEncoderModel:
    """Load the shipped weights (fp16 on disk) as a float32 model in eval mode."""
    model = BundledEncoderModel()
    data = files("opticnerve.encoders.bundled").joinpath("weights.safetensors").read_bytes()
    model.load_state_dict({name: tensor.float() for name, tensor in load(data).items()})
    return model.eval()
