"""Layouts of the original repositories, whose models transformers has under other names, or not at all."""

from opticnerve.checkpoints.layout import Layout
from opticnerve.checkpoints.layouts import (
    originals_honeybee,
    originals_llava,
    originals_merge,
    originals_queries,
    originals_vila,
)

TABLE: tuple[Layout, ...] = (
    *originals_llava.TABLE,
    *originals_vila.TABLE,
    *originals_merge.TABLE,
    *originals_queries.TABLE,
    *originals_honeybee.TABLE,
)
