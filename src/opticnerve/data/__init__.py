"""Pictures from disk: find them, read their size, decode them. Every failure is one clear `ImageError`."""

from opticnerve.data.find import SUFFIXES, find_images
from opticnerve.data.images import MAX_PIXELS, decode_image, image_size

__all__ = ["MAX_PIXELS", "SUFFIXES", "decode_image", "find_images", "image_size"]
