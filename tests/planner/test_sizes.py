"""Sizes of a folder: read from headers, ranked by tokens."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from opticnerve.errors import ImageError, PlanError
from opticnerve.planner.demand import Demand
from opticnerve.planner.sizes import PERCENTILES, Sizes, plan_sizes, read_sizes
from planner.parts import device, model


def test_a_size_is_one_image() -> None:
    sizes = read_sizes("1200x900")
    assert sizes == Sizes(counts={(900, 1200): 1})
    plans = plan_sizes(model(), device(), Demand(), sizes)
    assert list(plans.named) == ["image"]
    assert (plans.num_images, plans.mean_tokens) == (1, plans.named["image"].look.num_tokens)


def test_a_folder_is_read_below_and_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    Image.new("RGB", (80, 60)).save(tmp_path / "a.png")
    Image.new("RGB", (80, 60)).save(tmp_path / "deep" / "b.jpg")
    Image.new("RGB", (640, 480)).save(tmp_path / "deep" / "c.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG nothing")
    sizes = read_sizes(str(tmp_path))
    assert sizes.counts == {(60, 80): 2, (480, 640): 1}
    assert len(sizes.skipped) == 1
    assert "bad.png" in sizes.skipped[0]
    plans = plan_sizes(model(), device(), Demand(), sizes)
    assert list(plans.named) == ["p50", "p95", "max"]
    assert plans.skipped == sizes.skipped
    assert plans.summary.startswith("3 images: visual tokens of an image ")
    assert plans.to_dict()["num_images"] == 3


def test_a_turned_photograph_has_the_size_that_it_is_shown_in(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 60)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_sizes(str(tmp_path)).counts == {(80, 60): 1}


def test_a_folder_without_a_good_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no image"):
        read_sizes(str(tmp_path))
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(PlanError, match=r"no image below .* can be read \(1 tried; the first: .*bad\.png"):
        read_sizes(str(tmp_path))


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.integers(100, 1500), st.integers(100, 1500)), st.integers(1, 9), min_size=2, max_size=12
    )
)
def test_percentiles_are_those_of_all_images_in_a_row(counts: dict[tuple[int, int], int]) -> None:
    planned = model()
    plans = plan_sizes(planned, device(), Demand(), Sizes(counts=counts))
    row = sorted(planned.look(*size).num_tokens for size, count in counts.items() for _ in range(count))
    for name, share in PERCENTILES.items():
        assert plans.named[name].look.num_tokens == row[math.ceil(share * len(row)) - 1]
    assert plans.mean_tokens == pytest.approx(sum(row) / len(row))


def test_sizes_that_the_model_refuses_are_skipped_unless_it_refuses_all() -> None:
    qwen = model("concat_mlp", tiling="qwen")
    plans = plan_sizes(qwen, device(), Demand(), Sizes(counts={(10, 4000): 2, (400, 400): 1, (500, 400): 1}))
    assert plans.num_images == 2
    assert plans.skipped[0].startswith("2 of 4000 x 10 px (width x height): ")
    with pytest.raises(ImageError, match="200"):
        plan_sizes(qwen, device(), Demand(), Sizes(counts={(10, 4000): 2}))
