"""Streams are read by turns, and each can be opened again."""

from collections.abc import Iterator

from opticnerve.data import AsStream, Sample, Source, Stream, StreamMixture
from opticnerve.errors import BadSampleError


class Letters:
    """A stream of named samples; a capital letter is a bad one."""

    def __init__(self, letters: str) -> None:
        self.letters = letters

    def __iter__(self) -> Iterator[Sample | BadSampleError]:
        for letter in self.letters:
            yield BadSampleError(letter, "bad") if letter.isupper() else Sample(letter, (), ())


def names(stream: Stream) -> str:
    return "".join(found.sample if isinstance(found, BadSampleError) else found.id for found in stream)


def test_streams_take_turns_until_all_have_ended():
    mixture = StreamMixture([Letters("abcdeF"), Letters(""), Letters("xY")])
    assert names(mixture) == "axbYcdeF"
    assert names(mixture) == "axbYcdeF"
    assert names(StreamMixture([])) == ""


def test_a_source_read_in_order_is_a_stream():
    def read(index: int) -> Sample:
        if index == 1:
            raise BadSampleError("B", "bad")
        return Sample("abc"[index], (), ())

    assert names(AsStream(3, read)) == "aBc"


def test_a_stream_is_told_from_a_source():
    assert isinstance(Letters(""), Stream)
    assert not isinstance(Letters(""), Source)
