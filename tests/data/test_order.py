"""Orders are permutations, the same everywhere, and lengths and kinds are grouped without losing a sample."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.fake import FakeProcessor
from opticnerve.data import ExampleMaker, GroupedOrder, Lengths, Message, Mixture, Sample, ShuffledOrder, measure
from opticnerve.data.mixing import mix
from opticnerve.errors import BadSampleError, SpecError

SEEDS = st.integers(-(2**63), 2**64)


class Named:
    """Samples that are named by their number."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.size:
            raise IndexError(f"{self.name} has no {index}")
        return Sample(f"{self.name}{index}", (), ())


@given(size=st.integers(0, 300), seed=SEEDS, epoch=st.integers(0, 1000))
def test_a_shuffled_order_has_each_sample_once(size: int, seed: int, epoch: int):
    order = ShuffledOrder(size=size, seed=seed)
    assert sorted(order(epoch)) == list(range(size))
    assert order(epoch) == ShuffledOrder(size=size, seed=seed)(epoch)


def test_seeds_and_epochs_shuffle_differently():
    orders = {tuple(ShuffledOrder(size=50, seed=seed)(epoch)) for seed in range(8) for epoch in range(8)}
    assert len(orders) == 64


def test_an_order_is_what_it_has_always_been():
    """On every machine: the numbers are written down."""
    assert ShuffledOrder(size=12, seed=0)(0) == [10, 7, 3, 2, 4, 6, 0, 5, 1, 8, 11, 9]
    assert ShuffledOrder(size=12, seed=7)(3) == [4, 10, 2, 6, 5, 0, 3, 1, 7, 9, 11, 8]
    assert mix(size=3).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]  # published


def test_every_place_is_equally_likely():
    counts = np.zeros((10, 10))
    for epoch in range(4000):
        counts[np.arange(10), ShuffledOrder(size=10, seed=1)(epoch)] += 1
    # 400 expected, 19 standard deviation
    assert np.abs(counts - 400).max() < 5 * 19


KINDS = st.lists(st.tuples(st.integers(1, 500), st.booleans()), max_size=120)
"""Tokens of samples, and whether they have an image."""


def lengths_of(kinds: list[tuple[int, bool]]) -> Lengths:
    return Lengths(tokens=tuple(tokens for tokens, _ in kinds), has_image=tuple(has_image for _, has_image in kinds))


@given(kinds=KINDS, batch=st.integers(1, 9), num_sorted=st.integers(1, 4), seed=SEEDS, epoch=st.integers(0, 50))
def test_grouping_loses_and_repeats_nothing(
    kinds: list[tuple[int, bool]], batch: int, num_sorted: int, seed: int, epoch: int
):
    order = GroupedOrder(lengths=lengths_of(kinds), batch_size=batch, seed=seed, num_sorted=num_sorted)
    assert sorted(order(epoch)) == list(range(len(kinds)))
    assert order(epoch) == order(epoch)


@given(kinds=KINDS, batch=st.integers(1, 9), epochs=st.integers(1, 4))
def test_the_steps_of_grouped_epochs_hold_one_kind_of_samples_longest_first(
    kinds: list[tuple[int, bool]], batch: int, epochs: int
):
    order = GroupedOrder(lengths=lengths_of(kinds), batch_size=batch, seed=3)
    seen = [index for epoch in range(epochs) for index in order(epoch)]
    num_mixed = 0
    for start in range(0, len(seen) // batch * batch, batch):
        step = [kinds[index] for index in seen[start : start + batch]]
        num_mixed += len({has_image for _, has_image in step}) > 1 or step != sorted(step, key=lambda one: -one[0])
    # Of each epoch fewer than a batch of each kind is left over: at most one step of its own, one with the next epoch.
    assert num_mixed <= 2 * epochs


def test_batches_are_whole_though_epochs_do_not_end_with_a_step():
    kinds = [(int(number % 500), bool(number % 3)) for number in mix(2, size=103)]
    order = GroupedOrder(lengths=lengths_of(kinds), batch_size=4, seed=3)
    seen = [index for epoch in range(4) for index in order(epoch)]
    steps = [[kinds[index] for index in seen[start : start + 4]] for start in range(0, 4 * 103, 4)]
    num_mixed = sum(
        step != sorted(step, key=lambda one: -one[0]) or len({one[1] for one in step}) > 1 for step in steps
    )
    assert num_mixed <= 2 * 4


def test_sorting_several_batches_together_makes_batches_of_like_length():
    tokens = tuple(int(number) for number in mix(5, size=640) % 1000)
    spread = []
    for num_sorted in (1, 16):
        lengths = Lengths(tokens=tokens, has_image=(True,) * 640)
        order = GroupedOrder(lengths=lengths, batch_size=8, seed=0, num_sorted=num_sorted)(0)
        batches = np.array(tokens)[order].reshape(-1, 8)
        spread.append(float((batches.max(1) - batches.min(1)).mean()))
    assert spread[1] < spread[0] / 5


@pytest.mark.parametrize(("batch", "num_sorted"), [(0, 1), (1, 0)])
def test_sizes_that_make_no_batches_are_refused(batch: int, num_sorted: int):
    with pytest.raises(SpecError, match=f"at least 1, got batch_size={batch} and num_sorted={num_sorted}"):
        GroupedOrder(lengths=Lengths(tokens=(), has_image=()), batch_size=batch, num_sorted=num_sorted, seed=0)


class Talks:
    """A text, a text with an image, and a bad sample."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Sample:
        if index == 2:
            raise BadSampleError("2", "bad")
        image = (torch.zeros(3, 16, 24, dtype=torch.uint8),) if index == 1 else ()
        image = (Path("gone.png"),) if index == 3 else image
        return Sample(str(index), (Message("user", "ab<image>" if index else "ab"), Message("assistant", "c")), image)


def test_lengths_are_those_of_text_and_image_and_a_bad_sample_counts_as_one_token():
    found = measure(Talks(), ExampleMaker(FakeProcessor(), max_tokens=100))
    assert found == Lengths(tokens=(4, 4 + 6, 1, 1), has_image=(False, True, False, False))


@given(st.lists(st.integers(0, 20), max_size=6))
def test_a_mixture_holds_each_sample_of_each_source_once(sizes: list[int]):
    mixture = Mixture([Named(chr(65 + number), size) for number, size in enumerate(sizes)])
    assert len(mixture) == sum(sizes)
    found = [mixture[index].id for index in range(len(mixture))]
    assert found == [f"{chr(65 + number)}{index}" for number, size in enumerate(sizes) for index in range(size)]
    with pytest.raises(IndexError, match=f"sample {len(mixture)} of {len(mixture)}"):
        mixture[len(mixture)]


@given(sizes=st.lists(st.integers(200, 800), min_size=2, max_size=4), seed=st.integers(0, 10**6))
def test_any_stretch_of_a_shuffled_mixture_has_the_sources_in_proportion(sizes: list[int], seed: int):
    mixture = Mixture([Named(chr(65 + number), size) for number, size in enumerate(sizes)])
    stretch = ShuffledOrder(size=len(mixture), seed=seed)(0)[100:300]
    for number, size in enumerate(sizes):
        share = size / len(mixture)
        found = sum(mixture[index].id[0] == chr(65 + number) for index in stretch)
        assert abs(found - 200 * share) < 6 * (200 * share * (1 - share)) ** 0.5
