"""Codebooks against slow, obvious references."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from connectors import contract
from opticnerve import Connector, ConnectorSpec, Grid
from opticnerve.connectors.blocks import Codebook, Linear, NearestCode
from opticnerve.connectors.blocks.codebook import CodebookBlock, NearestCodeBlock
from opticnerve.errors import SpecError

GRID = Grid(4, 6)
SPECS = {
    "softmax": ConnectorSpec(name="softmax", blocks=(Codebook(num_extra=3),)),
    "argmax": ConnectorSpec(name="argmax", blocks=(Codebook(choice="argmax"),)),
    "nearest": ConnectorSpec(name="nearest", blocks=(NearestCode(num_codes=20), Linear())),
    "sphere": ConnectorSpec(name="sphere", blocks=(NearestCode(num_codes=20, is_normalised=True), Linear())),
}


@pytest.fixture
def connector(name: str) -> Connector:
    torch.manual_seed(0)
    return SPECS[name].build(vision_dim=32, llm_dim=48)


@pytest.mark.parametrize("name", SPECS)
def test_a_codebook_keeps_the_contract(connector: Connector) -> None:
    contract.gives_the_planned_tokens(connector, GRID)
    contract.counts_its_flops(connector, GRID)
    contract.states_memory_for_input_and_output(connector, GRID)
    contract.leaves_its_input_alone(connector, GRID)
    contract.survives_its_state_dict(connector, GRID)
    contract.counts_its_parameters(connector)
    contract.packs_as_it_batches(connector, GRID, Grid(3, 5))
    assert ConnectorSpec.from_json(connector.spec.to_json()) == connector.spec


@pytest.mark.filterwarnings("ignore:Profiler clears events:UserWarning")
@pytest.mark.parametrize("name", SPECS)
def test_a_codebook_states_its_peak_memory(name: str) -> None:
    contract.states_its_peak_memory(SPECS[name].build(vision_dim=256, llm_dim=384), Grid(24, 24))


@pytest.mark.unchecked
@pytest.mark.parametrize("name", SPECS)
def test_a_codebook_compiles_and_exports(connector: Connector) -> None:
    features = contract.random_features(connector, GRID)
    torch.compiler.reset()
    compiled = torch.compile(connector, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(features, GRID), connector(features, GRID))
    program = torch.export.export(connector.on_grid(GRID), (features,))
    torch.testing.assert_close(program.module()(features), connector(features, GRID))


@pytest.mark.parametrize("name", ["softmax", "argmax"])
def test_every_word_learns(connector: Connector) -> None:
    contract.teaches_every_parameter(connector, GRID)


def features(dim: int) -> Tensor:
    return torch.randn(2, GRID.size, dim, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_a_token_is_the_mixture_of_the_words_and_never_of_the_extra_rows() -> None:
    block = Codebook(dim=5, num_extra=3).build(7)
    assert isinstance(block, CodebookBlock)
    assert block.table.shape == (10, 5)
    x = features(7)
    want = torch.stack(
        [
            sum((p * row for p, row in zip(token.softmax(0), block.table, strict=False)), torch.zeros(5))
            for token in x[0]
        ]
    )
    torch.testing.assert_close(block(x, GRID)[0], want)


def test_argmax_takes_one_word_with_the_gradient_of_the_mixture() -> None:
    block, mixed = Codebook(dim=5, choice="argmax").build(7), Codebook(dim=5).build(7)
    assert isinstance(block, CodebookBlock)
    mixed.load_state_dict(block.state_dict())
    x, y = features(7).requires_grad_(), features(7).requires_grad_()
    torch.testing.assert_close(block(x, GRID), block.table[x.argmax(-1)])
    block(x, GRID).sum().backward()
    mixed(y, GRID).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("is_normalised", [False, True])
@torch.no_grad()
def test_each_token_becomes_the_nearest_code(is_normalised: bool) -> None:
    block = NearestCode(num_codes=20, is_normalised=is_normalised).build(4)
    assert isinstance(block, NearestCodeBlock)
    block.codes.copy_(torch.randn(20, 4, generator=torch.Generator().manual_seed(1)))
    x = features(4)
    tokens, codes = (F.normalize(one, dim=-1) if is_normalised else one for one in (x, block.codes))
    for token, got, number in zip(tokens[1], block(x, GRID)[1], block.numbers(x)[1], strict=True):
        distances = [float((token - code).norm()) for code in codes]
        assert int(number) == distances.index(min(distances))
        torch.testing.assert_close(got, codes[number])


def test_the_gradient_passes_straight_through_the_nearest_code() -> None:
    block = NearestCode(num_codes=20).build(4)
    x, weight = features(4).requires_grad_(), features(4)
    (block(x, GRID) * weight).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, weight)
    assert not any(parameter.requires_grad for parameter in block.parameters())


def test_a_codebook_that_cannot_be_is_refused() -> None:
    with pytest.raises(SpecError, match="num_extra of at least 0 rows, got -1"):
        Codebook(num_extra=-1)
    with pytest.raises(SpecError, match="num_codes of at least 1, got 0"):
        NearestCode(num_codes=0)
