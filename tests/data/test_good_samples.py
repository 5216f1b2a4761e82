"""A bad sample is counted, named once and replaced; too many of them stop the run with the list."""

import json
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from opticnerve.data import AsStream, Example, GoodOfStream, GoodSamples, Sample, check_bad_share, read_bad_samples
from opticnerve.errors import BadSampleError, DataError, TooManyBadSamplesError


class Numbers:
    """Samples that are named by their number; some are bad."""

    def __init__(self, size: int, bad: frozenset[int] = frozenset()) -> None:
        self.size = size
        self.bad = bad
        self.num_read = 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        self.num_read += 1
        if index in self.bad:
            raise BadSampleError(f"n[{index}]", f"number {index} is bad")
        return Sample(f"n[{index}]", (), ())


def example_of(sample: Sample) -> Example:
    number = torch.tensor([int(sample.id[2:-1])])
    return {"id": sample.id, "input_ids": number, "labels": number, "image_sizes": [], "labels_extra": {}}


def examples(log: Path, size: int, bad: frozenset[int] = frozenset(), *, share: float = 1.0) -> GoodSamples:
    return GoodSamples(Numbers(size, bad), example_of, log=log, max_bad_share=share)


def numbers(examples: GoodSamples) -> list[int]:
    return [int(examples[index]["input_ids"]) for index in range(len(examples))]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "bad_samples.jsonl"


def test_good_samples_stay_where_they_are_and_no_log_is_written(log: Path):
    assert numbers(examples(log, 5)) == [0, 1, 2, 3, 4]
    assert not log.exists()
    assert read_bad_samples(log) == {}


def test_a_bad_sample_is_replaced_by_the_same_good_one_in_every_run(log: Path, tmp_path: Path):
    bad = frozenset({3, 17, 18})
    one = examples(log, 50, bad)
    found = numbers(one)
    assert len(found) == 50
    assert all(found[index] == index for index in range(50) if index not in bad)
    assert all(found[index] not in bad for index in bad)
    backwards = examples(tmp_path / "other.jsonl", 50, bad)
    assert [int(backwards[index]["input_ids"]) for index in reversed(range(50))] == found[::-1]
    assert numbers(one) == found
    read = one.source.num_read  # type: ignore[attr-defined]
    numbers(one)
    assert one.source.num_read == read + 50  # type: ignore[attr-defined] - known to be bad, they are not read again


def test_the_samples_of_a_missing_folder_are_not_all_replaced_by_the_same_one(log: Path):
    found = numbers(examples(log, 1000, frozenset(range(300))))
    assert len(set(found[:300])) > 200


def test_each_bad_sample_is_named_once_with_its_reason(log: Path):
    one = examples(log, 50, frozenset({3, 17}))
    for _ in range(2):
        numbers(one)
    numbers(examples(log, 50, frozenset({3, 17})))  # a run that resumes
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    wanted = [{"id": f"n[{index}]", "reason": f"number {index} is bad"} for index in (3, 17)]
    assert sorted(lines, key=lambda line: line["id"]) == sorted(wanted, key=lambda line: line["id"])
    assert read_bad_samples(log) == {line["id"]: line["reason"] for line in lines}


def test_a_log_is_read_whatever_a_dying_process_left_in_it(log: Path):
    log.write_text('{"id": "a", "reason": "x"}\n{"id": "a", "reason": "y"}\n[]\n{"id": 3}\n{"id": "b", "rea')
    assert read_bad_samples(log) == {"a": "x"}


def test_a_log_that_cannot_be_read_or_written_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match=f"{tmp_path}: cannot be read: Is a directory"):
        examples(tmp_path, 5)
    with pytest.raises(DataError, match="the log of bad samples cannot be written: No such file or directory"):
        numbers(examples(tmp_path / "gone" / "log.jsonl", 5, frozenset({2})))


def test_more_bad_samples_than_the_share_stop_the_run_with_the_list(log: Path):
    one = examples(log, 1000, frozenset(range(0, 1000, 4)), share=0.05)
    with pytest.raises(TooManyBadSamplesError) as caught:
        numbers(one)
    head, *listed = str(caught.value).splitlines()
    assert head == "26 of 101 samples are bad, more than max_bad_share = 0.05 allows: mend them, or raise it"
    assert listed[0] == "  n[0]: number 0 is bad"
    assert len(listed) == 21
    assert listed[-1].endswith(f" are in {log}")


def test_the_share_is_not_judged_by_a_few_samples(log: Path):
    one = examples(log, 1000, frozenset({0, 1}), share=0.01)
    assert len(numbers(one)) == 1000


@pytest.mark.parametrize("place", [0, 98, 99, 500, 949])
def test_a_few_bad_samples_side_by_side_do_not_stop_the_run(log: Path, place: int):
    one = examples(log, 1000, frozenset({place, place + 1, place + 50}), share=0.01)
    assert len(numbers(one)) == 1000


def test_a_share_of_nothing_stops_at_the_first_bad_sample(log: Path):
    one = examples(log, 1000, frozenset({5}), share=0.0)
    with pytest.raises(TooManyBadSamplesError, match="1 of 6 samples are bad, more than max_bad_share = 0 allows"):
        numbers(one)


