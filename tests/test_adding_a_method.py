"""The page "Add a method" is true: its one file and its one line make a method."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "add-a-method.md").read_text()

CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
import opticnerve as on, torch
from connectors import contract
assert on.__file__.startswith(sys.argv[2]), on.__file__
connector = on.method("max_pool_mlp", factor="2").build(vision_dim=32, llm_dim=48)
grid = on.Grid(8, 12)
contract.gives_the_planned_tokens(connector, grid)
contract.counts_its_parameters(connector)
contract.counts_its_flops(connector, grid)
contract.teaches_every_parameter(connector, grid)
contract.keeps_images_apart(connector, grid)
contract.keeps_tokens_in_place(connector, grid)
contract.packs_as_it_batches(connector, grid, on.Grid(4, 6))
assert on.ConnectorSpec.from_json(connector.spec.to_json()) == connector.spec
"""


def _blocks() -> dict[str, str]:
    return dict(re.findall(r'```python title="([^"]+)"\n(.*?)```', PAGE, flags=re.DOTALL))


def test_one_file_and_one_line_make_a_method(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    blocks = _blocks()
    (tmp_path / "src/opticnerve/connectors/methods/max_pool_mlp.py").write_text(
        blocks["src/opticnerve/connectors/methods/max_pool_mlp.py"]
    )
    registry = tmp_path / "src/opticnerve/connectors/registry.py"
    text = registry.read_text()
    first = '        "linear": methods.linear,\n'
    assert first in text
    text = text.replace(first, blocks["src/opticnerve/connectors/registry.py"] + first)
    head = "from opticnerve.connectors import methods\n"
    assert head in text
    registry.write_text(text.replace(head, head + blocks["src/opticnerve/connectors/registry.py, at its head"]))
    run = subprocess.run(
        [sys.executable, "-c", CHECK, str(ROOT / "tests"), str(tmp_path)],
        env={"PYTHONPATH": str(tmp_path / "src"), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
