"""Blocks in a few words, as papers write them: "LN, merge 2 x 2, Linear, GELU, Linear"."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Any

from opticnerve.connectors.blocks import BlockSpec, Branches

_NORMS = {"layer": "LN", "rms": "RMSNorm", "rms_one_plus": "RMSNorm (1 + w)", "rms_no_scale": "RMSNorm without scale"}
_ACTIVATIONS = {
    "gelu": "GELU",
    "gelu_tanh": "GELU (tanh)",
    "quick_gelu": "quick GELU",
    "relu": "ReLU",
    "relu_squared": "ReLU squared",
    "silu": "SiLU",
    "hardswish": "Hardswish",
}
_JOINS = {"channels": " | ", "tokens": " ; ", "sum": " + "}


def _merge(block: Any) -> str:  # noqa: ANN401
    order = ", channel-major" if block.order == "channel_row_col" else ""
    return f"merge {block.rows} x {block.cols}{order}{', transposed' if block.is_transposed else ''}"


def _reduce(what: str) -> Callable[[Any], str]:
    return lambda block: f"{what} (patches / {block.reduction})"


_WORDS: Mapping[str, Callable[[Any], str]] = MappingProxyType(
    {
        "activation": lambda block: _ACTIVATIONS[block.function],
        "adaptive_pool": lambda block: f"average into {block.rows} x {block.cols}",
        "attended_merging": _reduce("merge into attended"),
        "diverse_selection": _reduce("keep diverse"),
        "downsample": lambda block: f"conv {block.factor} x {block.factor}",
        "every_kth": _reduce("keep every k-th"),
        "farthest_point": _reduce("keep far apart"),
        "glu": lambda block: f"GLU ({_ACTIVATIONS[block.function]})",
        "linear": lambda block: "Linear" if block.has_bias else "Linear without bias",
        "merge": _merge,
        "norm": lambda block: _NORMS[block.norm],
        "peg": lambda _: "PEG",
        "perceiver": lambda block: f"perceiver ({block.num_latents} latents, {block.depth} layers)",
        "pool": lambda block: f"{block.mode} pool {block.factor} x {block.factor}",
        "qformer": lambda block: f"Q-Former ({block.num_queries} queries, {block.num_layers} layers)",
        "random_patches": _reduce("keep random"),
        "resampler": lambda block: f"resampler ({block.num_queries} queries)",
        "scale": lambda block: f"times {block.factor:.3g}",
        "strided_conv": lambda block: f"conv {block.kernel} x {block.kernel}, stride {block.stride}",
        "text_qformer": lambda block: f"Q-Former with text ({block.num_queries} queries, {block.num_layers} layers)",
        "token_merging": _reduce("merge alike"),
    }
)


def block_words(block: BlockSpec) -> str:
    """Say in a few words what a block is.

    Args:
        block: resolved or not.
    """
    if isinstance(block, Branches):
        words = [blocks_words(branch) or "as it is" for branch in block.branches]
        counted = [(one, len(list(same))) for one, same in groupby(words)]
        listed = [f"{count} x ({one})" if count > 1 else one for one, count in counted]
        return f"({_JOINS[block.join].join(listed)})"
    if block.kind in _WORDS:
        return _WORDS[block.kind](block)
    return block.kind.replace("_", " ")


def blocks_words(blocks: Sequence[BlockSpec]) -> str:
    """Say in a few words what blocks are, first to last.

    Args:
        blocks: of a connector, or of a branch.
    """
    return ", ".join(map(block_words, blocks))
