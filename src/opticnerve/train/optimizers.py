"""AdamW, and Muon for the matrices of a small model that is trained from nothing."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import override


class MuonWithAdamW(torch.optim.Optimizer):
    """torch's Muon for groups with `is_matrix`, torch's AdamW for all others, behind one optimizer's interface.

    Both work on the same groups and the same state, so schedules and checkpoints see one optimizer.

    Args:
        groups: parameter groups with "params", "lr", "weight_decay" and "is_matrix".
        betas: of AdamW.

    Source: Jordan et al., "Muon", 2024; steps are scaled to AdamW's size as in Liu et al., "Muon is Scalable for LLM
    Training", 2025.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, betas: tuple[float, float]) -> None:
        super().__init__(list(groups), {})
        matrices = [group for group in groups if group["is_matrix"]]
        others = [group for group in groups if not group["is_matrix"]]
        self._workers: list[torch.optim.Optimizer] = []
        if matrices:
            self._workers.append(torch.optim.Muon([dict(g) for g in matrices], adjust_lr_fn="match_rms_adamw"))
        if others:
            self._workers.append(torch.optim.AdamW([dict(g) for g in others], betas=betas))
        self.param_groups = [group for worker in self._workers for group in worker.param_groups]
        self._share()

    def _share(self) -> None:
        """Give both workers this optimizer's groups and state."""
        start = 0
        for worker in self._workers:
            worker.param_groups = self.param_groups[start : start + len(worker.param_groups)]
            worker.state = self.state
            start += len(worker.param_groups)

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.state = defaultdict(dict, self.state)
        self._share()

    @override
    @torch.no_grad()
    def step(self, closure: object = None) -> Tensor | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step."""
        del closure
        for worker in self._workers:
            cast("Any", worker).step()
        return None


def split_matrices(groups: Sequence[dict[str, Any]], module: nn.Module) -> list[dict[str, Any]]:
    """Part groups into the matrices of linear layers, and the rest: embeddings, norms, biases, convolutions.

    Args:
        groups: parameter groups.
        module: what the parameters belong to; a head that shares its matrix with an embedding is no linear layer here.
    """
    tables = {id(each.weight) for each in module.modules() if isinstance(each, nn.Embedding)}
    matrices = {id(each.weight) for each in module.modules() if isinstance(each, nn.Linear)} - tables
    parted: list[dict[str, Any]] = []
    for group in groups:
        for is_matrix in (True, False):
            own = [parameter for parameter in group["params"] if (id(parameter) in matrices) is is_matrix]
            if own:
                parted.append({**group, "params": own, "is_matrix": is_matrix})
    return parted
