"""What every connector must do. Each check takes a connector and fails by an AssertionError."""

from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from opticnerve import Connector, Grid
from opticnerve.grid import Queries


def random_features(connector: Connector, *grids: Grid, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Features of images of these grids: dense for one grid (a batch of 3), packed for several."""
    generator = torch.Generator().manual_seed(seed)
    if len(grids) == 1:
        return torch.randn(3, grids[0].size, connector.vision_dim, generator=generator).to(dtype)
    return torch.randn(sum(grid.size for grid in grids), connector.vision_dim, generator=generator).to(dtype)


def gives_the_planned_tokens(connector: Connector, grid: Grid) -> None:
    tokens = connector(random_features(connector, grid), grid)
    assert tokens.shape == (3, connector.spec.num_tokens(grid), connector.llm_dim)
    assert torch.isfinite(tokens).all()


def counts_its_parameters(connector: Connector) -> None:
    counted = connector.spec.num_params(vision_dim=connector.vision_dim, llm_dim=connector.llm_dim)
    assert counted == sum(parameter.numel() for parameter in connector.parameters())


def counts_its_flops(connector: Connector, grid: Grid) -> None:
    # the counter does not know the CPU's fused attention, only the matrix products of the plain one
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        connector(random_features(connector, grid)[:1], grid)
    counted = connector.spec.flops(grid, vision_dim=connector.vision_dim, llm_dim=connector.llm_dim)
    assert counted == counter.get_total_flops()


def states_memory_for_input_and_output(connector: Connector, grid: Grid) -> None:
    dims = {"vision_dim": connector.vision_dim, "llm_dim": connector.llm_dim}
    least = max(grid.size * connector.vision_dim, connector.spec.num_tokens(grid) * connector.llm_dim)
    assert connector.spec.activation_bytes(grid, value_bytes=4, **dims) >= 4 * least
    assert connector.spec.activation_bytes(grid, **dims) * 2 == connector.spec.activation_bytes(
        grid, value_bytes=4, **dims
    )


@torch.no_grad()
def states_its_peak_memory(connector: Connector, grid: Grid) -> None:
    """Within a third of what is allocated at the widest moment; kernels' own buffers are small beside wide features."""
    features = random_features(connector, grid)
    connector(features, grid)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        connector(features, grid)
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    peak = (features.nbytes + max(accumulate(changes))) / len(features)
    stated = connector.spec.activation_bytes(
        grid, vision_dim=connector.vision_dim, llm_dim=connector.llm_dim, value_bytes=4
    )
    assert 0.75 * peak < stated < 1.34 * peak, f"states {stated / peak:.2f} of the peak"


def teaches_every_parameter(connector: Connector, grid: Grid) -> None:
    features = random_features(connector, grid).requires_grad_()
    tokens = connector(features, grid)
    (tokens * torch.randn(tokens.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    for name, parameter in connector.named_parameters():
        assert parameter.grad is not None, f"{name} gets no gradient"
        assert parameter.grad.abs().sum() > 0, f"the gradient of {name} is zero"
    assert features.grad is not None
    assert features.grad.abs().sum() > 0


def keeps_images_apart(connector: Connector, grid: Grid) -> None:
    features = random_features(connector, grid)
    before = connector(features, grid)
    changed = features.clone()
    changed[1] = random_features(connector, grid, seed=1)[1]
    after = connector(changed, grid)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(after[1], before[1], atol=1e-3)


def leaves_its_input_alone(connector: Connector, grid: Grid) -> None:
    features = random_features(connector, grid)
    kept = features.clone()
    connector(features, grid)
    assert torch.equal(features, kept)


def packs_as_it_batches(connector: Connector, *grids: Grid) -> None:
    order = [*grids, *reversed(grids)]
    packed = random_features(connector, *order)
    tokens, places = connector.packed(packed, order)
    assert [place.size for place in places] == [connector.spec.num_tokens(grid) for grid in order]
    start = 0
    pieces = tokens.split([place.size for place in places])
    for grid, piece in zip(order, pieces, strict=True):
        alone = connector(packed[None, start : start + grid.size], grid)[0]
        torch.testing.assert_close(piece, alone, atol=1e-5, rtol=1e-5)
        start += grid.size
    assert start == len(packed)


def keeps_tokens_in_place(connector: Connector, grid: Grid) -> None:
    """Each token of an out grid listens most to the patches of its own cell: rows and columns are not swapped."""
    out = connector.spec.out_grid(grid)
    if isinstance(out, Queries):
        return
    features = random_features(connector, grid)[:1].requires_grad_()
    tokens = connector(features, grid).reshape(out.rows, out.cols, -1)
    inside = total = 0.0
    for row in range(out.rows):
        for col in range(out.cols):
            (gradient,) = torch.autograd.grad(tokens[row, col].square().sum(), features, retain_graph=True)
            heat = gradient.abs().sum(-1).reshape(grid.rows, grid.cols)
            top, bottom = row * grid.rows // out.rows, -(-(row + 1) * grid.rows // out.rows)
            left, right = col * grid.cols // out.cols, -(-(col + 1) * grid.cols // out.cols)
            inside += heat[top:bottom, left:right].mean().item()
            total += heat.mean().item()
    assert inside > 3 * total, f"a token's own cell has {inside / total:.2f} times the mean influence"


def works_in_bfloat16(connector: Connector, grid: Grid) -> None:
    # the same numbers for both: a connector that chooses by features chooses others where they are rounded
    features = random_features(connector, grid, dtype=torch.bfloat16)
    wide = connector(features.float(), grid)
    connector.to(torch.bfloat16)
    narrow = connector(features, grid)
    connector.to(torch.float32)
    assert narrow.dtype == torch.bfloat16
    error = (narrow.float() - wide).abs().mean() / wide.abs().mean()
    assert error < 0.1, f"bfloat16 differs by {error:.2f} of the mean"


def survives_its_state_dict(connector: Connector, grid: Grid) -> None:
    twin = connector.spec.build(vision_dim=connector.vision_dim, llm_dim=connector.llm_dim)
    twin.load_state_dict(connector.state_dict())
    features = random_features(connector, grid)
    assert torch.equal(twin(features, grid), connector(features, grid))
