"""Trim: remove what the chosen levels of a vision tower do not need."""

from typing import Any, cast

from torch import nn

from opticnerve.encoders.towers import TowerPlan

_FINAL_NORMS = ("post_layernorm", "layernorm", "norm", "rms_norm", "post_layer_norm", "ln_post")


def trim(model: nn.Module, plan: TowerPlan, *, levels: tuple[int, ...]) -> None:
    """Remove pooling heads and mergers, later layers and the final norm, so that nothing is computed in vain.

    Args:
        model: the tower; changed in place.
        plan: what it was built from.
        levels: numbers of the hidden states that are needed; empty for the finished output, which needs everything but
            the heads.
    """
    _drop_heads(model, plan)
    if not levels:
        return
    for attribute in _FINAL_NORMS:
        if attribute in dict(model.named_children()):
            setattr(model, attribute, nn.Identity())
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == plan.num_layers]
    if len(stacks) == 1:
        # The input of the first layer is level 0, so one layer always stays.
        num_kept = max(*levels, 1)
        del stacks[0][num_kept:]
        setattr(cast(Any, model).config, plan.layers_key, num_kept)


def _drop_heads(model: nn.Module, plan: TowerPlan) -> None:
    tower = cast(Any, model)
    if getattr(tower, "use_head", False):
        tower.use_head = False
        del tower.head
    if getattr(tower, "pooler", None) is not None:
        tower.pooler = None
    if plan.is_block_ordered:
        tower.merger = nn.Identity()
    if hasattr(tower, "deepstack_visual_indexes"):
        tower.deepstack_visual_indexes = []
        tower.deepstack_merger_list = nn.ModuleList()
