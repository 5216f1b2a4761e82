"""Pixel shuffle + MLP, as InternVL, Idefics3, SmolVLM, nanoVLM and Llama 4 have it."""

from typing import Literal

from opticnerve.connectors import blocks
from opticnerve.connectors.blocks import LLM, Activation, BlockSpec, Dim, Merge, Norm
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec
from opticnerve.grid import Odd


@checked
def pixel_shuffle(
    *,
    factor: int = 2,
    version: Literal["v1", "v2"] = "v2",
    has_norm: bool = True,
    hidden: tuple[Dim, ...] = (LLM,),
    has_bias: bool = True,
    has_last_activation: bool = False,
    odd: Odd = "error",
) -> ConnectorSpec:
    """Put factor x factor neighbours side by side, normalise, and project: factor^2 times fewer, wider tokens.

    Keeps: every number of the encoder, and the place of each inside its token. Loses: nothing before the projection,
    whose first layer is factor^2 times as wide.

    Source: Chen et al., "How Far Are We to GPT-4V?" (InternVL 1.5), 2024, section 3; modeling_internvl_chat.py.
    Differs: the factor is a whole number instead of a float scale (1 / factor), which rounds wrongly at 1/5 and others;
    any rows x cols grid is taken.

    Example: 32 x 32 patches of 1024 channels -> 16 x 16 tokens of 4096 channels -> 256 tokens of the LLM's width.

    Args:
        factor: neighbours a side; InternVL, Idefics3 and Llama 4 use 2, SmolVLM 3 or 4, nanoVLM 4.
        version: InternVL's ps_version. "v1" gives the tokens column by column (InternVL 1.2), "v2" row by row.
        has_norm: whether a layer norm stands before the MLP. Idefics3, SmolVLM, nanoVLM and Llama 4: False.
        hidden: the MLP's hidden widths. InternVL: one, as wide as the LLM. Idefics3, SmolVLM, nanoVLM: ().
            Llama 4: (4096, 4096).
        has_bias: whether the Linears have a bias. Idefics3, SmolVLM, nanoVLM and Llama 4: False.
        has_last_activation: whether a GELU follows the last Linear (Llama 4's inner MLP).
        odd: for grids that the factor does not divide.
    """
    parts: list[BlockSpec] = [Merge(rows=factor, cols=factor, is_transposed=version == "v1", odd=odd)]
    if has_norm:
        parts.append(Norm(norm="layer", eps=1e-5))
    parts += blocks.mlp(*hidden, has_bias=has_bias)
    if has_last_activation:
        parts.append(Activation())
    return ConnectorSpec(name="pixel_shuffle", blocks=tuple(parts))
