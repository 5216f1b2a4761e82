"""The wheel holds all that the package reads."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
ARENA = "opticnerve/arena"


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package_weights_and_arenas_included(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as file:
        sizes = {one.filename: one.file_size for one in file.infolist()}
    source = ROOT / "src"
    files = [path for path in (source / "opticnerve").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    wanted = {str(path.relative_to(source)): path.stat().st_size for path in files}
    assert {name: sizes.get(name) for name in wanted} == wanted
    assert {f"{ARENA}/configs/default.yaml", f"{ARENA}/configs/quick.yaml"} <= sizes.keys()
    assert {f"{ARENA}/language_model/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json")} <= (
        sizes.keys()
    )
    assert f"{ARENA}/report/page.css" in sizes
