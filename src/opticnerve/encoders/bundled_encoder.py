"""The bundled encoder behind the interface of all encoders."""

from typing import TYPE_CHECKING, Literal, cast

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.encoders.base import Encoder, EncoderInfo
from opticnerve.encoders.levels import Layers, resolve_levels
from opticnerve.encoders.normalisation import Normalisation
from opticnerve.errors import EncoderError

if TYPE_CHECKING:
    from opticnerve.encoders.bundled import BundledEncoderModel


class BundledEncoder(Encoder):
    """The bundled encoder, cut to the levels that are wanted. It has no prefix tokens and takes any size.

    Args:
        info: what is known of it.
        model: the network; changed in place.
        levels: numbers of the hidden states to join on the channels; empty for the output after the last norm.
    """

    def __init__(self, info: EncoderInfo, *, model: "BundledEncoderModel", levels: tuple[int, ...]) -> None:
        super().__init__(info)
        self.model = model
        self.levels = levels
        self._layers = tuple(level - 1 for level in levels) or (-1,)
        if levels:
            model.num_layers = max(levels)
            model.blocks = model.blocks[: model.num_layers]
            model.norm = cast(nn.LayerNorm, nn.Identity())

    @override
    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch positions dim"]:
        self.grid(pixels.shape[-2], pixels.shape[-1])
        return self.model(pixels.to(next(self.model.parameters()).dtype), layers=self._layers)

    @override
    def flops(self, height_px: int, width_px: int) -> int:
        self.grid(height_px, width_px)
        return self.model.flops(height_px, width_px)


def load_bundled_encoder(
    *, layers: Layers = "last", normalisation: Normalisation | Literal["checkpoint"] = "checkpoint"
) -> BundledEncoder:
    """Load the encoder that comes with this library, in eval mode.

    Args:
        layers: "last", or indices into the hidden states from 1 to the number of blocks: what enters the first block is
            not one of them.
        normalisation: its own, or the caller's.

    Raises:
        EncoderError: there is no such layer.
    """
    from opticnerve.encoders.bundled import load_bundled

    model = load_bundled()
    levels = resolve_levels(layers, num_layers=model.num_layers, name="bundled")
    if 0 in levels:
        raise EncoderError(
            f'encoder "bundled" does not return what enters its first block (layer 0), got layers={layers!r}: pass '
            f'indices from 1 to {model.num_layers}, or "last"'
        )
    own = Normalisation(mean=model.mean, std=model.std)
    info = EncoderInfo(
        name="bundled",
        dim=model.dim * max(len(levels), 1),
        patch_px=model.patch_px,
        native_px=(model.native_px, model.native_px),
        step_px=model.patch_px,
        is_any_size=True,
        num_prefix=0,
        normalisation=normalisation if isinstance(normalisation, Normalisation) else own,
    )
    return BundledEncoder(info, model=model, levels=levels).eval()
