"""The encoder that ships with the package: reads rendered text, colours and shapes, with no download."""

from opticnerve.encoders.bundled.model import BundledEncoderModel, load_bundled
from opticnerve.encoders.bundled.probe import ALPHABET, COLORS, KINDS, MAX_WORD, BundledProbe, load_probe

__all__ = [
    "ALPHABET",
    "COLORS",
    "KINDS",
    "MAX_WORD",
    "BundledEncoderModel",
    "BundledProbe",
    "load_bundled",
    "load_probe",
]
