"""What is measured: matrix products, memory, whole layers, starting a layer, and making tiles of a JPEG."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import linear

from opticnerve.data import decode_image
from opticnerve.planner.calibrate.clock import Spread
from opticnerve.planner.calibrate.machine import TORCH_DTYPES, Machine, threads
from opticnerve.planner.calibrate.networks import Network, llm, llm_settings, vit, vit_settings
from opticnerve.planner.device import DType
from opticnerve.tiling import InternVLTiling, PlainTiling, Tiling, apply

Probe = Literal["matrices", "copy", "read", "layers", "start", "decode", "tiles"]

_MATRICES = ((256, 768, 3072), (576, 1024, 1024), (1024, 1024, 4096), (2048, 2048, 2048))
"""Rows, channels in and channels out of the products: those of encoders and small LLMs, and a large square."""
_GPU_FACTOR = 4
"""By which a GPU's matrices are larger on each side: small ones do not fill it."""
_COPY_BYTES = 2**27
"""Of a block that is copied: more than caches hold."""
_PICTURE_PX = (1200, 1600)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One number about the machine."""

    probe: Probe
    what: str
    """What it was measured on."""
    unit: str
    spread: Spread
    dtype: DType | Literal[""] = ""
    """Of the numbers; bytes of images have none."""
    num_layers: int = 0
    flops: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Prober:
    """Measures one thing after another, each for a while."""

    machine: Machine
    seconds: float
    """For each measurement."""

    def matrices(self, dtype: DType, size: tuple[int, int, int]) -> Measurement:
        """Measure a matrix product, in operations a second.

        Args:
            dtype: of the numbers.
            size: rows, channels in, channels out.
        """
        rows, in_dim, out_dim = size
        values, weights = self._random(dtype, rows, in_dim), self._random(dtype, out_dim, in_dim)
        ms = self.machine.clock.ms(lambda: linear(values, weights), seconds=self.seconds)
        rate = ms.inverse(2000 * rows * in_dim * out_dim)
        return Measurement(
            probe="matrices", what=f"{rows} x {in_dim} x {out_dim}", dtype=dtype, unit="FLOP/s", spread=rate
        )

    def copy(self) -> Measurement:
        """Measure memory that is read and written, in bytes a second."""
        block = torch.ones(_COPY_BYTES // 4, device=self.machine.kind)
        target = torch.empty_like(block)
        ms = self.machine.clock.ms(lambda: target.copy_(block), seconds=self.seconds)
        what = f"copy of {_COPY_BYTES // 2**20} MiB"
        return Measurement(probe="copy", what=what, dtype="fp32", unit="B/s", spread=ms.inverse(2000 * _COPY_BYTES))

    def read(self) -> Measurement:
        """Measure weights that are read for one token, in bytes a second."""
        dtype = self.machine.dtypes[0]
        side = 4096
        weights, token = self._random(dtype, 2 * side, side), self._random(dtype, 1, side)
        size = weights.numel() * weights.element_size()
        ms = self.machine.clock.ms(lambda: linear(token, weights), seconds=self.seconds)
        what = f"weights of {size // 2**20} MiB for one token"
        return Measurement(probe="read", what=what, dtype=dtype, unit="B/s", spread=ms.inverse(1000 * size))

    def layers(self, dtype: DType, index: int) -> Measurement:
        """Measure whole layers, in milliseconds.

        Args:
            dtype: of weights and activations.
            index: of `LAYERS`.
        """
        what, network = _layers(self.machine, dtype, index)
        return self._network("layers", what, dtype, network)

    def start(self, kind: Literal["encoder", "LLM"]) -> Measurement:
        """Measure layers that compute next to nothing, in milliseconds.

        Args:
            kind: of the layers.
        """
        dtype = self.machine.dtypes[0]
        if kind == "encoder":
            settings = vit_settings(dim=64, depth=8, image_px=64, patch_px=32)
            return self._network(
                "start", "encoder, 8 layers of 64, 4 tokens", dtype, vit(settings, self.machine, dtype)
            )
        settings = llm_settings(dim=64, depth=8, mlp_dim=128, kv_heads=1)
        return self._network(
            "start", "LLM, 8 layers of 64, 4 tokens", dtype, llm(settings, self.machine, dtype, tokens=4)
        )

    def decode(self, *, is_detailed: bool) -> Measurement:
        """Measure one core that decodes JPEG, in milliseconds a megapixel.

        Args:
            is_detailed: a picture full of edges in high quality, rather than a smooth one.
        """
        data = _jpeg(is_detailed=is_detailed)
        with threads(1):
            ms = self.machine.clock.ms(lambda: decode_image(data), seconds=self.seconds)
        what = f"{'detailed' if is_detailed else 'smooth'} JPEG of {_PICTURE_PX[1]} x {_PICTURE_PX[0]} px"
        return self._per_megapixel("decode", what, ms, _PICTURE_PX[0] * _PICTURE_PX[1])

    def tiles(self, *, are_many: bool) -> Measurement:
        """Measure one core that makes tiles, in milliseconds for a megapixel of tiles.

        Args:
            are_many: InternVL's tiles, rather than one that the whole picture is shrunk to.
        """
        tiling: Tiling = InternVLTiling(tile_px=448) if are_many else PlainTiling(height_px=448, width_px=448)
        plan = tiling.plan(*_PICTURE_PX)
        picture = decode_image(_jpeg(is_detailed=True))
        with threads(1):
            ms = self.machine.clock.ms(lambda: apply(plan, picture), seconds=self.seconds)
        what = f"{plan.num_tiles} tile{'s' if plan.num_tiles > 1 else ''} of 448 px"
        return self._per_megapixel("tiles", what, ms, plan.num_tiles * 448**2)

    def _per_megapixel(self, probe: Probe, what: str, ms: Spread, pixels: int) -> Measurement:
        return Measurement(probe=probe, what=what, unit="ms/Mpx", spread=ms.times(1e6 / pixels))

    def _network(self, probe: Probe, what: str, dtype: DType, network: Network) -> Measurement:
        with torch.inference_mode():
            ms = self.machine.clock.ms(network.run, seconds=self.seconds)
        return Measurement(
            probe=probe,
            what=what,
            dtype=dtype,
            unit="ms",
            spread=ms,
            num_layers=network.num_layers,
            flops=network.flops,
        )

    def _random(self, dtype: DType, rows: int, cols: int) -> Tensor:
        return torch.ones(rows, cols, dtype=TORCH_DTYPES[dtype], device=self.machine.kind)


def sizes(machine: Machine) -> Sequence[tuple[int, int, int]]:
    """Return the matrix products that are measured.

    Args:
        machine: where.
    """
    factor = _GPU_FACTOR if machine.kind == "cuda" else 1
    return [(rows * factor, in_dim * factor, out_dim * factor) for rows, in_dim, out_dim in _MATRICES]


NUM_LAYERS = 4
"""Networks that `Prober.layers` measures."""


def _layers(machine: Machine, dtype: DType, index: int) -> tuple[str, Network]:
    """Build one of the networks: small and middle, encoder and LLM; on a GPU with eight times the work at once."""
    more = 8 if machine.kind == "cuda" else 1
    if index == 0:
        settings = vit_settings(dim=384, depth=6, image_px=224)
        return "encoder of 384, 196 tokens", vit(settings, machine, dtype, images=more)
    if index == 1:
        settings = vit_settings(dim=1024, depth=3, image_px=256)
        return "encoder of 1024, 256 tokens", vit(settings, machine, dtype, images=more)
    if index == 2:
        settings = llm_settings(dim=640, depth=6, mlp_dim=1728, kv_heads=5)
        return f"LLM of 640, {160 * more} tokens", llm(settings, machine, dtype, tokens=160 * more)
    settings = llm_settings(dim=1024, depth=3, mlp_dim=3072, kv_heads=8)
    return f"LLM of 1024, {640 * more} tokens", llm(settings, machine, dtype, tokens=640 * more)


def _jpeg(*, is_detailed: bool) -> bytes:
    """Draw a picture, the same each time, and write it as JPEG."""
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    coarse = 4 if is_detailed else 64
    small = torch.rand(1, 3, _PICTURE_PX[0] // coarse, _PICTURE_PX[1] // coarse, generator=generator)
    picture = torch.nn.functional.interpolate(small, _PICTURE_PX, mode="bilinear")
    pixels = (255 * picture[0]).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95 if is_detailed else 80)
    return file.getvalue()
