"""GLU with a limit on its two factors."""

import torch
from torch.nn import functional as F  # noqa: N812

from opticnerve import ConnectorSpec, Grid
from opticnerve.connectors.blocks import GLU


def test_the_gate_is_cut_off_above_and_the_other_factor_on_both_sides() -> None:
    torch.manual_seed(0)
    grid, x = Grid(3, 4), torch.randn(2, 12, 6)
    block = GLU(hidden_dim=8, dim=5, limit=0.3).build(6)
    gate, up = block.glu.gate(x), block.glu.up(x)
    want = block.glu.down(
        F.silu(torch.where(gate > 0.3, 0.3, gate)) * up.minimum(up.new_tensor(0.3)).maximum(-up.new_tensor(0.3))
    )
    assert gate.min() < -0.3
    torch.testing.assert_close(block(x, grid), want)


def test_without_a_limit_nothing_is_cut_off() -> None:
    torch.manual_seed(0)
    grid, x = Grid(3, 4), torch.randn(2, 12, 6)
    free, wide = GLU(hidden_dim=8, dim=5).build(6), GLU(hidden_dim=8, dim=5, limit=1e6).build(6)
    wide.load_state_dict(free.state_dict())
    assert torch.equal(free(x, grid), wide(x, grid))


def test_a_limit_survives_json() -> None:
    for limit in (None, 10.0):
        spec = ConnectorSpec(name="glu", blocks=(GLU(limit=limit),))
        assert ConnectorSpec.from_json(spec.to_json()) == spec