def test_a_folder_that_is_missing_stops_the_run_before_all_samples_are_tried(log: Path):
    source = Numbers(100_000, frozenset(range(100_000)))
    one = GoodSamples(source, example_of, log=log, max_bad_share=0.01)
    with pytest.raises(TooManyBadSamplesError, match="1,001 of 100,000 samples are bad"):
        one[7]
    assert source.num_read <= 1002


@pytest.mark.parametrize("size", [1, 3, 150])
def test_data_without_any_good_sample_stop_the_run_whatever_is_allowed(log: Path, size: int):
    with pytest.raises(TooManyBadSamplesError, match=f"{size} of {size} samples are bad"):
        examples(log, size, frozenset(range(size)))[0]


def test_the_one_good_sample_is_found(log: Path):
    assert numbers(examples(log, 130, frozenset(range(130)) - {111})) == [111] * 130


def test_empty_data_are_refused(log: Path):
    with pytest.raises(DataError, match="the data hold no samples"):
        examples(log, 0)


def test_an_index_beyond_the_data_is_refused(log: Path):
    with pytest.raises(IndexError, match="example 5 of 5"):
        examples(log, 5)[5]


def only(batch: list[Example]) -> list[int]:
    return [int(example["input_ids"]) for example in batch]


def test_worker_processes_replace_and_name_as_one_process_does(log: Path, tmp_path: Path):
    bad = frozenset({3, 17, 18, 30})
    loader: Any = DataLoader(examples(log, 40, bad), batch_size=4, num_workers=2, collate_fn=only)
    found = [number for batch in loader for number in batch]
    assert found == numbers(examples(tmp_path / "other.jsonl", 40, bad))
    assert read_bad_samples(log) == {f"n[{index}]": f"number {index} is bad" for index in bad}


def test_the_error_of_a_worker_process_arrives_as_it_was_raised(log: Path, tmp_path: Path):
    bad = frozenset(range(0, 400, 2))
    loader: Any = DataLoader(examples(log, 400, bad, share=0.01), batch_size=4, num_workers=1, collate_fn=only)
    with pytest.raises(TooManyBadSamplesError) as caught:
        list(loader)
    assert "samples are bad, more than max_bad_share = 0.01 allows" in str(caught.value).splitlines()[0]
    assert str(caught.value).splitlines()[1] == "  n[0]: number 0 is bad"
    assert str(caught.value).endswith(f" are in {log}")
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


def write_many(log: Path, rank: int) -> None:
    bad = GoodSamples(Numbers(300, frozenset(range(rank, 300, 3))), example_of, log=log, max_bad_share=1.0)
    for index in range(300):
        bad[index]


def test_several_ranks_write_one_log(log: Path):
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=write_many, args=(log, rank)) for rank in range(3)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    lines = log.read_text().splitlines()
    assert all(json.loads(line)["reason"].startswith("number ") for line in lines)
    assert len(read_bad_samples(log)) == 300


def test_all_processes_are_judged_together_at_the_end(log: Path):
    numbers(examples(log, 50, frozenset({3, 17})))
    assert check_bad_share(log, num_seen=50, max_share=0.04).keys() == {"n[3]", "n[17]"}
    with pytest.raises(TooManyBadSamplesError, match="2 of 50 samples are bad, more than max_bad_share = 0.03 allows"):
        check_bad_share(log, num_seen=50, max_share=0.03)


def test_a_bad_sample_of_a_stream_gives_no_example_but_is_named(log: Path):
    source = Numbers(6, frozenset({2, 4}))
    make = GoodOfStream(example_of, log=log, max_bad_share=1.0)
    made = [make(sample) for sample in AsStream(6, source.__getitem__)]
    assert [None if example is None else int(example["input_ids"]) for example in made] == [0, 1, None, 3, None, 5]
    assert read_bad_samples(log).keys() == {"n[2]", "n[4]"}


def test_too_many_bad_samples_of_a_stream_stop_the_run(log: Path):
    source = Numbers(400, frozenset(range(0, 400, 3)))
    make = GoodOfStream(example_of, log=log, max_bad_share=0.1)
    with pytest.raises(TooManyBadSamplesError, match=r"34 of 100 samples are bad, more than max_bad_share = 0.1"):
        list(map(make, AsStream(400, source.__getitem__)))


def test_what_an_example_cannot_be_made_of_counts_too(log: Path):
    def refuse(sample: Sample) -> Example:
        raise BadSampleError(sample.id, "too long")

    make = GoodOfStream(refuse, log=log, max_bad_share=1.0)
    assert make(Sample("a", (), ())) is None
    assert read_bad_samples(log) == {"a": "too long"}


def test_a_bad_sample_names_itself_and_its_reason_in_another_process():
    error = pickle.loads(pickle.dumps(BadSampleError("mix.json[3]", "answer 1 is empty")))
    assert (error.sample, error.reason) == ("mix.json[3]", "answer 1 is empty")
    assert str(error) == "mix.json[3]: answer 1 is empty"
