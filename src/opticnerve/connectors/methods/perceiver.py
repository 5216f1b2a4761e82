"""Perceiver resampler, as Flamingo, Idefics, Idefics2 and Honeybee have it."""

from typing import Literal

from opticnerve.connectors.blocks import (
    GLU,
    IN,
    LLM,
    BlockSpec,
    Dim,
    EndTokens,
    FramePositions,
    GridPositions,
    Linear,
    Perceiver,
)
from opticnerve.connectors.blocks.linear import ActivationKind
from opticnerve.connectors.blocks.norm import NormKind
from opticnerve.connectors.blocks.perceiver import Gate, Residual
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec


@checked
def perceiver(
    *,
    num_latents: int = 64,
    depth: int = 6,
    num_heads: int = 8,
    head_dim: int = 64,
    kv_group: int = 1,
    has_bias: bool = False,
    has_qk_norm: bool = False,
    norm: NormKind = "layer",
    eps: float = 1e-5,
    residual: Residual = "raw",
    feed_forward_dim: Dim = IN * 4,
    function: ActivationKind = "gelu",
    gate: Gate = "none",
    gate_eps: float = 1e-6,
    has_last_norm: bool = True,
    max_frames: int = 0,
    has_position: bool = False,
    pos_grid: tuple[int, int] = (24, 24),
    input_projection: Literal["none", "linear", "glu"] = "none",
    input_dim: Dim = LLM,
    input_hidden_dim: Dim = LLM * 4,
    has_projection: bool = True,
    num_eos_tokens: int = 0,
) -> ConnectorSpec:
    """Let latents gather what they need in several layers of cross-attention: always `num_latents` tokens.

    Keeps: whatever the latents learned to ask for, from any grid, any number of frames, prefix tokens included.
    Loses: the places of things, unless the features carry them; the fine print of large images, which shares the same
    few latents.

    Source: Alayrac et al., "Flamingo", 2022, and OpenFlamingo (helpers.py); Laurencon et al., "OBELICS" (Idefics),
    2023, and "What matters when building vision-language models?" (Idefics2), 2024; Cha et al., "Honeybee", 2024, the
    resampler that its code has to compare with.
    Differs: a Linear to the LLM's width follows, where Flamingo's gated cross-attention takes the encoder's width
    (has_projection=False). Embeddings of the order of several images (media_time_embs) are not part of it: add them
    to the features. Idefics2's latents start random, not all one: equal latents would stay equal.

    Example: 24 x 24 patches of 1024 channels -> 64 latents of 1024 channels -> 64 tokens of the LLM's width.

    Args:
        num_latents: tokens that come out, num_eos_tokens not counted.
        depth: layers. Idefics2: 3.
        num_heads: heads of the latents. Idefics, Idefics2 and Honeybee: 16.
        head_dim: channels of a head. Idefics and Idefics2: 96.
        kv_group: heads that share keys and values. Idefics2: 4.
        has_bias: whether the Linears inside have a bias. Honeybee: True.
        has_qk_norm: whether heads of queries and keys have a layer norm. Idefics: True.
        norm: "layer", or "rms" for Idefics2.
        eps: of the norms. Idefics2: 1e-6.
        residual: what attention is added to. Honeybee: "normed".
        feed_forward_dim: hidden width, four times the latents'.
        function: of the feed-forward networks. Idefics: "relu"; Idefics2 and Honeybee: "silu".
        gate: "plain" for Idefics2's SwiGLU, "normed" for Honeybee's with a layer norm inside.
        gate_eps: of that layer norm.
        has_last_norm: whether a norm follows the last layer. Honeybee: False.
        max_frames: frames with a learned embedding (Flamingo); 0 for none.
        has_position: whether learned positions are added (pos_emb of Honeybee's code, off in its configuration).
        pos_grid: rows and columns that these are learned for; other grids are refused.
        input_projection: what stands before: nothing, a Linear (Honeybee), or a SwiGLU (Idefics2).
        input_dim: width after it. Honeybee: 1024. Idefics2: the LLM's.
        input_hidden_dim: hidden width of that SwiGLU. Idefics2: that of the LLM's feed-forward networks.
        has_projection: whether a Linear to the LLM's width follows. Idefics and Idefics2: False.
        num_eos_tokens: learned tokens appended at the end (of Honeybee's code, 0 in its configuration).
    """
    parts: list[BlockSpec] = []
    if has_position:
        parts.append(GridPositions(rows=pos_grid[0], cols=pos_grid[1]))
    if max_frames:
        parts.append(FramePositions(max_frames=max_frames))
    if input_projection == "linear":
        parts.append(Linear(dim=input_dim))
    elif input_projection == "glu":
        parts.append(GLU(hidden_dim=input_hidden_dim, dim=input_dim))
    core = Perceiver(
        num_latents=num_latents,
        depth=depth,
        num_heads=num_heads,
        head_dim=head_dim,
        kv_group=kv_group,
        has_bias=has_bias,
        has_qk_norm=has_qk_norm,
        norm=norm,
        eps=eps,
        residual=residual,
        feed_forward_dim=feed_forward_dim,
        function=function,
        gate=gate,
        gate_eps=gate_eps,
        has_last_norm=has_last_norm,
    )
    parts.append(core)
    if has_projection:
        parts.append(Linear())
    if num_eos_tokens:
        parts.append(EndTokens(num=num_eos_tokens))
    return ConnectorSpec(name="perceiver", blocks=tuple(parts))
