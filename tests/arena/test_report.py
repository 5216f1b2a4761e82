"""The report of an arena: its numbers, its files, and what it says when something is missing."""

import csv
import io
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arena.report_folder import write_folder
from opticnerve.arena.report import write_report
from opticnerve.arena.report.examples import show_examples
from opticnerve.arena.report.files import write_whole
from opticnerve.arena.report.folder import read_folder
from opticnerve.arena.report.page import make_page
from opticnerve.arena.report.summary import Summary, summarise
from opticnerve.arena.report.trade_chart import front_of
from opticnerve.errors import DataError, PlanError

PICTURES = ("ranking.png", "tokens.png", "time.png", "glyphs.png", "curves.png")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("arena"))


@pytest.fixture(scope="module")
def written(out: Path) -> tuple[Path, ...]:
    return write_report(out)


@pytest.fixture(scope="module")
def page(written: tuple[Path, ...]) -> str:
    return written[0].read_text()


@pytest.fixture(scope="module")
def summary(out: Path) -> Summary:
    return summarise(read_folder(out))


def cells(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(out.glob("cells/*/result.json"))]


def share(out: Path, name: str, kind: str = "") -> float:
    """Count one by one."""
    right = asked = 0
    for cell in cells(out):
        if f"{cell['contender']}-{cell['reduction']}x" == name:
            for answer in cell["answers"]:
                if not kind or answer["kind"] == kind:
                    right, asked = right + answer["is_right"], asked + 1
    return right / asked


def test_tables_are_what_counting_one_by_one_gives(out: Path, written: tuple[Path, ...]) -> None:
    table = list(csv.DictReader(io.StringIO((out / "report" / "results.csv").read_text())))
    assert len(table) == 11
    for row in table:
        assert float(row["score"]) == pytest.approx(share(out, row["name"]))
        for kind in ("color", "place", "count", "value"):
            assert float(row[kind]) == pytest.approx(share(out, row["name"], kind))
        assert float(row["score_low"]) < float(row["score"]) < float(row["score_high"])
        own = [one for one in cells(out) if f"{one['contender']}-{one['reduction']}x" == row["name"]]
        for name in ("tokens", "encoder_flops", "connector_flops", "prefill_flops", "kv_bytes", "trainable_params"):
            assert float(row[name]) == own[0][name]
        for name in ("first_token_ms", "train_seconds"):  # what else the machine does only adds to them
            assert float(row[name]) == pytest.approx(min(one[name] for one in own))
        if row["less_pool"]:
            base = share(out, f"pool-{row['reduction']}x")
            assert float(row["less_pool"]) == pytest.approx(float(row["score"]) - base)
    assert sum(bool(row["less_pool"]) for row in table) == 4


def test_json_holds_the_same_numbers_and_all_that_was_run(out: Path, written: tuple[Path, ...]) -> None:
    found = json.loads((out / "report" / "results.json").read_text())
    for group in found["groups"]:
        assert group["score"]["estimate"] == pytest.approx(share(out, group["name"]))
        for point in group["heights"]:
            ends = point["low_px"], point["high_px"] or 1e9
            hits = [
                answer["is_right"]
                for cell in cells(out)
                for answer in cell["answers"]
                if f"{cell['contender']}-{cell['reduction']}x" == group["name"]
                and answer["height_px"]
                and ends[0] <= answer["height_px"] < ends[1]
            ]
            assert point["share"]["estimate"] == pytest.approx(np.mean(hits))
            assert point["num_questions"] == len(hits) / 2
    assert found["arena"] == json.loads((out / "arena.json").read_text())
    assert found["missing"] == []
    assert found["rate_scores"]["pool-4x"] == {"0.5": 0.31, "1.0": 0.42, "2.0": 0.4}


