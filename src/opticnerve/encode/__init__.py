"""From image files to visual tokens: the library behind `opticnerve compress`.

tiled = views.ViewSettings(tiling="internvl").load()
compressor = Compressor.with_random_weights(tiled, method("pixel_shuffle"), llm_dim=2048)
compressed = compressor.compress(decode_image("photo.jpg"))
compressed.tokens                           # (tokens, llm_dim)
"""

from opticnerve.encode.compare import MethodRow, compare
from opticnerve.encode.compressor import Compressed, Compressor, Counts
from opticnerve.encode.job import Done, Draw, Failed, Job, is_picture, settings_metadata
from opticnerve.encode.store import StoredTokens, StoreError, make_folder, read_metadata, read_tokens, write_tokens

__all__ = [
    "Compressed",
    "Compressor",
    "Counts",
    "Done",
    "Draw",
    "Failed",
    "Job",
    "MethodRow",
    "StoreError",
    "StoredTokens",
    "compare",
    "is_picture",
    "make_folder",
    "read_metadata",
    "read_tokens",
    "settings_metadata",
    "write_tokens",
]
