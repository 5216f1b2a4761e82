"""Where samples come from: files in the formats that data sets are published in."""

from opticnerve.data.sources.huggingface import HuggingFaceSource, HuggingFaceStream
from opticnerve.data.sources.llava import LlavaSource
from opticnerve.data.sources.webdataset import WebDatasetSource, WebDatasetStream, find_shards, is_plain_tar

__all__ = [
    "HuggingFaceSource",
    "HuggingFaceStream",
    "LlavaSource",
    "WebDatasetSource",
    "WebDatasetStream",
    "find_shards",
    "is_plain_tar",
]
