from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from opticnerve.errors import UnknownNameError
from opticnerve.train.errors import TrainingError
from opticnerve.train.objectives import AnswerLoss
from opticnerve.train.parts import layers_of, select
from opticnerve.train.report import check_unchanged, fingerprints, part_reports
from opticnerve.train.starts import first
from opticnerve.train.task import Task
from train import tiny


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 4)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)) for _ in range(4)])
        self.norm = nn.BatchNorm1d(4)


def parts() -> dict[str, nn.Module]:
    return {
        "encoder": Encoder(),
        "connector": nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6)),
        "llm": nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(6, 6) for _ in range(3)]), "head": nn.Linear(6, 9)}),
        "objective": AnswerLoss(),
    }


def opened(model: dict[str, nn.Module]) -> set[str]:
    return {f"{part}.{n}" for part, module in model.items() for n, p in module.named_parameters() if p.requires_grad}


def test_only_what_is_named_is_open() -> None:
    model = parts()
    selection = select(model, {"connector": 1e-3})
    assert opened(model) == {"connector.0.weight", "connector.0.bias", "connector.1.weight", "connector.1.bias"}
    assert [(group.name, group.rate, len(group.parameters)) for group in selection.groups] == [("connector", 1e-3, 4)]


def test_the_most_precise_name_wins_and_every_open_parameter_is_in_one_group() -> None:
    model = parts()
    selection = select(model, {"encoder": 1e-3, "encoder.layers.1-3": 1e-4, "encoder.layers.2": 1e-5})
    counts = {group.name: {name.split(".")[1] for name, _ in group.parameters} for group in selection.groups}
    assert counts == {
        "encoder": {"weight", "bias", "0"},
        "encoder.layers.1-3": {"1", "3"},
        "encoder.layers.2": {"2"},
    }
    ids = [id(p) for group in selection.groups for _, p in group.parameters]
    assert len(ids) == len(set(ids)) == len(list(model["encoder"].parameters()))


def test_the_order_of_names_does_not_matter() -> None:
    names = {"llm.layers.1": 2e-5, "llm": 1e-4, "connector": 1e-3}
    groups = [select(parts(), dict(order)).groups for order in (names.items(), reversed(names.items()))]
    found = [[(group.name, [name for name, _ in group.parameters]) for group in each] for each in groups]
    assert found[0] == found[1]
    assert [name for name, _ in found[0]] == ["connector", "llm", "llm.layers.1"]


def test_rate_0_freezes_a_range_of_an_open_part() -> None:
    model = parts()
    select(model, {"llm": 1e-4, "llm.layers.0-1": 0.0})
    assert opened(model) == {"llm.layers.2.weight", "llm.layers.2.bias", "llm.head.weight", "llm.head.bias"}


def test_tied_weights_are_open_once() -> None:
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=True,
    )
    llm = LlamaForCausalLM(config)
    selection = select({"llm": llm}, {"llm": 1e-4})
    assert len(selection.groups[0].parameters) == len(list(llm.parameters()))


