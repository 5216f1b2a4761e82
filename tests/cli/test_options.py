"""Texts on the command line become the values that they stand for, or a line that says what is wrong."""

import pytest

from opticnerve.cli.options import fold_options, read_grid, read_layers, read_numbers, read_options, read_spec_file
from opticnerve.errors import SpecError


def test_options_of_a_method_and_a_tiling_are_folded():
    line = ["compress", "a.png", "--method", "pool", "--method.factor", "4", "--tiling.max-tiles=6", "--method.x", "-1"]
    assert fold_options(line) == [
        *("compress", "a.png", "--method", "pool", "--method-option", "factor=4"),
        *("--tiling-option", "max-tiles=6", "--method-option", "x=-1"),
    ]


@pytest.mark.parametrize("line", [["--method.factor"], ["--method.factor", "--json"]])
def test_a_key_without_a_value_is_refused(line: list[str]):
    with pytest.raises(SpecError, match="--method.factor needs a value: --method.factor VALUE"):
        fold_options(line)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("6", 6),
        ("1e-6", 1e-6),
        ("true", True),
        ("False", False),
        ("null", None),
        ("12x12", [12, 12]),
        ("1,2,3", [1, 2, 3]),
        ("672x336,336x672", [[672, 336], [336, 672]]),
        ("[]", []),
        ("average", "average"),
        ("a=b", "a=b"),
    ],
)
def test_a_text_stands_for_a_value(text: str, value: object):
    assert read_options([f"some-key={text}"]) == {"some_key": value}


def test_a_pair_needs_an_equals_sign():
    with pytest.raises(SpecError, match='an option is KEY=VALUE, got "factor"'):
        read_options(["factor"])


def test_numbers_grids_and_layers():
    assert read_numbers("1,1.5,2", flag="--scales") == (1, 1.5, 2)
    assert read_grid("24x32") == (24, 32)
    assert read_layers("12,-1") == (12, -1)
    assert read_layers("last") == "last"


def test_what_is_none_of_these_is_refused():
    with pytest.raises(SpecError, match='--scales needs numbers between commas, such as 1,2; got "a"'):
        read_numbers("a", flag="--scales")
    with pytest.raises(SpecError, match='--layers needs whole numbers .* got "1.5"'):
        read_layers("1.5")
    for text in ("24", "0x4", "axb", "1x2x3"):
        with pytest.raises(SpecError, match="--grid needs rows x columns, such as 24x24"):
            read_grid(text)


def test_a_spec_file_is_yaml_or_json(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text("method: pool\nfactor: 4\n")
    assert read_spec_file(str(path)) == {"method": "pool", "factor": 4}
    path.write_text('{"method": "pool"}')
    assert read_spec_file(str(path)) == {"method": "pool"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a: [", "neither YAML nor JSON"), (b"- 1", "needs a mapping such as"), (b"\xff\xfe\x00", "not text")],
)
def test_a_spec_file_that_cannot_be_read_is_named(tmp_path, content: bytes, message: str):
    path = tmp_path / "spec.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=f"--spec .*spec.yaml: {message}"):
        read_spec_file(str(path))
    with pytest.raises(SpecError, match="--spec .*none.yaml: No such file"):
        read_spec_file(str(tmp_path / "none.yaml"))
