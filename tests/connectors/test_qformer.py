"""Q-Formers, with and without an instruction."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from connectors import contract
from opticnerve import Connector, ConnectorSpec, Grid, methods
from opticnerve.checkpoints import load_published, published_tensors
from opticnerve.connectors import TextTokens
from opticnerve.connectors.blocks import QFormer, TextQFormer
from opticnerve.errors import CheckpointError, ShapeError, SpecError

GRID = Grid(3, 4, prefix=1)
DIMS = {"vision_dim": 8, "llm_dim": 12}
SMALL: dict[str, Any] = {
    "num_queries": 5,
    "hidden_dim": 16,
    "num_layers": 3,
    "num_heads": 4,
    "feed_forward_dim": 24,
}
READING = {**SMALL, "reads_text": True, "vocab_size": 11, "max_text_length": 7}


def features(batch: int = 2) -> Tensor:
    return torch.randn(batch, GRID.size, 8, generator=torch.Generator().manual_seed(0))


def built(spec: ConnectorSpec) -> Connector:
    """Random weights, wide enough that a change anywhere is felt."""
    torch.manual_seed(0)
    connector = spec.build(**DIMS)
    for parameter in connector.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return connector


def text(*rows: list[int]) -> TextTokens:
    """Instructions of several lengths, padded with word 0."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows])
    return TextTokens(ids=ids, mask=mask)


def test_the_paper_s_q_former_has_105_million_parameters() -> None:
    queries = 32 * 768
    assert round((QFormer().num_params(1408) - queries) / 1e6, 1) == 105.1
    assert methods.qformer().num_tokens(Grid(16, 16, prefix=1)) == 32


@pytest.mark.parametrize("freq", [1, 2, 3])
@pytest.mark.parametrize("grid", [GRID, Grid(5, 2), Grid(2, 3, frames=2)], ids=str)
def test_queries_look_in_every_freq_th_layer_and_the_work_is_counted(freq: int, grid: Grid) -> None:
    connector = built(methods.qformer(**SMALL, cross_attention_freq=freq))
    core = connector.blocks[1]
    assert [layer.look is not None for layer in core.layers] == [index % freq == 0 for index in range(3)]
    contract.counts_its_flops(connector, grid)
    contract.gives_the_planned_tokens(connector, grid)
    contract.teaches_every_parameter(connector, grid)


