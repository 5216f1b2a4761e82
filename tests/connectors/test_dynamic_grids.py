"""A compiled connector takes new grids as they come: after the first few nothing is compiled again."""

from typing import Literal

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from connectors.contract import random_features
from connectors.small import GRID, LLM_DIM, NAMES, OTHER_GRID, SMALL, VISION_DIM
from opticnerve import Connector, Grid, method

pytestmark = pytest.mark.unchecked

Way = Literal["plain", "train", "inference"]
WAYS: tuple[Way, ...] = ("plain", "train", "inference")
FIRST = (GRID, OTHER_GRID, Grid(16, 8))
NEW = (Grid(8, 8), Grid(20, 12), Grid(4, 24), Grid(24, 4), Grid(16, 16))
RESIZED = {"c_abstractor", "d_abstractor"}
"""Methods with learned positions, which take other grids only where they are resized."""

STEPWISE = {"tome", "divprune", "farthest_point"}
"""Methods whose number of steps is that of the tokens: a program for each grid."""

QUICK = {"mlp", "pool", "pixel_shuffle"}
CASES = [
    pytest.param(name, way, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in NAMES
    for way in WAYS
    if name not in STEPWISE
]


def any_grid(name: str, way: Way) -> Connector:
    torch.manual_seed(0)
    options = {"other_grid": "resize"} if name in RESIZED else {}
    spec = method(name, **SMALL.get(name, {}), **options)
    connector = spec.build(vision_dim=VISION_DIM, llm_dim=LLM_DIM).eval()
    return connector if way == "plain" else connector.optimized(mode=way, grid=GRID)


def compiled_times(counter: CompileCounterWithBackend) -> int:
    assert isinstance(counter.frame_count, int)
    return counter.frame_count


@pytest.mark.parametrize(("name", "way"), CASES)
def test_new_grids_compile_nothing_after_the_first_three(name: str, way: Way) -> None:
    connector = any_grid(name, way)
    torch.compiler.reset()
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(connector, fullgraph=True, backend=counter)
    for grid in FIRST:
        compiled(random_features(connector, grid), grid)
    before = compiled_times(counter)
    assert 2 <= before <= len(FIRST)
    for grid in NEW:
        features = random_features(connector, grid)
        torch.testing.assert_close(compiled(features, grid), connector(features, grid), atol=1e-5, rtol=1e-5)
    assert compiled_times(counter) == before


@pytest.mark.slow
@pytest.mark.parametrize("way", ["plain", "train"])
@pytest.mark.parametrize("name", ["ldpv2", "minicpm_resampler", "perceiver", "pool"])
def test_gradients_of_new_grids_compile_nothing_either(name: str, way: Way) -> None:
    connector = any_grid(name, way)
    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(connector, fullgraph=True, backend=counter)
    before = 0
    for grid in (*FIRST, *NEW):
        if grid == NEW[0]:
            before = compiled_times(counter)
        wanted, given = (random_features(connector, grid).requires_grad_() for _ in range(2))
        connector(wanted, grid).square().sum().backward()
        compiled(given, grid).square().sum().backward()
        torch.testing.assert_close(given.grad, wanted.grad, atol=1e-4, rtol=1e-4)
    assert compiled_times(counter) == before


@pytest.mark.parametrize(("name", "way"), CASES)
def test_packed_images_of_new_grids_compile_nothing(name: str, way: Way) -> None:
    connector, plain = any_grid(name, way), any_grid(name, "plain")
    plain.load_state_dict(connector.state_dict())
    torch.compiler.reset()
    counter = CompileCounterWithBackend("eager")
    connector.compile(backend=counter, fullgraph=True)
    # one image and several, at the beginning and further on: what the compiler tells apart for good
    a, b, c = FIRST
    for grids in ([a, b, c], [b, c], [b, b, a, a, c, c], [c, a, a, c]):
        connector.packed(random_features(connector, *grids), grids)
    before = compiled_times(counter)
    assert before >= 2
    for grids in (list(NEW), [NEW[0], NEW[1], NEW[0]], [NEW[2], NEW[2], NEW[3]], [*NEW, *NEW]):
        features = random_features(connector, *grids)
        tokens, places = connector.packed(features, grids)
        wanted, planned = plain.packed(features, grids)
        assert places == planned
        torch.testing.assert_close(tokens, wanted, atol=1e-5, rtol=1e-5)
    assert compiled_times(counter) == before


@torch.no_grad()
def test_a_compiled_caller_of_packed_has_its_numbers_and_the_compiled_dense_form() -> None:
    connector = any_grid("ldpv2", "plain")
    grids = [GRID, OTHER_GRID, GRID]
    features = random_features(connector, *grids)
    wanted = 2 * connector.packed(2 * features, grids)[0]
    torch.compiler.reset()
    inner, outer = CompileCounterWithBackend("eager"), CompileCounterWithBackend("eager")
    connector.compile(backend=inner)
    caller = torch.compile(lambda packed: 2 * connector.packed(2 * packed, grids)[0], backend=outer)
    torch.testing.assert_close(caller(features), wanted)
    assert compiled_times(inner) == 2  # both grids
    assert compiled_times(outer) == 2  # before packed and after it


@pytest.mark.parametrize(("name", "way"), [case for case in CASES if case.values[1] != "plain"])
def test_an_optimized_method_exports_with_a_free_batch(name: str, way: Way) -> None:
    connector = any_grid(name, way)
    features = random_features(connector, GRID)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(connector.on_grid(GRID), (features,), dynamic_shapes=({0: batch},))
    more = torch.cat([features, features])
    torch.testing.assert_close(program.module()(more), connector(more, GRID), atol=1e-5, rtol=1e-5)
