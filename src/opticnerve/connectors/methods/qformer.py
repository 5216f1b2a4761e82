"""Q-Former, as BLIP-2 and InstructBLIP have it."""

from dataclasses import asdict

from opticnerve.connectors.blocks import BlockSpec, Linear, Norm, QFormer, TextQFormer
from opticnerve.connectors.checked import checked
from opticnerve.connectors.spec import ConnectorSpec


@checked
def qformer(
    *,
    num_queries: int = 32,
    hidden_dim: int = 768,
    num_layers: int = 12,
    num_heads: int = 12,
    cross_attention_freq: int = 2,
    feed_forward_dim: int = 3072,
    eps: float = 1e-12,
    has_vision_norm: bool = True,
    vision_eps: float = 1e-5,
    reads_text: bool = False,
    vocab_size: int = 30523,
    max_text_length: int = 512,
) -> ConnectorSpec:
    """Let queries talk to each other and look at all features in every other layer: always `num_queries` tokens.

    Keeps: whatever the queries learned to ask for, from any grid, prefix tokens included; with an instruction, what it
    asks for. Loses: the places of things, unless the features carry them; fine print, which shares the same few
    queries.

    Source: Li et al., "BLIP-2", 2023, section 3.1 (LAVIS: Qformer.py, blip2_opt.py); Dai et al., "InstructBLIP", 2023,
    section 2.3.
    Differs: no dropout, which the published code has in training; weights start random instead of from BERT.

    Example: 1 CLS token and 16 x 16 patches of 1408 channels -> 32 queries of 768 channels -> 32 tokens.

    Args:
        num_queries: tokens that come out.
        hidden_dim: width of the queries.
        num_layers: layers.
        num_heads: heads.
        cross_attention_freq: queries look at the features in layers 0, freq, 2 freq and so on.
        feed_forward_dim: hidden width of the feed-forward networks.
        eps: of the layer norms inside.
        has_vision_norm: whether the encoder's last layer norm (LAVIS: ln_vision) is part of the connector; in
            transformers it belongs to the encoder: False.
        vision_eps: of that norm.
        reads_text: whether the queries are conditioned on an instruction (InstructBLIP).
        vocab_size: words of the instruction that have an embedding; read with reads_text only.
        max_text_length: longest instruction; read with reads_text only.
    """
    core: BlockSpec = QFormer(
        num_queries=num_queries,
        hidden_dim=hidden_dim,
        num_layers=num_layers,
        num_heads=num_heads,
        cross_attention_freq=cross_attention_freq,
        feed_forward_dim=feed_forward_dim,
        eps=eps,
    )
    if reads_text:
        core = TextQFormer(**asdict(core), vocab_size=vocab_size, max_text_length=max_text_length)
    parts: list[BlockSpec] = [Norm(eps=vision_eps)] if has_vision_norm else []
    return ConnectorSpec(name="qformer", blocks=(*parts, core, Linear()))
