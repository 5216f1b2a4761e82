"""Concat + MLP: 2 x 2 neighbours side by side, as the patch mergers of Qwen2-VL and VILA have it."""

from typing import Literal

from opticnerve.connectors.blocks import IN, LLM, Activation, BlockSpec, Dim, Linear, Merge, Norm
from opticnerve.connectors.blocks.norm import NormKind
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec
from opticnerve.grid import Odd


@checked
def concat_mlp(
    *,
    factor: int = 2,
    norm: NormKind = "layer",
    norm_place: Literal["patch", "merged", "every"] = "patch",
    eps: float = 1e-6,
    hidden: tuple[Dim, ...] = (IN,),
    odd: Odd = "error",
) -> ConnectorSpec:
    """Concatenate factor x factor neighbours and project them with an MLP: factor^2 times fewer tokens.

    Keeps: every number of the encoder. Loses: nothing before the MLP.

    Source: Wang et al., "Qwen2-VL", 2024, section 2.1, and transformers' PatchMerger; Liu et al., "NVILA", 2024, and
    VILA's code (mlp_downsample in base_projector.py).
    Differs: patches come in raster order; Qwen's block order is undone at the encoder.

    Example: 28 x 28 patches of 1280 channels -> 14 x 14 tokens of 5120 channels -> 196 tokens of the LLM's width.

    Args:
        factor: neighbours a side.
        norm: "layer" for Qwen2-VL, Qwen3-VL and VILA, "rms" for Qwen2.5-VL.
        norm_place: before the concatenation, over each patch (Qwen); after it (Qwen3-VL's DeepStack, VILA 2x2);
            or after it and before every later Linear but the last (VILA 3x3).
        eps: of the norm: 1e-6 in Qwen, 1e-5 in VILA.
        hidden: the MLP's hidden widths. Qwen: one, as wide as the merged token (IN). VILA 2x2: (LLM,). VILA 3x3:
            (VISION * 3, LLM).
        odd: for grids that the factor does not divide. VILA pads.
    """
    parts: list[BlockSpec] = [Merge(rows=factor, cols=factor, odd=odd)]
    parts.insert(0 if norm_place == "patch" else 1, Norm(norm=norm, eps=eps))
    for index, dim in enumerate(hidden):
        if norm_place == "every" and index > 0:
            parts.append(Norm(norm=norm, eps=eps))
        parts += [Linear(dim=dim), Activation()]
    return ConnectorSpec(name="concat_mlp", blocks=(*parts, Linear(dim=LLM)))
