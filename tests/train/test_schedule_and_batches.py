from collections.abc import Iterator

import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from opticnerve.train.batches import Split, StepSampler, StepStream, split_batch
from opticnerve.train.errors import TrainingError
from opticnerve.train.feed import Indexed, Streamed, num_steps
from opticnerve.train.recipe import Stage
from opticnerve.train.schedule import rate_share


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("num_warmup", [0, 3])
def test_rates_are_those_of_transformers(schedule: str, num_warmup: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = {
        "cosine": lambda: get_cosine_with_min_lr_schedule_with_warmup(optimizer, num_warmup, 20, min_lr_rate=0.1),
        "linear": lambda: get_linear_schedule_with_warmup(optimizer, num_warmup, 20),
        "constant": lambda: get_constant_schedule_with_warmup(optimizer, num_warmup),
    }[schedule]()
    low = 0.1 if schedule == "cosine" else 0.0
    for step in range(21):
        own = rate_share(step, num_steps=20, schedule=schedule, num_warmup=num_warmup, min_lr_ratio=low)
        assert own == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_a_batch_is_shared_out_evenly_in_the_largest_micro_batches_that_fit() -> None:
    split = split_batch(batch_size=20, micro_batch_size=8, num_processes=2, rank=1)
    assert (split.micro_batch_size, split.num_micro_batches, list(split.starts())) == (5, 2, [5, 15])
    with pytest.raises(TrainingError, match="a batch of 20 cannot be shared out among 3 processes: make batch_size"):
        split_batch(batch_size=20, micro_batch_size=8, num_processes=3, rank=0)


def order(epoch: int) -> list[int]:
    return [(index * 3 + epoch) % 10 for index in range(10)]


def steps(split: Split, *, first_step: int = 0) -> list[list[int]]:
    return list(StepSampler(order, split=split, num_steps=6, first_step=first_step))


def splits(micro_batch_size: int, num_processes: int) -> list[Split]:
    return [
        split_batch(batch_size=4, micro_batch_size=micro_batch_size, num_processes=num_processes, rank=rank)
        for rank in range(num_processes)
    ]


def test_steps_hold_the_same_samples_on_any_number_of_processes_and_run_on_across_epochs() -> None:
    whole = steps(splits(4, 1)[0])
    assert [index for step in whole for index in step] == [*order(0), *order(1), *order(2)][:24]
    for micro, processes in [(1, 1), (2, 1), (2, 2), (1, 4), (1, 2)]:
        own = [steps(split) for split in splits(micro, processes)]
        joined = [[i for micro_batch in row for i in micro_batch] for row in zip(*own, strict=True)]
        flat = [index for row in joined for index in row]
        assert [flat[start : start + 4] for start in range(0, 24, 4)] == whole


def test_a_run_that_goes_on_has_the_rest_of_the_steps() -> None:
    for split in splits(1, 2):
        assert steps(split, first_step=4) == steps(split)[8:]
        assert len(StepSampler(order, split=split, num_steps=6, first_step=4)) == 12


def test_no_samples_are_an_error() -> None:
    with pytest.raises(TrainingError, match="there is no sample to train on"):
        list(StepSampler(lambda epoch: [], split=splits(4, 1)[0], num_steps=1, first_step=0))
    with pytest.raises(TrainingError, match="there is no sample to train on"):
        next(iter(StepStream(list, lambda raw: raw, split=splits(4, 1)[0], num_steps=1, first_step=0)))


class Stream:
    def __iter__(self) -> Iterator[int]:
        return iter(range(10))


def good(raw: object) -> object | None:
    return None if raw in (2, 3) else raw


def collate(examples: list[int]) -> dict[str, object]:
    return {"numbers": examples}


class Numbers(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return 10


def batches(loader: DataLoader[object], *, most: int) -> list[list[int]]:
    found = []
    for number, batch in enumerate(loader, start=1):
        found.append(batch["numbers"])
        if number == most:
            break
    return found


def test_a_stream_has_the_same_steps_on_any_number_of_processes_and_begins_again_where_it_ends() -> None:
    streamed = Streamed(stream=Stream, make=lambda raw: raw, collate=collate)
    loaders = [
        streamed.loader(split, num_steps=5, first_step=0, num_workers=0) for split in (splits(4, 1)[0], *splits(2, 2))
    ]
    whole, *halves = [batches(loader, most=5) for loader in loaders]
    assert whole == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1], [2, 3, 4, 5], [6, 7, 8, 9]]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole
    assert len(loaders[0]) == 5


def test_the_next_good_sample_of_a_stream_stands_for_a_bad_one() -> None:
    streamed = Streamed(stream=Stream, make=good, collate=collate)
    found = batches(streamed.loader(splits(4, 1)[0], num_steps=3, first_step=0, num_workers=0), most=3)
    assert found == [[0, 1, 4, 4], [4, 5, 6, 7], [8, 9, 0, 1]]


def test_a_stream_goes_on_where_it_was() -> None:
    streamed = Streamed(stream=Stream, make=good, collate=collate)
    for split in splits(1, 2):
        rest = batches(streamed.loader(split, num_steps=5, first_step=2, num_workers=0), most=6)
        assert rest == batches(streamed.loader(split, num_steps=5, first_step=0, num_workers=0), most=10)[4:]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_worker_processes_change_nothing() -> None:
    split = splits(2, 2)[1]
    streamed = Streamed(stream=Stream, make=lambda raw: raw, collate=collate)
    indexed = Indexed(dataset=Numbers(), order=order, collate=collate, num_samples=10)
    for feed in (streamed, indexed):
        for first_step in (0, 1):
            found = [
                batches(feed.loader(split, num_steps=4, first_step=first_step, num_workers=n), most=4 - first_step)
                for n in (0, 2)
            ]
            assert found[0] == found[1]


def test_loaders_leave_the_global_generator_alone() -> None:
    loader = Indexed(dataset=Numbers(), order=order, collate=collate, num_samples=10).loader(
        splits(4, 1)[0], num_steps=2, first_step=0, num_workers=0
    )
    before = torch.get_rng_state()
    list(loader)
    assert torch.equal(before, torch.get_rng_state())


def stage(**length: object) -> Stage:
    return Stage.model_validate(
        {"name": "s", "open": {"llm": 1.0}, "data": [{"kind": "reading", "num_samples": 10}], "batch_size": 4, **length}
    )


def test_epochs_are_counted_in_steps() -> None:
    assert num_steps(stage(steps=7), num_samples=0) == 7
    assert num_steps(stage(epochs=1), num_samples=10) == 3
    assert num_steps(stage(epochs=0.5), num_samples=10) == 2
    with pytest.raises(TrainingError, match='stage "s" reads a stream, whose length nobody knows: give steps'):
        num_steps(stage(epochs=1), num_samples=0)
