"""`--picture`: what a method does to an image, drawn as it goes."""

from io import BytesIO

from torch import Tensor

from opticnerve.encode import Compressed, Compressor, Draw
from opticnerve.explorer import Caption, draw_picture


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
        picture = draw_picture(
            image, plan=compressed.plan, grids=compressed.grids, places=compressed.places, caption=caption
        )
        buffer = BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()

    return draw
