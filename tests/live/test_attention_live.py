"""Our resamplers and Q-Formers give the numbers of transformers' own modules, weights copied by published names."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    Blip2Config,
    Blip2Model,
    Blip2QFormerConfig,
    Idefics2Config,
    InstructBlipConfig,
    InstructBlipModel,
    InstructBlipQFormerConfig,
    OPTConfig,
)
from transformers.models.blip_2.configuration_blip_2 import Blip2VisionConfig
from transformers.models.idefics.perceiver import IdeficsPerceiverResampler
from transformers.models.idefics2.modeling_idefics2 import Idefics2Connector
from transformers.models.instructblip.configuration_instructblip import InstructBlipVisionConfig

from live.test_sequential_live import close, randomised
from opticnerve import Connector, ConnectorSpec, Grid, methods
from opticnerve.checkpoints import load_published, published_tensors
from opticnerve.connectors import TextTokens

VISION_DIM, LLM_DIM = 24, 40
QFORMER = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 13,
    "max_position_embeddings": 9,
    "encoder_hidden_size": VISION_DIM,
}
VISION = {
    "hidden_size": VISION_DIM,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
TEXT = OPTConfig(
    hidden_size=LLM_DIM,
    word_embed_proj_dim=LLM_DIM,
    num_hidden_layers=1,
    num_attention_heads=2,
    ffn_dim=8,
    vocab_size=16,
    max_position_embeddings=16,
)


def spec_of(frequency: int, *, reads_text: bool, has_vision_norm: bool = False) -> ConnectorSpec:
    return methods.qformer(
        num_queries=6,
        hidden_dim=32,
        num_layers=3,
        num_heads=4,
        feed_forward_dim=48,
        cross_attention_freq=frequency,
        has_vision_norm=has_vision_norm,
        vision_eps=1e-6,
        reads_text=reads_text,
        vocab_size=13,
        max_text_length=9,
    )


def copied(spec: ConnectorSpec, tensors: dict[str, Tensor], *, layout: str, vision_dim: int = VISION_DIM) -> Connector:
    """Our connector with published tensors, which it can write back."""
    connector = spec.build(vision_dim=vision_dim, llm_dim=LLM_DIM)
    load_published(connector, tensors, layout=layout)
    written = published_tensors(connector, layout=layout)
    assert all(torch.equal(written[name], tensors[name]) for name in written)
    return connector


def connector_tensors(model: nn.Module, *more: str) -> dict[str, Tensor]:
    parts = ("query_tokens", "qformer.", "language_projection.", *more)
    return {name: tensor for name, tensor in model.state_dict().items() if name.startswith(parts)}


def features(num: int, *, batch: int = 2, dim: int = VISION_DIM) -> Tensor:
    return torch.randn(batch, num, dim, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("frequency", [1, 2])
@torch.no_grad()
def test_a_q_former_is_that_of_blip2(frequency: int) -> None:
    qformer = Blip2QFormerConfig(**QFORMER, cross_attention_frequency=frequency)
    config = Blip2Config(vision_config=Blip2VisionConfig(**VISION), qformer_config=qformer, text_config=TEXT)
    config.num_query_tokens = 6
    theirs = randomised(Blip2Model(config))
    x = features(17)
    queries = theirs.qformer(query_embeds=theirs.query_tokens.expand(2, -1, -1), encoder_hidden_states=x)
    want = theirs.language_projection(queries.last_hidden_state)
    ours = copied(spec_of(frequency, reads_text=False), connector_tensors(theirs), layout="blip_2")
    close(ours(x, Grid(4, 4, prefix=1)), want)

    normed = theirs.vision_model.post_layernorm
    tensors = connector_tensors(theirs, "vision_model.post_layernorm.")
    ours = copied(spec_of(frequency, reads_text=False, has_vision_norm=True), tensors, layout="blip_2")
    queries = theirs.qformer(query_embeds=theirs.query_tokens.expand(2, -1, -1), encoder_hidden_states=normed(x))
    close(ours(x, Grid(4, 4, prefix=1)), theirs.language_projection(queries.last_hidden_state))


@pytest.mark.parametrize("frequency", [1, 2])
@torch.no_grad()
def test_a_reading_q_former_is_that_of_instructblip(frequency: int) -> None:
    qformer = InstructBlipQFormerConfig(**QFORMER, cross_attention_frequency=frequency)
    vision = InstructBlipVisionConfig(**VISION)
    config = InstructBlipConfig(vision_config=vision, qformer_config=qformer, text_config=TEXT)
    config.num_query_tokens = 6
    theirs = randomised(InstructBlipModel(config))
    x = features(17)
    words = TextTokens(
        ids=torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]]), mask=torch.tensor([[True] * 4, [True, True, False, False]])
    )
    mask = torch.cat([torch.ones(2, 6, dtype=torch.long), words.mask.long()], dim=1)
    states = theirs.qformer(
        input_ids=words.ids,
        attention_mask=mask,
        query_embeds=theirs.query_tokens.expand(2, -1, -1),
        encoder_hidden_states=x,
    ).last_hidden_state
    ours = copied(spec_of(frequency, reads_text=True), connector_tensors(theirs), layout="instructblip")
    close(ours(x, Grid(4, 4, prefix=1), text=words), theirs.language_projection(states[:, :6]))


@pytest.mark.parametrize("has_qk_norm", [True, False])
@torch.no_grad()
def test_a_perceiver_is_that_of_idefics(has_qk_norm: bool) -> None:
    config = SimpleNamespace(
        perceiver_config=SimpleNamespace(qk_layer_norms_perceiver=has_qk_norm),
        vision_config=SimpleNamespace(embed_dim=VISION_DIM),
    )
    theirs = randomised(IdeficsPerceiverResampler(config, VISION_DIM, depth=2, n_heads=3, head_dim=10, n_latents=5))
    spec = methods.perceiver(
        num_latents=5,
        depth=2,
        num_heads=3,
        head_dim=10,
        has_qk_norm=has_qk_norm,
        function="relu",
        has_projection=False,
    )
    ours = copied(spec, theirs.state_dict(), layout="idefics")
    x = features(13)
    close(ours(x, Grid(3, 4, prefix=1)), theirs(x))


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@torch.no_grad()
def test_a_perceiver_is_that_of_idefics2_padding_left_out(kv_heads: int) -> None:
    perceiver = {
        "hidden_size": LLM_DIM,
        "resampler_n_latents": 5,
        "resampler_depth": 2,
        "resampler_n_heads": 4,
        "resampler_head_dim": 10,
        "num_key_value_heads": kv_heads,
    }
    config = Idefics2Config(
        vision_config={**VISION, "hidden_size": VISION_DIM},
        perceiver_config=perceiver,
        text_config={"model_type": "mistral", "hidden_size": LLM_DIM, "intermediate_size": 48},
    )
    theirs = randomised(Idefics2Connector(config))
    spec = methods.perceiver(
        input_projection="glu",
        input_hidden_dim=48,
        num_latents=5,
        depth=2,
        num_heads=4,
        head_dim=10,
        kv_group=4 // kv_heads,
        norm="rms",
        eps=1e-6,
        function="silu",
        gate="plain",
        has_projection=False,
    )
    ours = copied(spec, theirs.state_dict(), layout="idefics2")
    x = features(12)
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 8:] = 0
    want = theirs(x, attention_mask=mask)
    tokens, _ = ours.packed(torch.cat([x[0], x[1, :8]]), [Grid(3, 4), Grid(2, 4)])
    close(tokens.unflatten(0, (2, 5)), want)
