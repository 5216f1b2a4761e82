import json
from pathlib import Path

import pytest

from arena.small import small
from opticnerve.cli.app import make_app
from opticnerve.cli.arena import arena
from opticnerve.errors import OpticNerveError
from opticnerve.train.errors import StoppedError


def test_the_command_runs_an_arena_shows_each_cell_and_prints_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small(tmp_path, rates=[1.0], seeds=[0])
    config, out = str(tmp_path / "small.yaml"), str(tmp_path / "out")
    assert arena(config, out=out, only=("pool",), jobs=1) == 0
    shown = capsys.readouterr()
    assert "pool (baseline)" in shown.out
    assert "1 cells" in shown.err
    assert "1/1  pool-4x-seed0-rate1: " in shown.err
    assert arena(config, out=out, only=("pool",), jobs=1, json=True) == 0
    shown = capsys.readouterr()
    assert "was done before" in shown.err
    told = json.loads(shown.out)
    assert [(one["contender"], one["tokens"]) for one in told["results"]] == [("pool", 4)]
    assert "answers" not in told["results"][0]


def test_mistakes_of_the_command_are_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OpticNerveError, match='--quick is the arena "quick", and "default" is another'):
        arena("default", quick=True)
    with pytest.raises(OpticNerveError, match="--jobs needs a number of cells from 1, or 0 for one a core, got -1"):
        arena(jobs=-1)
    with pytest.raises(OpticNerveError, match='unknown contender "pol". Did you mean pool?'):
        arena("quick", out=str(tmp_path / "a"), only=("pol",))
    assert arena("quick", set_=("sedes=[1]", "rates=[]")) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert any('unknown key "sedes"' in line for line in told)


def test_a_stop_is_told_with_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise StoppedError("stopped in cell x. Run the same command again to go on.")

    monkeypatch.setattr("opticnerve.arena.run.run_arena", stop)
    assert arena("quick", out=str(tmp_path)) == 130
    assert "Run the same command again to go on" in capsys.readouterr().err


def test_a_method_that_runs_alone_has_the_baselines_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def stop(*_: object, only: tuple[str, ...], **__: object) -> None:
        asked.append(only)
        raise StoppedError("stopped")

    monkeypatch.setattr("opticnerve.arena.run.run_arena", stop)
    for only in (("tome",), ("pool",), ()):
        assert arena("quick", out=str(tmp_path), only=only) == 130
    assert asked == [("none", "resized", "random_patches", "every_kth", "pool", "tome"), ("pool",), ()]


def test_the_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    app = make_app()
    if "arena" not in app:
        app.command(arena)
    app(["arena", "--help"])
    shown = capsys.readouterr().out
    assert all(flag in shown for flag in ("--out", "--quick", "--only", "--set", "--jobs", "--json"))