def test_methods_that_do_not_beat_every_baseline_of_their_budget_are_marked(summary: Summary) -> None:
    standing = {row.group.name: row.standing for row in summary.rows}
    assert standing["none-1x"] == standing["pool-4x"] == "baseline"
    assert standing["pixel_shuffle-4x"] == "beats them"
    assert standing["divprune-4x"] == standing["divprune-16x"] == "does not beat them"
    for row in summary.rows:
        if row.standing != "baseline":
            others = {f"{name}-{row.group.reduction}x" for name in ("random_patches", "every_kth", "pool")}
            assert {one.other for one in row.versus} == others
            assert (row.standing == "beats them") == all(one.verdict == "better" for one in row.versus)
    assert any("divprune-4x, divprune-16x" in sentence for sentence in summary.advice)


def test_nothing_beats_what_is_on_the_front(summary: Summary) -> None:
    for key, cost in (("tokens", lambda row: row.group.tokens), ("ms", lambda row: row.group.first_token_ms)):
        front = front_of(summary, key)
        for row in summary.rows:
            beaten = any(
                cost(other) <= cost(row)
                and other.score.estimate >= row.score.estimate
                and (cost(other), other.score.estimate) != (cost(row), row.score.estimate)
                for other in summary.rows
            )
            assert (row in front) != beaten


