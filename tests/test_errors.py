"""Errors say what was given, what is known and what to do."""

import pickle

from opticnerve.errors import OpticNerveError, UnknownNameError


def test_an_unknown_name_lists_the_nearest_and_the_known() -> None:
    error = UnknownNameError("method", "pixel_shufle", ["pool", "pixel_shuffle"])
    assert str(error) == 'unknown method "pixel_shufle". Did you mean pixel_shuffle? Known: pixel_shuffle, pool.'
    assert isinstance(error, OpticNerveError)
    assert isinstance(error, KeyError)


def test_an_unknown_name_is_the_same_in_another_process() -> None:
    error = UnknownNameError("method", "pol", ["pool", "mlp"])
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_name_like_no_other_gets_no_guess() -> None:
    assert str(UnknownNameError("tiling", "zzz", ["plain"])) == 'unknown tiling "zzz". Known: plain.'
