"""The program as its own process: it starts at once, needs no code but its own, and can be interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

START = [sys.executable, "-m", "opticnerve"]
# Without tests on the path, and with warnings as users see them.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from opticnerve.cli import run; run(['compress', '--help']); "
        "print([name for name in ('torch', 'numpy', 'transformers', 'PIL') if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert "--all-methods" in result.stdout
    assert result.stderr.strip() == "[]"


def test_every_public_name_is_found_when_it_is_used():
    code = "import opticnerve as on; print([type(getattr(on, name)).__name__ for name in on.__all__], dir(on) != [])"
    result = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert "module" in result.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_leaves_whole_files_only(tmp_path: Path, number: signal.Signals, code: int):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for index in range(60):
        Image.new("RGB", (900, 900), (4 * index, 0, 0)).save(photos / f"{index:02}.png")
    command = [*START, "compress", str(photos), "--out", str(out)]
    # whoever runs the tests in the background of a shell ignores Ctrl-C, and hands that down
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 120
    while not list(out.glob("*.safetensors")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert output == ""
    if number == signal.SIGINT:
        assert errors.startswith("opticnerve: interrupted: ")
        assert errors.count("\n") == 1
    names = [path.name for path in out.iterdir()]
    assert 1 <= len(names) < 60
    assert all(name.endswith(".png.safetensors") and not name.startswith(".") for name in names)


def test_a_reader_that_has_gone_is_no_error():
    command = f"{sys.executable} -m opticnerve methods | head -c 10"
    result = subprocess.run(["bash", "-c", command], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert len(result.stdout) == 10
    assert result.stderr == ""


def test_a_missing_package_is_one_line_that_names_its_extra(tmp_path: Path):
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from opticnerve.cli.app import run\n"
        "sys.exit(run(['encode', 'verify', 'tokens']))"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == 'opticnerve: this command needs pyarrow: pip install "opticnerve[encode]"\n'
