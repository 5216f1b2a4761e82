"""Pictures from disk, and samples to train on. What is wrong with one sample is a `BadSampleError`, never fatal."""

from opticnerve.data.bad_samples import check_bad_share, read_bad_samples
from opticnerve.data.chat import ChatWriter, Span
from opticnerve.data.collate import Collator
from opticnerve.data.examples import IGNORED, Example, ExampleMaker
from opticnerve.data.find import SUFFIXES, find_images
from opticnerve.data.good_samples import GoodSamples, Source
from opticnerve.data.images import MAX_PIXELS, decode_image, image_size, pixels_of
from opticnerve.data.mixture import Mixture
from opticnerve.data.order import GroupedOrder, Lengths, ShuffledOrder, measure
from opticnerve.data.packing import Packer, first_fit
from opticnerve.data.processors import Processor
from opticnerve.data.samples import IMAGE, ImageSource, Message, Sample, SeenImage, SeenTokens
from opticnerve.data.sources import (
    HuggingFaceSource,
    HuggingFaceStream,
    LlavaSource,
    WebDatasetSource,
    WebDatasetStream,
)
from opticnerve.data.streams import AsStream, GoodOfStream, Stream, StreamMixture

__all__ = [
    "IGNORED",
    "IMAGE",
    "MAX_PIXELS",
    "SUFFIXES",
    "AsStream",
    "ChatWriter",
    "Collator",
    "Example",
    "ExampleMaker",
    "GoodOfStream",
    "GoodSamples",
    "GroupedOrder",
    "HuggingFaceSource",
    "HuggingFaceStream",
    "ImageSource",
    "Lengths",
    "LlavaSource",
    "Message",
    "Mixture",
    "Packer",
    "Processor",
    "Sample",
    "SeenImage",
    "SeenTokens",
    "ShuffledOrder",
    "Source",
    "Span",
    "Stream",
    "StreamMixture",
    "WebDatasetSource",
    "WebDatasetStream",
    "check_bad_share",
    "decode_image",
    "find_images",
    "first_fit",
    "image_size",
    "measure",
    "pixels_of",
    "read_bad_samples",
]
