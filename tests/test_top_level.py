"""The package's front door: names come when they are used, and can be found."""

import pickle

import pytest

import opticnerve


def test_every_public_name_is_listed_and_there() -> None:
    assert set(opticnerve.__all__) < set(dir(opticnerve))
    assert all(getattr(opticnerve, name) is not None for name in opticnerve.__all__)
    assert opticnerve.methods is opticnerve.connectors.methods
    assert opticnerve.tiling.InternVLTiling().plan(600, 800).num_tiles == 13


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'opticnerve' has no attribute 'grids'"):
        opticnerve.grids  # noqa: B018


def test_methods_and_what_they_make_go_to_another_process() -> None:
    for method in opticnerve.METHODS.values():
        assert pickle.loads(pickle.dumps(method)) is method
        assert pickle.loads(pickle.dumps(method())) == method()