@torch.no_grad()
def test_prefix_tokens_are_seen_like_patches() -> None:
    connector = built(methods.qformer(**SMALL))
    changed = features()
    changed[:, 0] = changed[:, 0].flip(-1)
    assert not torch.allclose(connector(changed, GRID), connector(features(), GRID), atol=1e-3)
    turned = connector(features().flip(1), GRID)
    torch.testing.assert_close(turned, connector(features(), GRID), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_an_instruction_changes_what_the_queries_bring() -> None:
    connector = built(methods.qformer(**READING))
    one, other = (connector(features(), GRID, text=text(words, words)) for words in ([3, 4, 5], [3, 5, 4]))
    assert one.shape == (2, 5, 12)
    assert (one - other).abs().max() > 1e-3


@torch.no_grad()
def test_padding_of_an_instruction_changes_nothing() -> None:
    connector = built(methods.qformer(**READING))
    together = connector(features(), GRID, text=text([3, 4], [5, 6, 7, 8]))
    alone = connector(features()[:1], GRID, text=text([3, 4]))
    torch.testing.assert_close(together[:1], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_each_packed_image_gets_its_own_instruction() -> None:
    connector = built(methods.qformer(**READING))
    words = text([3, 4, 2], [5], [7, 8])
    grids = [GRID, Grid(2, 2), GRID]
    packed = torch.randn(sum(grid.size for grid in grids), 8, generator=torch.Generator().manual_seed(0))
    tokens, _ = connector.packed(packed, grids, text=words)
    start = 0
    for index, grid in enumerate(grids):
        image = packed[None, start : start + grid.size]
        alone = connector(image, grid, text=words.rows([index]))[0]
        torch.testing.assert_close(tokens[5 * index : 5 * index + 5], alone, atol=1e-4, rtol=1e-4)
        start += grid.size


def test_every_parameter_of_a_reading_q_former_learns() -> None:
    connector = built(methods.qformer(**READING))
    connector(features(), GRID, text=text([3, 4, 5], [5, 6, 7])).square().sum().backward()
    for name, parameter in connector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("length", [1, 4])
def test_the_work_of_an_instruction_is_counted(length: int) -> None:
    connector = built(methods.qformer(**READING))
    words = text(list(range(length)))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        connector(features(1), GRID, text=words)
    core = connector.spec.blocks[1]
    assert isinstance(core, TextQFormer)
    assert counter.get_total_flops() == connector.spec.flops(GRID, **DIMS) + core.text_flops(length)


def test_published_tensors_that_do_nothing_are_read_over() -> None:
    connector = built(methods.qformer(**READING))
    tensors = published_tensors(connector, layout="instructblip_llm")
    before = {name: tensor.clone() for name, tensor in connector.state_dict().items()}
    last = "Qformer.bert.encoder.layer.2"
    idle = {"Qformer.bert.embeddings.position_ids": torch.arange(7), f"{last}.output.dense.bias": torch.zeros(16)}
    load_published(connector, {**tensors, **idle}, layout="instructblip_llm")
    assert all(torch.equal(before[name], tensor) for name, tensor in connector.state_dict().items())
    idle = {"Qformer.bert.encoder.layer.1.output.dense.more": torch.zeros(16)}
    with pytest.raises(CheckpointError, match=r"left over Qformer\.bert\.encoder\.layer\.1\.output\.dense\.more"):
        load_published(connector, {**tensors, **idle}, layout="instructblip_llm")


def test_a_reading_q_former_is_the_same_after_json() -> None:
    spec = methods.qformer(**READING)
    assert ConnectorSpec.from_json(spec.to_json()) == spec
    assert spec.blocks[1].kind == "text_qformer"


def test_an_instruction_that_does_not_fit_is_refused_in_words() -> None:
    reading, plain = built(methods.qformer(**READING)), built(methods.qformer(**SMALL))
    with pytest.raises(ShapeError, match=r"reads an instruction: pass text=TextTokens\(ids=\.\.\., mask=\.\.\.\)"):
        reading(features(), GRID)
    with pytest.raises(ShapeError, match=r"ids of shape \(1, 2\) and a mask of shape \(1, 2\), .* \(2, at most 7\)"):
        reading(features(), GRID, text=text([3, 4]))
    with pytest.raises(ShapeError, match=r"ids of shape \(2, 8\)"):
        reading(features(), GRID, text=text([1] * 8, [1] * 8))
    with pytest.raises(ShapeError, match="reads no text"):
        plain(features(), GRID, text=text([3], [4]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QFormer(num_layers=0), "a Q-Former needs at least 1 of everything, got num_queries=32, num_layers=0"),
        (
            lambda: QFormer(hidden_dim=20),
            "a Q-Former cannot divide 20 channels among 12 heads; numbers that fit: 1, 2, 4",
        ),
        (lambda: TextQFormer(vocab_size=0), "words and room for them, got vocab_size=0 and max_text_length=512"),
    ],
)
def test_options_that_cannot_be_built_are_refused(make: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make()


@torch.no_grad()
def test_a_reading_q_former_on_a_fixed_grid_takes_tensors_alone() -> None:
    connector = built(methods.qformer(**READING))
    words, fixed = text([3, 4], [5, 6]), connector.on_grid(GRID)
    assert torch.equal(fixed(features(), words.ids, words.mask), connector(features(), GRID, text=words))
    with pytest.raises(ShapeError, match="an instruction is ids and mask together: pass both, or none"):
        fixed(features(), words.ids)


@pytest.mark.unchecked
@torch.no_grad()
def test_a_reading_q_former_exports_with_a_free_batch_and_length() -> None:
    connector = built(methods.qformer(**READING))
    words, more = text([3, 4, 5], [5, 6]), text([3, 4], [5, 6], [7])
    batch, length = torch.export.Dim("batch", min=2, max=64), torch.export.Dim("length", min=2, max=7)
    shapes = ({0: batch}, {0: batch, 1: length}, {0: batch, 1: length})
    inputs = (features(), words.ids, words.mask)
    program = torch.export.export(connector.on_grid(GRID), inputs, dynamic_shapes=shapes)
    got = program.module()(features(3), more.ids, more.mask)
    torch.testing.assert_close(got, connector(features(3), GRID, text=more), atol=1e-5, rtol=1e-5)


@pytest.mark.unchecked
@torch.no_grad()
def test_a_reading_q_former_compiles_in_one_graph() -> None:
    torch.compiler.reset()
    connector = built(methods.qformer(**READING))
    compiled = torch.compile(connector, fullgraph=True, backend="aot_eager")
    words = text([3, 4], [5, 6])
    torch.testing.assert_close(compiled(features(), GRID, text=words), connector(features(), GRID, text=words))
