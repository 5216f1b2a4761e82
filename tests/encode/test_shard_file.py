"""A shard's tensor file: readable by anyone, whole or not there, and as exact as its numbers allow."""

import hashlib
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from opticnerve.encode.errors import EncodeError
from opticnerve.encode.shard_file import ShardFile
from opticnerve.encode.store import StoreError

KINDS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def write(path: Path, parts: list[torch.Tensor], *, dtype: str, dim: int = 8) -> list[tuple[int, int]]:
    with ShardFile(path, name="tokens", dim=dim, dtype=dtype) as file:
        spans = [file.append(part, name=f"image {index}") for index, part in enumerate(parts)]
        file.finish()
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    return spans


@pytest.mark.parametrize("dtype", KINDS)
def test_safetensors_own_reader_gives_back_what_was_appended(tmp_path: Path, dtype: str) -> None:
    parts = [torch.randn(count, 8, generator=torch.Generator().manual_seed(count)) for count in (3, 1, 7)]
    spans = write(tmp_path / "a.safetensors", parts, dtype=dtype)
    assert spans == [(0, 3), (3, 4), (4, 11)]
    read = load_file(tmp_path / "a.safetensors")
    assert set(read) == {"tokens"}
    assert torch.equal(read["tokens"], torch.cat(parts).to(KINDS[dtype]))
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "opticnerve.shard/1"}
        assert torch.equal(file.get_slice("tokens")[3:4], parts[1].to(KINDS[dtype]))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=6), st.sampled_from([4, 8, 12]), st.integers(0, 2**16))
def test_int8_is_within_half_a_step_of_its_rows_scale(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], dim: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(count, dim, generator=generator) * 10 ** (seed % 5) for count in counts]
    path = tmp_path_factory.mktemp("int8") / "a.safetensors"
    write(path, parts, dtype="int8", dim=dim)
    read = load_file(path)
    whole = torch.cat([*parts, torch.empty(0, dim)])
    assert read["scales"].shape == whole.shape[:1]
    again = read["tokens"].float() * read["scales"][:, None]
    assert ((again - whole).abs() <= read["scales"][:, None] * 0.5001).all()


def test_a_row_of_zeros_stays_zero_in_int8(tmp_path: Path) -> None:
    write(tmp_path / "a.safetensors", [torch.zeros(2, 8)], dtype="int8")
    read = load_file(tmp_path / "a.safetensors")
    assert not (read["tokens"].float() * read["scales"][:, None]).any()


def test_a_file_without_rows_can_be_read(tmp_path: Path) -> None:
    write(tmp_path / "a.safetensors", [], dtype="bf16")
    assert load_file(tmp_path / "a.safetensors")["tokens"].shape == (0, 8)


def test_nothing_is_left_behind_when_it_is_not_finished(tmp_path: Path) -> None:
    with ShardFile(tmp_path / "a.safetensors", name="tokens", dim=8, dtype="bf16") as file:
        file.append(torch.zeros(2, 8), name="one")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["fp16", "int8", "bf16", "fp32"])
def test_numbers_that_the_dtype_cannot_hold_are_refused(tmp_path: Path, dtype: str) -> None:
    large = torch.full((1, 8), 1e5 if dtype == "fp16" else float("inf"))
    said = rf"photo\.jpg: its numbers reach .*, which {dtype} cannot hold: use dtype bf16 or fp32"
    with (
        pytest.raises(EncodeError, match=said),
        ShardFile(tmp_path / "a.safetensors", name="tokens", dim=8, dtype=dtype) as file,
    ):
        file.append(large, name="photo.jpg")


def test_int8_needs_a_width_that_keeps_its_scales_aligned(tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match=r"rows of 7 numbers cannot be stored as int8, .* a multiple of 4: take bf16"):
        ShardFile(tmp_path / "a.safetensors", name="tokens", dim=7, dtype="int8")


def test_a_folder_that_has_gone_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "a.safetensors"
    with pytest.raises(StoreError, match=re.escape(f"cannot write {path}: no such file or directory")):
        ShardFile(path, name="tokens", dim=8, dtype="bf16")


def test_a_full_disk_is_told_and_leaves_no_file(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    file = ShardFile(tmp_path / "a.safetensors", name="tokens", dim=8, dtype="bf16")
    file._file.close()
    file._file = full.open("w+b", buffering=0)
    with file:
        file.append(torch.zeros(200, 8), name="one")
        with pytest.raises(StoreError, match="the disk is full"):
            file.finish()
    assert not list(tmp_path.iterdir())
