"""The folder of nasty files through a whole run: each picture is stored or skipped, as it has to be."""

import re
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from encode import nasty
from encode.pictures import FEATURES, VIEWS, encode, manifest, skipped
from opticnerve.encode.verify import verify


def test_every_nasty_file_is_stored_or_skipped_as_it_has_to_be(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    outcomes = nasty.build(photos)
    summary = encode(photos, out, replace(FEATURES, views=VIEWS), shard_size=50, num_workers=1, max_skipped=1.0)
    listed = set(pq.read_table(out / "sources.parquet")["id"].to_pylist())
    stored, left_out = {row["id"]: row for row in manifest(out)}, skipped(out)
    assert stored.keys() | left_out.keys() == listed
    assert not stored.keys() & left_out.keys()
    assert summary.num_images + summary.num_skipped == len(listed)
    num_checked = 0
    for name, outcome in outcomes.items():
        if name not in listed:
            continue  # other suffixes, folders, and names that are no UTF-8, which are listed under another
        num_checked += 1
        if outcome.size is not None:
            assert name in stored, f"{name}: {left_out.get(name)}"
            assert (stored[name]["height_px"], stored[name]["width_px"]) == outcome.size, name
        else:
            assert re.match(outcome.reason, left_out[name]), f"{name}: {left_out[name]}"
    assert num_checked >= 60
    assert verify(out).faults == []
