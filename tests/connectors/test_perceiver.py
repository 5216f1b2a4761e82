"""Perceivers and the small blocks around them, on any features."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from connectors import contract
from opticnerve import Grid, Queries, methods
from opticnerve.connectors.blocks import GLU, EndTokens, FramePositions, Perceiver
from opticnerve.connectors.blocks.attention import Attention
from opticnerve.errors import GridError, SpecError

GRID = Grid(4, 6)
SMALL = {"num_latents": 5, "depth": 2, "num_heads": 4, "head_dim": 6}

FLAMINGO: dict[str, Any] = {"has_projection": False}
IDEFICS: dict[str, Any] = {"has_qk_norm": True, "function": "relu", "has_projection": False}
IDEFICS2: dict[str, Any] = {
    "kv_group": 2,
    "norm": "rms",
    "eps": 1e-6,
    "function": "silu",
    "gate": "plain",
    "input_projection": "glu",
    "input_hidden_dim": 20,
    "has_projection": False,
}
HONEYBEE: dict[str, Any] = {
    "has_bias": True,
    "residual": "normed",
    "function": "silu",
    "gate": "normed",
    "feed_forward_dim": 40,
    "has_last_norm": False,
    "has_position": True,
    "pos_grid": (4, 6),
    "input_projection": "linear",
    "input_dim": 24,
    "num_eos_tokens": 2,
}
published = pytest.mark.parametrize(
    "options", [FLAMINGO, IDEFICS, IDEFICS2, HONEYBEE], ids=["flamingo", "idefics", "idefics2", "honeybee"]
)


def features(grid: Grid, dim: int = 8) -> Tensor:
    return torch.randn(2, grid.size, dim, generator=torch.Generator().manual_seed(0))


def slow_flamingo(block: nn.Module, x: Tensor, *, heads: int) -> Tensor:
    """One latent, one head at a time."""
    latents = block.latents.expand(len(x), -1, -1)
    for layer in block.layers:
        normed = layer.latent_norm(latents)
        seen = torch.cat([layer.feature_norm(x), normed], 1)
        attention, parts = layer.attention, []
        head_dim = attention.query.out_features // heads
        for head in range(heads):
            rows = slice(head * head_dim, (head + 1) * head_dim)
            q, k, v = (
                F.linear(t, m.weight[rows])
                for t, m in ((normed, attention.query), (seen, attention.key), (seen, attention.value))
            )
            parts.append(torch.softmax(q @ k.mT / head_dim**0.5, -1) @ v)
        latents = latents + F.linear(torch.cat(parts, -1), attention.out.weight)
        hidden = F.gelu(F.linear(layer.feed_forward_norm(latents), layer.feed_forward.up.weight))
        latents = latents + F.linear(hidden, layer.feed_forward.down.weight)
    return block.norm(latents)


@torch.no_grad()
def test_latents_look_at_features_and_latents_and_think_in_every_layer() -> None:
    torch.manual_seed(0)
    block = Perceiver(**SMALL, feed_forward_dim=16).build(8)
    x = features(GRID)
    torch.testing.assert_close(block(x, GRID), slow_flamingo(block, x, heads=4), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_normed_residual_forgets_the_scale_of_the_latents() -> None:
    for residual, forgets in (("normed", True), ("raw", False)):
        torch.manual_seed(0)
        block = Perceiver(**SMALL, feed_forward_dim=16, residual=residual, has_last_norm=False).build(8)
        before = block(features(GRID), GRID)
        block.latents.mul_(100)
        assert torch.allclose(block(features(GRID), GRID), before, atol=1e-2) is forgets


@torch.no_grad()
def test_grouped_heads_share_keys_and_values() -> None:
    torch.manual_seed(0)
    grouped = Attention(dim=8, key_dim=8, num_heads=4, head_dim=6, kv_group=2)
    full = Attention(dim=8, key_dim=8, num_heads=4, head_dim=6)
    state = grouped.state_dict()
    for name in ("key.weight", "key.bias", "value.weight", "value.bias"):
        heads = state[name].unflatten(0, (2, 6))
        state[name] = heads.repeat_interleave(2, 0).flatten(0, 1)
    full.load_state_dict(state)
    x = features(GRID)
    torch.testing.assert_close(grouped(x[:, :3], x, x), full(x[:, :3], x, x))


@published
@pytest.mark.parametrize("grid", [GRID, Grid(4, 6, frames=3), Grid(3, 5, prefix=2)], ids=str)
def test_a_published_perceiver_keeps_the_contract_on_any_grid(options: dict[str, Any], grid: Grid) -> None:
    if options is HONEYBEE and grid.prefix:
        options = {**options, "has_position": False}
    spec = methods.perceiver(**SMALL, **options)
    llm_dim = 12 if spec.out_dim(vision_dim=8, llm_dim=12) == 12 else 8
    connector = spec.build(vision_dim=8, llm_dim=llm_dim)
    for check in (contract.gives_the_planned_tokens, contract.counts_its_flops, contract.teaches_every_parameter):
        check(connector, grid)
    contract.counts_its_parameters(connector)


@torch.no_grad()
def test_the_order_of_features_does_not_matter_to_a_perceiver() -> None:
    torch.manual_seed(0)
    connector = methods.perceiver(**SMALL).build(vision_dim=8, llm_dim=12)
    x = features(GRID)
    torch.testing.assert_close(connector(x.flip(1), GRID), connector(x, GRID), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_all_patches_of_a_frame_get_its_vector() -> None:
    block = FramePositions(max_frames=3).build(8)
    grid = Grid(2, 3, frames=2)
    x = features(grid)
    added = (block(x, grid) - x).unflatten(1, (2, 6))
    torch.testing.assert_close(added[0, 0], block.table[:1].expand(6, -1))
    torch.testing.assert_close(added[1, 1], block.table[1:2].expand(6, -1))


def test_more_frames_than_vectors_are_refused() -> None:
    spec = methods.perceiver(max_frames=2)
    assert spec.num_tokens(Grid(2, 3, frames=2)) == 64
    with pytest.raises(
        GridError, match="learned positions for 2 frames, but the grid 3 x 2 x 3 has 3: sample at most 2"
    ):
        spec.num_tokens(Grid(2, 3, frames=3))


@torch.no_grad()
def test_a_glu_multiplies_its_activated_gate_with_its_input() -> None:
    block = GLU(hidden_dim=5, dim=3, has_bias=True).build(8)
    x, glu = features(GRID), block.glu
    torch.testing.assert_close(block(x, GRID), glu.down(F.silu(glu.gate(x)) * glu.up(x)))


def test_end_tokens_come_last_and_have_no_place() -> None:
    block = EndTokens(num=2).build(8)
    x = features(GRID)
    out = block(x, GRID)
    assert torch.equal(out[:, :-2], x)
    assert torch.equal(out[1, -2:], block.tokens)
    assert EndTokens(num=2).out_grid(GRID) == Queries(26)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Perceiver(depth=0), "a perceiver needs at least 1 of everything, got num_latents=64, depth=0"),
        (
            lambda: Perceiver(kv_group=3),
            "8 heads cannot share keys and values in groups of 3: num_heads must be a mult",
        ),
        (lambda: FramePositions(max_frames=0), "need room for at least 1 frame, got max_frames=0"),
        (lambda: EndTokens(num=0), "end tokens must be at least 1, got num=0: leave the block out"),
    ],
)
def test_options_that_cannot_be_built_are_refused(make: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make()
