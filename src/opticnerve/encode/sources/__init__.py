"""Where pictures to encode come from: files, lists, tables and tar files."""

from opticnerve.encode.sources.open import open_pictures
from opticnerve.encode.sources.picture import NamedSource, Picture, PictureSource, ends_of

__all__ = ["NamedSource", "Picture", "PictureSource", "ends_of", "open_pictures"]