@pytest.mark.parametrize(
    ("open_rates", "error", "message"),
    [
        ({"conector": 1e-3}, UnknownNameError, 'unknown part of the model "conector". Did you mean connector'),
        (
            {"llm.layers.x": 1e-3},
            UnknownNameError,
            "Known: connector, encoder, encoder.layers.0-3, llm, llm.layers.0-2",
        ),
        ({"llm.layers.2-3": 1e-3}, TrainingError, '"llm.layers.2-3": the llm has layers 0-2, first before last.'),
        ({"llm.layers.2-1": 1e-3}, TrainingError, '"llm.layers.2-1": the llm has layers 0-2, first before last.'),
        ({"connector.layers.0": 1e-3}, TrainingError, "the connector has no list of layers"),
        ({"llm.layers.0-1": 1e-3, "llm.layers.1-2": 1e-4}, TrainingError, "share layers, and neither is the finer one"),
        ({"llm.layers.1": 1e-3, "llm.layers.1-1": 1e-4}, TrainingError, "share layers, and neither is the finer one"),
        ({"objective": 1e-3}, TrainingError, '"objective" is named as open, but it has no parameters'),
        (
            {"llm.layers.0-2": 1e-3, "llm.layers.0-0": 1e-3, "llm.layers.1-2": 1e-3},
            TrainingError,
            "no finer name takes",
        ),
        ({"llm": -1.0}, TrainingError, 'the learning rate of "llm" is -1.0: it must be 0, which freezes, or more.'),
        ({}, TrainingError, "nothing is open, so nothing would train. Name at least one of: connector, encoder, llm"),
        ({"llm": 0.0}, TrainingError, "nothing is open, so nothing would train"),
    ],
)
def test_what_cannot_be_opened_is_explained(open_rates: dict[str, float], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        select(parts(), open_rates)
    assert message in str(caught.value)


def test_frozen_modules_stay_in_evaluation_mode() -> None:
    model = parts()
    task = Task(
        nn.ModuleDict(model), AnswerLoss(), selection=select(model, {"connector": 1e-3, "encoder.layers.3": 1e-4})
    )
    task.train()
    encoder = model["encoder"]
    assert isinstance(encoder, Encoder)
    assert [block.training for block in encoder.blocks] == [False, False, False, True]
    assert (encoder.norm.training, model["connector"].training, model["llm"].training) == (False, True, False)
    task.eval()
    assert not any(module.training for module in task.modules())


def test_frozen_layers_still_checkpoint_their_activations() -> None:
    llm = LlamaForCausalLM(
        LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2)
    )
    llm.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    parts = {"llm": llm, "connector": nn.Linear(8, 8)}
    task = Task(nn.ModuleDict(parts), AnswerLoss(), selection=select(parts, {"connector": 1e-3})).train()
    layer = llm.model.layers[0]
    assert (llm.training, layer.training, layer.mlp.training) == (False, True, False)
    assert task.training


def test_the_report_counts_parts_and_ranges() -> None:
    lines = part_reports(select(parts(), {"connector": 1e-3, "llm.layers.2": 2e-5}))
    found = [(line.name, line.parameters, line.trained, line.rate) for line in lines]
    assert found == [
        ("encoder", 4 * 4 + 4 * 20 + 8, 0, 0.0),
        ("connector", 42, 42, 1e-3),
        ("llm", 3 * 42 + 63, 0, 0.0),
        ("llm.layers.2", 42, 42, 2e-5),
    ]
    assert {line.precision for line in lines} == {"float32"}


def test_fingerprints_tell_a_single_changed_bit_of_what_is_frozen() -> None:
    model = parts()
    selection = select(model, {"connector": 1e-3, "llm.layers.2": 1e-4})
    before = fingerprints(selection)
    assert set(before) == {"encoder", "llm"}
    with torch.no_grad():
        model["connector"][0].weight.add_(1)
        model["llm"]["layers"][2].weight.add_(1)
    check_unchanged(before, fingerprints(selection))
    encoder = model["encoder"]
    assert isinstance(encoder, Encoder)
    encoder.norm.running_mean[0] = 1e-30
    with pytest.raises(TrainingError, match="frozen weights have changed: encoder. Nothing that is frozen may be"):
        check_unchanged(before, fingerprints(selection))


@pytest.mark.parametrize(
    ("open_rates", "trained"),
    [
        ({"connector": 1e-3}, {"connector"}),  # BLIP-2 and LLaVA, first stage
        ({"connector": 2e-5, "llm": 2e-5}, {"connector", "llm"}),  # LLaVA, second; MobileVLM
        ({"connector": 1e-4, "encoder": 1e-5, "llm": 2e-5}, {"connector", "llm", "encoder"}),
    ],
)
def test_published_recipes_train_what_they_should(parts: Path, open_rates: dict[str, float], trained: set[str]) -> None:
    model = first(tiny.recipe(parts).model, seed=0).model
    select(model.parts, open_rates)
    found = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert found == {id(p) for name, part in model.parts.items() if name in trained for p in part.parameters()}


def test_layers_are_found_in_real_models(parts: Path) -> None:
    model = first(tiny.recipe(parts).model, seed=0).model
    for name in ("encoder", "llm"):
        layers = layers_of(model.parts[name])
        assert layers is not None
        assert len(layers) == 3
