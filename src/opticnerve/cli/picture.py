"""`--picture`: what a method does to an image, drawn as it goes."""

from dataclasses import replace
from io import BytesIO

from torch import Tensor

from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import Merge
from opticnerve.encode import Compressed, Compressor, Draw
from opticnerve.explorer import Caption, draw_picture
from opticnerve.grid import Grid, Places


def drawing(compressor: Compressor) -> Draw:
    """Return what draws the picture of an image that a compressor has compressed.

    Args:
        compressor: named in the caption.
    """
    tiled = compressor.tiled
    details = [f"tiling {tiled.tiling.name}", f"encoder {tiled.encoder.name}"]
    if tiled.scales != (1,):
        details.append(f"scales {', '.join(f'{scale:g}' for scale in tiled.scales)}")

    def draw(name: str, image: Tensor, compressed: Compressed) -> bytes:
        caption = Caption(
            method=compressor.spec.name,
            source=name,
            num_features=compressed.counts.num_features,
            num_tokens=compressed.counts.num_tokens,
            details=details,
        )
        places = [_upright(compressor.spec, place) for place in compressed.places]
        picture = draw_picture(image, plan=compressed.plan, grids=compressed.grids, places=places, caption=caption)
        buffer = BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()

    return draw


def _upright(spec: ConnectorSpec, place: Places) -> Places:
    """Turn a grid of tokens that come out column by column (InternVL v1) back to how they lie on the image."""
    num_turns = sum(isinstance(block, Merge) and block.is_transposed for block in spec.blocks)
    return replace(place, rows=place.cols, cols=place.rows) if isinstance(place, Grid) and num_turns % 2 else place
