"""Every method of the registry keeps the contract, and the contract catches connectors that do not."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from connectors import contract
from connectors.contract import random_features
from connectors.small import GRID, LLM_DIM, NAMES, OTHER_GRID, SMALL, VISION_DIM, small
from opticnerve import METHODS, Connector, ConnectorSpec, Grid, OpticNerveError, methods
from opticnerve.errors import ShapeError

WIDE: dict[str, dict[str, Any]] = {
    "ldpv2": {"out_grid": (12, 12)},
    "perceiver": {"num_latents": 64, "head_dim": 64},
    "qwen_vl_resampler": {"query_grid": (8, 8)},
    "minicpm_resampler": {"num_queries": 64},
    "qformer": {"num_queries": 32, "hidden_dim": 192, "feed_forward_dim": 768},
    "c_abstractor": {"out_grid": (12, 12), "hidden_dim": 256, "depth": 3, "pos_grid": (24, 24)},
    "d_abstractor": {"query_grid": (12, 12), "hidden_dim": 256, "ffn_dim": 256, "pos_grid": (24, 24)},
    "token_packer": {"attn_dim": 128},
}
"""Options that make each small method wide enough to feel its memory."""

every_method = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def connector(name: str) -> Connector:
    torch.manual_seed(0)
    return small(name).build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)


@every_method
@pytest.mark.parametrize(
    "check",
    [
        contract.gives_the_planned_tokens,
        contract.counts_its_flops,
        contract.states_memory_for_input_and_output,
        contract.teaches_every_parameter,
        contract.keeps_images_apart,
        contract.leaves_its_input_alone,
        contract.keeps_tokens_in_place,
        contract.works_in_bfloat16,
        contract.survives_its_state_dict,
    ],
    ids=lambda check: check.__name__,
)
def test_a_method(connector: Connector, check: Callable[[Connector, Grid], None]) -> None:
    check(connector, GRID)


@pytest.mark.filterwarnings("ignore:Profiler clears events:UserWarning")
@every_method
def test_a_method_states_its_peak_memory(name: str) -> None:
    options = {**SMALL.get(name, {}), **WIDE.get(name, {})}
    connector = METHODS[name](**options).build(vision_dim=256, llm_dim=384)
    contract.states_its_peak_memory(connector, Grid(24, 24))


@every_method
def test_a_connector_survives_copies_pickle_and_a_build_without_memory(connector: Connector) -> None:
    features = random_features(connector, GRID)
    want = connector(features, GRID)
    with torch.device("meta"):
        bare = connector.spec.build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)
    assert bare(features.to("meta"), GRID).shape == want.shape
    bare.load_state_dict(connector.state_dict(), assign=True)
    for twin in (copy.deepcopy(connector), pickle.loads(pickle.dumps(connector)), bare):
        assert twin.spec == connector.spec
        assert torch.equal(twin(features, GRID), want)


@every_method
@pytest.mark.parametrize("num_images", [0, 1])
def test_a_batch_of_one_or_none_has_its_tokens(connector: Connector, num_images: int) -> None:
    features = random_features(connector, GRID)
    got = connector(features[:num_images], GRID)
    torch.testing.assert_close(got, connector(features, GRID)[:num_images], atol=1e-5, rtol=1e-5)


@every_method
def test_a_method_counts_its_parameters(connector: Connector) -> None:
    contract.counts_its_parameters(connector)


@every_method
def test_a_method_packs_as_it_batches(connector: Connector) -> None:
    contract.packs_as_it_batches(connector, *_grids_that_fit(connector))


@every_method
def test_a_method_takes_its_paper_defaults_at_any_time(name: str) -> None:
    spec = METHODS[name]()
    assert spec.name == name
    assert spec.num_tokens(Grid(24, 24)) >= 1
    assert spec.num_params(vision_dim=1024, llm_dim=2048) > 0


@every_method
def test_a_spec_is_the_same_after_json(name: str) -> None:
    for spec in (small(name), METHODS[name]()):
        assert ConnectorSpec.from_json(spec.to_json()) == spec


@every_method
def test_a_resolved_spec_builds_the_same_connector(name: str, connector: Connector) -> None:
    resolved = connector.spec.resolve(vision_dim=VISION_DIM, llm_dim=LLM_DIM)
    twin = resolved.build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)
    twin.load_state_dict(connector.state_dict())


@every_method
def test_features_of_another_shape_are_refused(connector: Connector) -> None:
    with pytest.raises(ShapeError, match=r"features of shape \(1, 7, 32\) do not lie on the grid 8 x 12 with 32"):
        connector(torch.zeros(1, 7, VISION_DIM), GRID)
    with pytest.raises(ShapeError, match=r"pass \(total positions, vision_dim\) = \(\.\.\., 96, 32\)"):
        connector.packed(torch.zeros(96, VISION_DIM + 1), [GRID])


@every_method
@pytest.mark.parametrize(
    ("grid", "words"),
    [
        (Grid(8, 12, prefix=1), "begins with prefix tokens (1): drop them at the encoder"),
        (Grid(7, 11), "7 x 11"),
        (Grid(8, 12, frames=2), "2 x 8 x 12"),
    ],
    ids=["prefix", "odd", "frames"],
)
def test_an_unusual_grid_is_taken_or_refused_in_words(connector: Connector, grid: Grid, words: str) -> None:
    refusal = _refusal(connector, grid)
    assert not refusal or words in refusal


def test_small_options_name_methods_that_exist() -> None:
    assert SMALL.keys() <= METHODS.keys()


def _refusal(connector: Connector, grid: Grid) -> str:
    try:
        contract.gives_the_planned_tokens(connector, grid)
    except OpticNerveError as error:
        return str(error)
    return ""


def _grids_that_fit(connector: Connector) -> list[Grid]:
    fitting = [grid for grid in (GRID, OTHER_GRID, Grid(4, 8)) if not _refusal(connector, grid)]
    assert fitting
    return fitting


# The contract itself: each check must fail on a connector that is broken in its way.


def _broken(change: Callable[[Tensor], Tensor]) -> Connector:
    connector = methods.pixel_shuffle().build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)
    connector.blocks[-1].register_forward_hook(lambda module, inputs, tokens: change(tokens))
    return connector


@pytest.mark.parametrize(
    ("check", "change"),
    [
        (contract.gives_the_planned_tokens, lambda tokens: tokens[:, 1:]),
        (contract.gives_the_planned_tokens, lambda tokens: tokens / 0),
        (contract.counts_its_flops, lambda tokens: tokens @ torch.ones(LLM_DIM, LLM_DIM)),
        (contract.teaches_every_parameter, lambda tokens: tokens.detach() + 0 * tokens),
        (contract.keeps_images_apart, lambda tokens: tokens + tokens.mean(0, keepdim=True)),
        (contract.keeps_images_apart, lambda tokens: 0 * tokens),
        (contract.keeps_tokens_in_place, lambda tokens: tokens.flip(1)),
        (contract.keeps_tokens_in_place, lambda tokens: tokens.unflatten(1, (4, 6)).transpose(1, 2).flatten(1, 2)),
        (contract.states_its_peak_memory, lambda tokens: tokens.repeat(9, 1, 1)[: len(tokens)]),
        (contract.packs_as_it_batches, lambda tokens: tokens + len(tokens)),
        (contract.works_in_bfloat16, lambda tokens: tokens.float()),
        (contract.survives_its_state_dict, lambda tokens: tokens + torch.rand(1)),
    ],
)
def test_the_contract_catches_a_broken_connector(
    check: Callable[[Connector, Grid], None], change: Callable[[Tensor], Tensor]
) -> None:
    broken = _broken(change)
    with pytest.raises(AssertionError):
        check(broken, GRID)


def test_the_contract_catches_a_connector_that_writes_into_its_input() -> None:
    connector = methods.linear().build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)

    class InPlace(nn.Module):
        def forward(self, features: Tensor, grid: Grid) -> Tensor:
            return features.add_(1) @ torch.ones(VISION_DIM, LLM_DIM)

    connector.blocks[0] = InPlace()
    with pytest.raises(AssertionError):
        contract.leaves_its_input_alone(connector, GRID)


def test_the_contract_catches_a_parameter_that_does_nothing() -> None:
    connector = methods.linear().build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)
    connector.register_parameter("idle", nn.Parameter(torch.zeros(3)))
    with pytest.raises(AssertionError, match="idle gets no gradient"):
        contract.teaches_every_parameter(connector, GRID)
    with pytest.raises(AssertionError):
        contract.counts_its_parameters(connector)
