"""`opticnerve methods`, `opticnerve show` and the help."""

import json
from typing import Any

import pytest

import opticnerve
from opticnerve import METHODS, Grid, method
from opticnerve.cli import run
from opticnerve.cli.method_docs import read_docs


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_methods_lists_every_method(capsys: pytest.CaptureFixture[str]):
    out = call(capsys, "methods")
    assert all(name in out for name in METHODS)


def test_methods_gives_exact_numbers_as_json(capsys: pytest.CaptureFixture[str]):
    document = json.loads(call(capsys, "methods", "--json"))
    assert [entry["method"] for entry in document["methods"]] == list(METHODS)
    for entry in document["methods"]:
        spec = method(entry["method"])
        assert entry["num_tokens"] == spec.num_tokens(Grid(24, 24))
        assert entry["num_params"] == spec.num_params(vision_dim=1024 * spec.num_levels, llm_dim=2048)
        assert entry["summary"]
        assert entry["source"]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_can_be_shown(capsys: pytest.CaptureFixture[str], name: str):
    out = call(capsys, "show", name)
    assert out.startswith(f"{name}: ")
    for word in ("Keeps: ", "Loses: ", "Source: ", "Example: ", "Blocks", "GFLOP", "visual tokens", "MiB"):
        assert word in out


@pytest.mark.parametrize("flags", [["--factor", "4"], ["--method.factor", "4"], ["--method.factor=4"]])
def test_options_can_be_given_plainly_or_in_full(capsys: pytest.CaptureFixture[str], flags: list[str]):
    document = json.loads(call(capsys, "show", "pixel_shuffle", "--grid", "32x16", "--json", *flags))
    assert document["num_tokens"] == 8 * 4
    assert document["blocks"][0]["places"] == "8 x 4"
    assert document["blocks"][0]["dim"] == 16 * 1024
    assert document["num_params"] == sum(block["num_params"] for block in document["blocks"])
    assert document["flops"] == sum(block["flops"] for block in document["blocks"])
    assert document["connector"] == method("pixel_shuffle", factor=4).to_dict()


def optimized(capsys: pytest.CaptureFixture[str], mode: str, *arguments: str) -> dict[str, Any]:
    return json.loads(call(capsys, "show", *arguments, "--optimized", mode, "--json"))["optimized"]


def test_show_tells_how_a_method_is_computed_for_less(capsys: pytest.CaptureFixture[str]):
    train = optimized(capsys, "train", "ldpv2")
    rewritten = [piece for piece in train["pieces"] if piece["rewrite"]]
    assert [piece["blocks"] for piece in rewritten] == [["linear", "adaptive_pool"]]
    assert [piece["rewrite"] for piece in rewritten] == ["early pool"]
    assert rewritten[0]["flops_before"] == 4 * rewritten[0]["flops_after"] == 2 * 24 * 24 * 2048 * 2048
    assert rewritten[0]["holds_in_training"] is True
    assert "commutes" in rewritten[0]["why"]
    assert train["flops_before"] - train["flops_after"] == 3 * rewritten[0]["flops_after"]
    assert train["flops_before"] == method("ldpv2").flops(Grid(24, 24), vision_dim=1024, llm_dim=2048)


def test_show_tells_what_holds_in_inference_only(capsys: pytest.CaptureFixture[str]):
    inference = optimized(capsys, "inference", "ldpv2")
    (piece,) = inference["pieces"]
    assert piece["rewrite"] == "chunks"
    assert {part["rewrite"]: part["holds_in_training"] for part in piece["parts"] if part["rewrite"]} == {
        "early pool": True,
        "fold PEG": False,
    }
    assert inference["activation_bytes_after"] < 0.45 * inference["activation_bytes_before"]
    assert inference["flops_after"] == optimized(capsys, "train", "ldpv2")["flops_after"]


def test_show_prints_each_rewrite_with_its_reason_and_its_gain(capsys: pytest.CaptureFixture[str]):
    out = call(capsys, "show", "ldpv2", "--optimized", "inference")
    for words in ("Optimized for inference", "early pool: a weighted mean", "fold PEG: ", "operations divided by 2,"):
        assert words in out
    assert "no rewrite pays" in call(capsys, "show", "mlp", "--optimized", "train")
    assert "Optimized" not in call(capsys, "show", "ldpv2")


def test_every_option_has_a_default_and_a_meaning():
    for name, function in METHODS.items():
        for option in read_docs(function).options:
            assert option.default, (name, option.name)
            assert option.meaning, (name, option.name)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["show", "pol"], 'unknown method "pol". Did you mean pool'),
        (["show", "pool", "--factr", "3"], 'unknown option of pool "factr". Did you mean factor'),
        (["show", "pool", "--grid", "9"], '--grid needs rows x columns, such as 24x24; got "9"'),
        (["show", "pixel_shuffle", "--grid", "27x27"], "cannot merge a 27 x 27 grid by 2"),
        (["show", "pool", "--llm-dim", "0"], "widths must be at least 1"),
        (["show", "pool", "--optimized", "fast"], "--optimized"),
        (["show"], "requires an argument"),
        (["shwo"], 'Unknown command "shwo". Did you mean "show"?'),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str], line: list[str], message: str):
    assert run(line) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("line", [["--help"], ["compress", "--help"], ["methods", "--help"], ["show", "--help"]])
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], line: list[str]):
    out = call(capsys, *line)
    assert "Usage: opticnerve" in out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]):
    assert call(capsys, "--version").strip() == opticnerve.__version__
