"""Muon and AdamW behind one optimizer's interface."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from opticnerve.train.optimizers import MuonWithAdamW, split_matrices
from opticnerve.train.small_llm import small_llm

BETAS = (0.9, 0.98)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 8)
        self.first = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.second = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.second(self.norm(self.first(self.table(ids)).tanh()))


MATRICES = {"first.weight", "second.weight"}


def net() -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net()


def groups_of(model: nn.Module) -> list[dict[str, Any]]:
    """Two groups of different rates and decays, each with matrices and other things."""
    named = dict(model.named_parameters())
    last = {name for name in named if name.startswith(("second", "norm"))}
    return [
        {"params": [p for n, p in named.items() if n not in last], "lr": 1e-2, "weight_decay": 0.1, "part": "a"},
        {"params": [p for n, p in named.items() if n in last], "lr": 1e-3, "weight_decay": 0.0, "part": "b"},
    ]


def optimizer_of(model: nn.Module) -> MuonWithAdamW:
    return MuonWithAdamW(split_matrices(groups_of(model), model), betas=BETAS)


def schedule_of(optimizer: torch.optim.Optimizer) -> LambdaLR:
    return LambdaLR(optimizer, lambda step: 1 / (1 + step))


def gradients(model: Net, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    model.zero_grad()
    model(torch.randint(7, (16,), generator=generator)).square().mean().backward()


def train(model: Net, optimizer: torch.optim.Optimizer, schedule: LambdaLR, numbers: range) -> None:
    for number in numbers:
        gradients(model, number)
        optimizer.step()
        schedule.step()


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_groups_are_parted_into_matrices_of_linear_layers_and_the_rest() -> None:
    model = net()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parted = split_matrices(groups_of(model), model)
    found = [
        (g["part"], g["lr"], g["weight_decay"], g["is_matrix"], [names[id(p)] for p in g["params"]]) for g in parted
    ]
    assert found == [
        ("a", 1e-2, 0.1, True, ["first.weight"]),
        ("a", 1e-2, 0.1, False, ["table.weight", "first.bias"]),
        ("b", 1e-3, 0.0, True, ["second.weight"]),
        ("b", 1e-3, 0.0, False, ["norm.weight", "norm.bias", "second.bias"]),
    ]


def test_convolutions_and_bare_parameters_are_no_matrices() -> None:
    model = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 2), "linear": nn.Linear(4, 4, bias=False)})
    model.register_parameter("queries", nn.Parameter(torch.zeros(5, 4)))
    parted = split_matrices([{"params": list(model.parameters())}], model)
    assert [(group["is_matrix"], [tuple(p.shape) for p in group["params"]]) for group in parted] == [
        (True, [(4, 4)]),
        (False, [(5, 4), (4, 3, 2, 2), (4,)]),
    ]


def test_no_group_is_empty() -> None:
    linear = nn.Linear(4, 4, bias=False)
    (only,) = split_matrices([{"params": [linear.weight]}], linear)
    assert only["is_matrix"]
    norm = nn.LayerNorm(4)
    (only,) = split_matrices([{"params": list(norm.parameters())}], norm)
    assert not only["is_matrix"]


def test_a_head_that_shares_its_matrix_with_the_embedding_is_left_to_adamw() -> None:
    llm = small_llm(seed=0)
    assert llm.lm_head.weight is llm.model.embed_tokens.weight
    parted = split_matrices([{"params": list(llm.parameters())}], llm)
    (matrices,) = [group["params"] for group in parted if group["is_matrix"]]
    (others,) = [group["params"] for group in parted if not group["is_matrix"]]
    assert not any(p is llm.lm_head.weight for p in matrices)
    assert any(p is llm.lm_head.weight for p in others)
    assert len(matrices) == 3 * 7  # queries, keys, values, outputs; gates, ups, downs
    assert len(matrices) + len(others) == len(list(llm.parameters()))
    untied = nn.ModuleDict({"table": nn.Embedding(9, 4), "head": nn.Linear(4, 9, bias=False)})
    assert [group["is_matrix"] for group in split_matrices([{"params": list(untied.parameters())}], untied)] == [
        True,
        False,
    ]


def test_steps_are_those_of_torchs_own_muon_and_adamw() -> None:
    ours, theirs = net(), net()
    optimizer = optimizer_of(ours)
    parted = split_matrices(groups_of(theirs), theirs)
    muon = torch.optim.Muon([group for group in parted if group["is_matrix"]], adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([group for group in parted if not group["is_matrix"]], betas=BETAS)
    start = net()
    for number in range(3):
        gradients(ours, number)
        gradients(theirs, number)
        optimizer.step()
        muon.step()
        adamw.step()
        assert same(ours, theirs)
    moved = [not torch.equal(a, b) for a, b in zip(start.parameters(), ours.parameters(), strict=True)]
    assert all(moved)


def test_a_schedule_moves_the_rates_of_both_workers() -> None:
    model = net()
    optimizer = optimizer_of(model)
    schedule = schedule_of(optimizer)
    train(model, optimizer, schedule, range(3))
    rates = {(group["part"], group["is_matrix"]): group["lr"] for group in optimizer.param_groups}
    wanted = {"a": 1e-2 / 4, "b": 1e-3 / 4}
    assert rates == {(part, is_matrix): wanted[part] for part in "ab" for is_matrix in (True, False)}
    before = deepcopy(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    gradients(model, 0)
    optimizer.step()
    assert same(model, before)  # no worker has a rate of its own


@pytest.mark.parametrize("through_disk", [False, True])
def test_training_goes_on_bit_for_bit_from_a_saved_state(tmp_path: Path, through_disk: bool) -> None:
    straight = net()
    optimizer = optimizer_of(straight)
    train(straight, optimizer, schedule_of(optimizer), range(10))

    half = net()
    optimizer = optimizer_of(half)
    schedule = schedule_of(optimizer)
    train(half, optimizer, schedule, range(5))
    saved: Mapping[str, Any] = deepcopy(
        {"model": half.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    )
    if through_disk:
        torch.save(saved, tmp_path / "state.pt")
        saved = torch.load(tmp_path / "state.pt", weights_only=False)
    train(half, optimizer, schedule, range(5, 8))  # what is saved does not change with it

    resumed = net()
    resumed.load_state_dict(saved["model"])
    optimizer = optimizer_of(resumed)
    schedule = schedule_of(optimizer)
    optimizer.load_state_dict(saved["optimizer"])
    schedule.load_state_dict(saved["schedule"])
    train(resumed, optimizer, schedule, range(5, 10))
    assert same(resumed, straight)

    forgetful = net()
    forgetful.load_state_dict(saved["model"])
    optimizer = optimizer_of(forgetful)
    schedule = schedule_of(optimizer)
    schedule.load_state_dict(saved["schedule"])
    for group, rate in zip(optimizer.param_groups, saved["schedule"]["_last_lr"], strict=True):
        group["lr"] = rate
    train(forgetful, optimizer, schedule, range(5, 10))
    assert not same(forgetful, straight)  # the momenta matter


def test_the_saved_state_holds_the_momenta_of_every_parameter() -> None:
    model = net()
    optimizer = optimizer_of(model)
    gradients(model, 0)
    optimizer.step()
    saved = optimizer.state_dict()
    held = {number: set(state) for number, state in saved["state"].items()}
    adam, muon = {"step", "exp_avg", "exp_avg_sq"}, {"momentum_buffer"}
    wanted = {n: muon if group["is_matrix"] else adam for group in saved["param_groups"] for n in group["params"]}
    assert held == wanted
    assert len(held) == len(list(model.parameters()))


@pytest.mark.parametrize("kind", ["matrices", "others"])
def test_one_kind_of_parameter_is_enough(kind: str) -> None:
    model = nn.Linear(4, 4, bias=False) if kind == "matrices" else nn.LayerNorm(4)
    start = deepcopy(model)
    optimizer = MuonWithAdamW(
        split_matrices([{"params": list(model.parameters()), "lr": 1e-2, "weight_decay": 0.0}], model), betas=BETAS
    )
    model(torch.randn(3, 4, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    optimizer.step()
    assert not same(model, start)
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())
