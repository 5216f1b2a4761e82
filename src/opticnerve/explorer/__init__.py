"""Pictures of what tiling and connector do to an image."""

from opticnerve.explorer.caption import Caption
from opticnerve.explorer.picture import draw_picture

__all__ = ["Caption", "draw_picture"]