def test_loss_at_equal_time_is_that_of_the_moment_when_the_quickest_was_done(summary: Summary) -> None:
    for row in summary.rows:
        one, loss = row.group, row.equal_time_loss
        quickest = min(other.group.train_seconds for other in summary.rows if other.group.tokens == one.tokens)
        assert loss is not None
        if one.train_seconds == quickest:
            assert loss == pytest.approx(one.curve[-1][1])
        else:
            assert one.curve[-1][1] < loss < one.curve[0][1]


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    assert not re.findall(r"<(?:script|iframe|img|link)\b[^>]*\b(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page)
    assert not re.findall(r"@import|jsdelivr|unpkg|cdnjs|url\([\"']?(?!data:)\w+:", page)
    links = set(re.findall(r"https?://[^\s\"'`)<>\\]+", page))
    known = ("http://www.w3.org/", "https://vega.github.io/schema/", "https://vega.github.io/editor/")
    assert {link for link in links if not link.startswith((*known, "https://github.com/vega/"))} == set()


def test_the_page_says_everything_that_is_needed_to_run_it_again(page: str) -> None:
    for words in (
        "opticnerve arena synthetic.yaml --out here",
        "2026-01-02",
        "a processor of two cores",
        "version of torch",
        "search_share: 0.25",
        "What this says about large models",
        "64 patches of 256",
        "What &lt;color&gt; is it?",
    ):
        assert words in page, words
    assert "Unfinished" not in page
    assert page.count('class="example"') == 2


def test_what_the_data_say_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script>"
    out = write_folder(tmp_path, num_images=6, seeds=(0,), reductions=(4,), skill={"none": 0.9, "pool": 0.5})
    path = next(out.glob("cells/pool*/result.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "contender": name}))
    paths = write_report(out)
    page = paths[0].read_text()
    assert "alert(1)" in page
    assert name not in page
    before = {path: path.read_bytes() for path in paths}
    assert write_report(out) == paths
    assert [path for path in paths if path.read_bytes() != before[path]] == [], "drawn again, it is the same"


def test_pictures_are_not_blank(out: Path, written: tuple[Path, ...]) -> None:
    names = {path.name for path in written}
    assert names == {*PICTURES, "report.html", "results.csv", "results.json"}
    assert {path.name for path in (out / "report").iterdir()} == names, "no draft is left"
    for name in PICTURES:
        with Image.open(out / "report" / name) as image:
            assert min(image.size) > 500
            colours = image.convert("RGB").getcolors(1 << 24) or []
        lively = [colour for num, colour in colours if num > 50 and max(colour) - min(colour) > 60]
        assert len(lively) >= 2, name


def test_an_unfinished_arena_says_so_and_is_drawn_all_the_same(tmp_path: Path) -> None:
    left = [("pool-16x", 0), ("pool-16x", 1), ("divprune-4x", 1)]
    out = write_folder(tmp_path, num_images=12, without=left)
    page = write_report(out)[0].read_text()
    assert "Unfinished: 3 cells missing" in page
    assert "pool-16x, seed 0; pool-16x, seed 1; divprune-4x, seed 1" in page
    assert "There is one seed: intervals cover images only" in page
    found = json.loads((out / "report" / "results.json").read_text())
    assert found["seeds"] == [0]
    assert len(found["groups"]) == 10


def test_groups_without_a_seed_that_the_others_share_are_left_out_and_named(tmp_path: Path) -> None:
    left = [("pool-4x", 0), *[(f"{name}-4x", 1) for name in ("random_patches", "every_kth", "divprune")]]
    folder = read_folder(write_folder(tmp_path, num_images=8, reductions=(4,), without=left))
    found = summarise(folder)
    assert (found.seeds, found.left_out) == ((0,), ("pool-4x",))
    page = make_page(folder, found, {name: {} for name in ("ranking", "tokens", "time")}, "")
    assert "Not compared, since they lack a seed that the others have: pool-4x." in page


def test_one_finished_cell_is_drawn(tmp_path: Path) -> None:
    out = write_folder(tmp_path, num_images=5, seeds=(0,), reductions=(), skill={"none": 0.7})
    shutil.rmtree(out / "examples")
    (out / "arena.json").unlink()
    (out / "rates.json").unlink()
    assert "There is one group only: nothing can be compared yet." in write_report(out)[0].read_text()


def test_searches_of_rates_and_rates_that_were_not_chosen_do_not_count(out: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(out / "cells", copy / "cells")
    for name in ("arena.json", "rates.json"):
        shutil.copy(out / name, copy / name)
    source = next(iter(sorted((copy / "cells").glob("pool-4x-seed0*"))))
    for name, rate in (("pool-4x-seed0-rate1-share0.25", 1.0), ("pool-4x-seed0-rate2", 2.0)):
        shutil.copytree(source, copy / "cells" / name)
        path = copy / "cells" / name / "result.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "rate": rate, "answers": []}))
    assert read_folder(copy).results == read_folder(out).results


def test_an_empty_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^\S+ holds no finished cell of an arena: looked for .*result\.json\. Run"
    ) as e:
        write_report(tmp_path)
    assert "\n" not in str(e.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("text", "why"), [("{", "Expecting"), ("{}", r'"contender": Field required')])
def test_a_damaged_result_is_one_line_with_its_name(text: str, why: str, tmp_path: Path) -> None:
    out = write_folder(tmp_path, num_images=3, seeds=(0,), reductions=(4,))
    path = out / "cells" / "pool-4x-seed0-rate1" / "result.json"
    path.write_text(text)
    with pytest.raises(
        DataError, match=rf"pool-4x-seed0-rate1/result\.json cannot be read: {why}.*run the arena again"
    ):
        write_report(out)


@pytest.mark.parametrize(("name", "why"), [("0.png", "cannot be read: "), ("0.json", "does not name an image")])
def test_a_damaged_example_is_named(name: str, why: str, tmp_path: Path) -> None:
    out = write_folder(tmp_path, num_images=3, seeds=(0,), reductions=(4,))
    (out / "examples" / name).write_text("nothing")
    with pytest.raises(DataError, match=rf"examples/{re.escape(name)} {why}.* Delete .* and run the arena again"):
        show_examples(read_folder(out))


def test_a_report_that_cannot_be_written_is_refused_and_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot write the report .*a\.html: .* Copy the arena to a folder of yours"):
        write_whole(tmp_path / "report" / "a.html", b"")
    assert (tmp_path / "report").read_text() == "in the way"


@pytest.mark.parametrize("missing", ["altair", "vl_convert"])
def test_without_the_extra_one_line_says_what_to_install(
    missing: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(PlanError, match=r"charts need altair .*: pip install 'opticnerve\[report\]'$"):
        write_report(out)
