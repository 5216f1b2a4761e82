"""An encoder small enough for tests: one convolution, but all that the library asks of an encoder."""

import torch
from torch import Tensor, nn

from opticnerve.encoders import Encoder, EncoderInfo, Normalisation


class TinyEncoder(Encoder):
    """Patches of 8 px to 12 channels a level; 32 px native, any size, no prefix tokens. It notes its batch sizes."""

    def __init__(self, *, num_levels: int = 1, native_px: tuple[int, int] = (32, 32)) -> None:
        info = EncoderInfo(
            name="tiny",
            dim=12 * num_levels,
            patch_px=8,
            native_px=native_px,
            step_px=8,
            is_any_size=True,
            num_prefix=0,
            normalisation=Normalisation(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        )
        super().__init__(info)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, info.dim, 8, stride=8)
        self.batch_sizes: list[int] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.grid(pixels.shape[-2], pixels.shape[-1])
        self.batch_sizes.append(pixels.shape[0])
        return self.conv(pixels).flatten(2).transpose(1, 2)

    def flops(self, height_px: int, width_px: int) -> int:
        return 2 * 3 * height_px * width_px * self.dim
