"""Every method works under torch.compile and torch.export, with the numbers of eager mode."""

from pathlib import Path

import pytest
import torch

from connectors.contract import random_features
from connectors.small import GRID, LLM_DIM, NAMES, OTHER_GRID, VISION_DIM, small
from opticnerve import Connector, Grid

pytestmark = pytest.mark.unchecked


@pytest.fixture
def connector(name: str) -> Connector:
    torch.manual_seed(0)
    return small(name).build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)


@pytest.mark.parametrize("name", NAMES)
def test_a_method_compiles_in_one_graph(connector: Connector) -> None:
    torch.compiler.reset()
    compiled = torch.compile(connector, fullgraph=True, backend="aot_eager")
    features = random_features(connector, GRID).requires_grad_()
    tokens = compiled(features, GRID)
    torch.testing.assert_close(tokens, connector(features, GRID))
    tokens.sum().backward()
    assert features.grad is not None


@pytest.mark.parametrize("name", ["pixel_shuffle", "ldpv2"])
def test_the_default_compiler_gives_the_same_numbers(connector: Connector) -> None:
    torch.compiler.reset()
    compiled = torch.compile(connector, fullgraph=True)
    features = random_features(connector, GRID)
    torch.testing.assert_close(compiled(features, GRID), connector(features, GRID), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ldpv2", "ldp", "pool"])
def test_the_default_compiler_takes_new_grids(
    connector: Connector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # guards of older programs come back from the cache
    torch.compiler.reset()
    compiled = torch.compile(connector, fullgraph=True)
    for number, grid in enumerate((GRID, OTHER_GRID, Grid(16, 8), Grid(8, 8), Grid(24, 4))):
        features = random_features(connector, grid)
        with torch.compiler.set_stance("fail_on_recompile" if number > 2 else "default"):
            tokens = compiled(features, grid)
        torch.testing.assert_close(tokens, connector(features, grid), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_method_exports_with_a_free_batch(connector: Connector) -> None:
    features = random_features(connector, GRID)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(connector.on_grid(GRID), (features,), dynamic_shapes=({0: batch},))
    more = torch.cat([features, features])
    torch.testing.assert_close(program.module()(more), connector(more, GRID), atol=1e-5, rtol=1e-5)
