"""Published tensors go in and out by their published names."""

import pytest
import torch

from opticnerve import Connector, methods
from opticnerve.checkpoints import LAYOUTS, load_published, published_tensors
from opticnerve.errors import CheckpointError, UnknownNameError


@pytest.fixture
def connector() -> Connector:
    return methods.pixel_shuffle().build(vision_dim=4, llm_dim=6)


def test_internvl_names_are_those_of_the_release(connector: Connector) -> None:
    shapes = {
        name: tuple(tensor.shape) for name, tensor in published_tensors(connector, layout="internvl_chat").items()
    }
    assert shapes == {
        "mlp1.0.weight": (16,),
        "mlp1.0.bias": (16,),
        "mlp1.1.weight": (6, 16),
        "mlp1.1.bias": (6,),
        "mlp1.3.weight": (6, 6),
        "mlp1.3.bias": (6,),
    }


def test_what_was_written_is_read_back_bit_for_bit(connector: Connector) -> None:
    twin = methods.pixel_shuffle().build(vision_dim=4, llm_dim=6)
    load_published(twin, published_tensors(connector, layout="internvl_chat"), layout="internvl_chat")
    assert all(torch.equal(a, b) for a, b in zip(connector.parameters(), twin.parameters(), strict=True))


def test_gemma_3_has_its_matrix_the_other_way_round() -> None:
    connector = methods.pool(place="before", norm="rms_one_plus", hidden=(), has_bias=False).build(
        vision_dim=4, llm_dim=6
    )
    tensors = published_tensors(connector, layout="gemma3")
    assert tensors["mm_input_projection_weight"].shape == (4, 6)
    assert torch.equal(tensors["mm_input_projection_weight"].T, connector.blocks[2].linear.weight)


def test_missing_and_left_over_tensors_are_named(connector: Connector) -> None:
    tensors = published_tensors(connector, layout="internvl_chat")
    tensors["mlp1.4.weight"] = tensors.pop("mlp1.3.weight")
    before = [parameter.clone() for parameter in connector.parameters()]
    with pytest.raises(CheckpointError, match=r"missing mlp1\.3\.weight; left over mlp1\.4\.weight"):
        load_published(connector, tensors, layout="internvl_chat")
    assert all(torch.equal(a, b) for a, b in zip(connector.parameters(), before, strict=True))


def test_another_width_is_named_with_both_shapes(connector: Connector) -> None:
    tensors = published_tensors(connector, layout="internvl_chat")
    tensors["mlp1.3.weight"] = torch.zeros(6, 7)
    with pytest.raises(
        CheckpointError, match=r"mlp1\.3\.weight has shape \(6, 7\), but blocks\.4\.linear\.weight of this "
    ):
        load_published(connector, tensors, layout="internvl_chat")


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_the_layout_of_other_blocks_is_refused_in_words(connector: Connector, layout: str) -> None:
    try:
        tensors = published_tensors(connector, layout=layout)
    except CheckpointError as error:
        assert "connector" in str(error)  # noqa: PT017
    else:  # a norm and two Linears there too, under other names
        assert sum(tensor.numel() for tensor in tensors.values()) == sum(one.numel() for one in connector.parameters())


@pytest.mark.parametrize("layout", ["blip2_opt", "gemma3", "idefics3", "llama4", "mistral3", "aya_vision"])
def test_these_have_other_blocks(connector: Connector, layout: str) -> None:
    with pytest.raises(CheckpointError, match="the connector"):
        published_tensors(connector, layout=layout)


def test_a_tensor_of_another_shape_with_as_many_numbers_is_refused() -> None:
    connector = methods.qformer(num_queries=4, hidden_dim=12, num_layers=1).build(vision_dim=4, llm_dim=6)
    tensors = published_tensors(connector, layout="blip2_opt")
    assert tensors["query_tokens"].shape == (1, 4, 12)
    tensors["query_tokens"] = tensors["query_tokens"].mT.contiguous()
    with pytest.raises(CheckpointError, match=r"query_tokens has shape \(1, 12, 4\)"):
        load_published(connector, tensors, layout="blip2_opt")


def test_an_unknown_layout_lists_the_nearest(connector: Connector) -> None:
    with pytest.raises(UnknownNameError, match='unknown layout "intervl". Did you mean internvl'):
        published_tensors(connector, layout="intervl")
