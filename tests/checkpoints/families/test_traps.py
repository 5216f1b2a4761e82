"""What breaks parity without an error: each mistake is made on purpose, and must be seen."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints.families.harness import Family, Recorded, close, save, tiny, to_blocks
from checkpoints.families.test_families import FAMILIES
from opticnerve import Connector, ConnectorSpec, Grid, load_connector
from opticnerve.checkpoints import load_published
from opticnerve.connectors.blocks import GLU, Activation, BlockSpec, Branches, Linear, Merge, Norm, Pool

ROWS: dict[str, Family] = {family.layout: family for family in reversed(FAMILIES)}


def changed(spec: ConnectorSpec, kind: type[BlockSpec], **changes: Any) -> ConnectorSpec:
    """Change every block of a kind, those in branches too."""

    def change(block: BlockSpec) -> BlockSpec:
        if isinstance(block, Branches):
            return replace(block, branches=tuple(tuple(map(change, branch)) for branch in block.branches))
        return replace(block, **changes) if isinstance(block, kind) else block

    return replace(spec, blocks=tuple(map(change, spec.blocks)))


def rebuilt(connector: Connector, spec: ConnectorSpec) -> Connector:
    """The same weights in other blocks."""
    assert spec != connector.spec, "the change changes nothing"
    other = spec.build(vision_dim=connector.vision_dim, llm_dim=connector.llm_dim).eval()
    other.load_state_dict(connector.state_dict())
    return other


def read(layout: str, tmp_path: Path) -> tuple[Connector, list[Recorded]]:
    family = ROWS[layout]
    model = tiny(family)
    folder = save(model, tmp_path / "model")
    name = {"layout": layout} if family.loads_by_name else {}
    with torch.no_grad():
        return load_connector(folder, **name), family.record(model)


def fits(connector: Connector, records: list[Recorded]) -> bool:
    with torch.no_grad():
        return all(close(connector(one.features, one.grid), one.output) for one in records)


TRAPS: list[tuple[str, str, Callable[[ConnectorSpec], ConnectorSpec]]] = [
    ("channels of a merged token", "internvl", lambda spec: changed(spec, Merge, order="channel_row_col")),
    ("channels of a merged token", "mistral3", lambda spec: changed(spec, Merge, order="row_col_channel")),
    ("tokens column by column", "internvl", lambda spec: changed(spec, Merge, is_transposed=True)),
    ("kind of GELU", "llava", lambda spec: changed(spec, Activation, function="gelu_tanh")),
    ("kind of GELU", "minicpmv4_6_vit", lambda spec: changed(spec, Activation, function="gelu")),
    ("epsilon", "qwen2_vl", lambda spec: changed(spec, Norm, eps=1e-5)),
    ("epsilon", "internvl", lambda spec: changed(spec, Norm, eps=1e-6)),
    ("1 + weight", "gemma3", lambda spec: changed(spec, Norm, norm="rms")),
    ("activation of a GLU", "aya_vision", lambda spec: changed(spec, GLU, function="gelu")),
    ("kind of pool", "llava_onevision_video", lambda spec: changed(spec, Pool, mode="average", odd="drop")),
]


@pytest.mark.parametrize(("what", "layout", "trap"), TRAPS, ids=[f"{what}-{layout}" for what, layout, _ in TRAPS])
def test_a_trap_is_seen(what: str, layout: str, trap: Callable[[ConnectorSpec], ConnectorSpec], tmp_path: Path) -> None:
    del what
    connector, records = read(layout, tmp_path)
    assert fits(connector, records)
    assert not fits(rebuilt(connector, trap(connector.spec)), records)


def test_features_in_the_order_of_blocks_are_not_features_row_by_row(tmp_path: Path) -> None:
    connector, records = read("qwen2_vl", tmp_path)
    blocked = [replace(one, features=to_blocks(one.features[0], one.grid, side=2)[None]) for one in records]
    assert not fits(connector, blocked)


def test_the_halves_of_a_packed_glu_are_not_exchanged(tmp_path: Path) -> None:
    connector, records = read("aya_vision", tmp_path)
    state = connector.state_dict()
    swapped = {name.replace("gate", "UP").replace("up", "gate").replace("UP", "up"): one for name, one in state.items()}
    assert list(swapped) != list(state)
    connector.load_state_dict(swapped)
    assert not fits(connector, records)


def test_a_square_matrix_that_is_stored_the_other_way_round_is_turned() -> None:
    blocks = (Pool(factor=2), Norm(norm="rms_one_plus"), Linear(has_bias=False))
    connector = ConnectorSpec(name="square", blocks=blocks).build(vision_dim=6, llm_dim=6)
    matrix = torch.randn(6, 6)
    tensors = {"mm_soft_emb_norm.weight": torch.zeros(6), "mm_input_projection_weight": matrix}
    load_published(connector, tensors, layout="gemma3")
    normed = torch.nn.functional.rms_norm(torch.ones(6), (6,), eps=1e-5)
    torch.testing.assert_close(connector(torch.ones(1, 4, 6), Grid(2, 2))[0, 0], normed @ matrix)


def test_a_norm_on_the_other_side_of_the_merge_is_seen_even_if_its_weights_are_made_to_fit(tmp_path: Path) -> None:
    connector, records = read("qwen2_vl", tmp_path)
    norm, merge, *rest = connector.spec.blocks
    late = replace(connector.spec, blocks=(merge, norm, *rest)).build(
        vision_dim=connector.vision_dim, llm_dim=connector.llm_dim
    )
    state = connector.state_dict()
    for leaf in ("weight", "bias"):
        state[f"blocks.1.norm.{leaf}"] = state.pop(f"blocks.0.norm.{leaf}").repeat(4)
    late.load_state_dict(state)
    assert not fits(late, records)


def test_pooling_before_a_nonlinear_projection_is_not_pooling_after_it(tmp_path: Path) -> None:
    connector, records = read("llava_onevision_video", tmp_path)
    *mlp, pool = connector.spec.blocks
    assert isinstance(pool, Pool)
    assert isinstance(mlp[0], Linear)
    early = replace(connector.spec, blocks=(pool, *mlp)).build(
        vision_dim=connector.vision_dim, llm_dim=connector.llm_dim
    )
    names = [f"blocks.{index}.linear.{leaf}" for index in (0, 2) for leaf in ("weight", "bias")]
    state = connector.state_dict()
    early.load_state_dict({f"blocks.{int(name[7]) + 1}{name[8:]}": state[name] for name in names})
    assert not fits(early, records)
