"""A run that is killed loses its shard in flight, and nothing else; the same command finishes it."""

import os
import random
import signal
from pathlib import Path

import pytest

from encode.pictures import FEATURES, contents, encode, folder_of, picture, skipped
from encode.runs import kill_after, start
from opticnerve.encode.engine import Work
from opticnerve.encode.errors import EncodeError
from opticnerve.encode.listing import make_listing, read_listing
from opticnerve.encode.shard import ShardEncoder
from opticnerve.encode.sources import Picture, PictureSource, open_pictures
from opticnerve.encode.verify import verify
from opticnerve.errors import ImageError


def test_after_a_kill_the_same_command_leaves_what_an_undisturbed_run_leaves(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", 60)
    (photos / "bad.png").write_bytes(b"bad")
    encode(photos, tmp_path / "whole", max_skipped=1.0)
    killed = [kill_after(start(photos, tmp_path / "out"), tmp_path / "out", seconds) for seconds in (0.1, 0.4)]
    assert any(killed)
    encode(photos, tmp_path / "out", max_skipped=1.0)  # at once: workers that outlive the killed run hold nothing
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert verify(tmp_path / "out").faults == []


@pytest.mark.slow
def test_thirty_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", 400)
    (photos / "bad.png").write_bytes(b"bad")
    encode(photos, tmp_path / "whole", max_skipped=1.0)
    moments = random.Random(0)
    kills = 0
    while kills < 30:
        for stale in (tmp_path / "out" / "shards").glob("*[02468].parquet") if kills % 10 == 0 else ():
            stale.unlink()
        kills += kill_after(start(photos, tmp_path / "out"), tmp_path / "out", moments.uniform(0, 1.5))
        for table in (tmp_path / "out" / "shards").glob("????????.parquet"):
            assert (
                table.with_suffix(".safetensors").read_bytes()
                == (tmp_path / "whole" / "shards" / table.with_suffix(".safetensors").name).read_bytes()
            )
        if (tmp_path / "out" / "manifest.parquet").exists():
            for made in (tmp_path / "out" / "shards").glob("*"):
                made.unlink()
    encode(photos, tmp_path / "out", max_skipped=1.0)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


class Deadly:
    """Gives the pictures of another source; reading some of them kills the process that does it.

    Args:
        source: whose pictures they are.
        killers: ids that kill whenever they are read.
        once: a file; whoever finds it there removes it and dies.
    """

    def __init__(self, source: PictureSource, *, killers: set[str], once: Path | None = None) -> None:
        self.source = source
        self.killers = killers
        self.once = once
        self.home = os.getpid()

    def pictures(self):
        return self.source.pictures()

    def read(self, picture: Picture) -> bytes:
        is_time = self.once is not None and self.once.exists()
        if is_time and self.once is not None:
            self.once.unlink()
        if picture.id in self.killers or is_time:
            if os.getpid() == self.home:
                raise ImageError("this process lives on")
            os.kill(os.getpid(), signal.SIGKILL)
        return self.source.read(picture)


def encoder_of(source: PictureSource, photos: Path, out: Path) -> tuple[ShardEncoder, list[int]]:
    (out / "shards").mkdir(parents=True)
    make_listing(open_pictures([str(photos)]), out / "sources.parquet", shard_size=4, keep_duplicates=False)
    work = Work(settings=FEATURES, sources=(str(photos),), folder=out, num_workers=1)
    encoder = ShardEncoder(work.settings.load(), source, out, num_workers=1)
    return encoder, list(range(read_listing(out / "sources.parquet").num_shards))


def test_a_picture_that_kills_its_process_is_skipped_and_the_others_are_not(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 10), tmp_path / "out"
    source = Deadly(open_pictures([str(photos)]), killers={"0005.png", "0009.png"})
    encoder, numbers = encoder_of(source, photos, out)
    listing = read_listing(out / "sources.parquet")
    steps = list(encoder.run(listing.shard(number) for number in numbers))
    assert sum(step.num_images for step in steps) == 8
    assert sum(step.num_skipped for step in steps) == 2
    assert [step.finished for step in steps if step.finished is not None] == numbers
    encode(photos, out, max_skipped=1.0)  # writes the manifest
    assert set(skipped(out)) == {"0005.png", "0009.png"}
    assert all("the decoder crashed on it" in reason for reason in skipped(out).values())


def test_a_worker_that_is_killed_from_outside_costs_nothing(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 10), tmp_path / "out"
    (tmp_path / "once").touch()
    source = Deadly(open_pictures([str(photos)]), killers=set(), once=tmp_path / "once")
    encoder, numbers = encoder_of(source, photos, out)
    listing = read_listing(out / "sources.parquet")
    steps = list(encoder.run(listing.shard(number) for number in numbers))
    assert sum(step.num_images for step in steps) == 10
    encode(photos, out)
    encode(photos, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_processes_that_always_die_end_the_run_with_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, out = folder_of(tmp_path / "photos", 4), tmp_path / "out"
    source = Deadly(open_pictures([str(photos)]), killers={"0001.png"})
    encoder, _ = encoder_of(source, photos, out)
    monkeypatch.setattr("opticnerve.encode.shard.find_crashers", lambda decoding, shard: {})
    said = r"processes that decode images died 4 times in shard 0, and no picture of it alone is to blame: memory may"
    with pytest.raises(EncodeError, match=said):
        list(encoder.run([read_listing(out / "sources.parquet").shard(0)]))
    assert not list((out / "shards").iterdir())


def test_pictures_that_change_while_they_are_encoded_are_skipped(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 3), tmp_path / "out"
    (photos / "0003.png").write_bytes((photos / "0001.png").read_bytes())  # so that both are compared byte by byte
    encoder, numbers = encoder_of(open_pictures([str(photos)]), photos, out)
    (photos / "0001.png").write_bytes(picture(5))
    listing = read_listing(out / "sources.parquet")
    reasons = [step.reason for number in numbers for step in encoder.run([listing.shard(number)]) if step.reason]
    assert reasons == ["0001.png: the file was changed after the pictures were listed"]


def test_a_duplicate_of_what_was_replaced_later_is_not_given_the_old_rows(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 3), tmp_path / "out"
    (photos / "0003.png").write_bytes(picture(91) + b"first")
    encode(photos, out)
    for name in ("0003.png", "0004.png"):
        (photos / name).write_bytes(picture(91) + b"later")  # as long as before
    assert encode(photos, out, max_skipped=1.0).num_images == 4
    assert skipped(out).keys() == {"0004.png"}
    assert skipped(out)["0004.png"].startswith("was identical to 0003.png, which has other bytes by now: encode it")
    assert verify(out).faults == []
