"""Tilings by name."""

import pytest

from opticnerve.errors import SpecError, UnknownNameError
from opticnerve.tiling import TILINGS, InternVLTiling, tiling, tiling_from_dict


def test_names_are_those_of_the_classes():
    assert {name: cls.name for name, cls in TILINGS.items()} == {name: name for name in TILINGS}


def test_the_registry_is_read_only():
    with pytest.raises(TypeError, match="does not support item assignment"):
        TILINGS["mine"] = InternVLTiling


def test_a_tiling_is_built_by_name_with_its_options():
    assert tiling("internvl", max_tiles=6) == InternVLTiling(max_tiles=6)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r'unknown tiling "intervl"\. Did you mean internvl.*Known: anyres, '):
        tiling("intervl")


def test_an_unknown_option_is_answered_with_the_known():
    with pytest.raises(SpecError, match=r'tiling "internvl" has no option max_num\. Options: tile_px, min_tiles, '):
        tiling("internvl", max_num=6)


def test_a_nameless_dict_is_refused():
    with pytest.raises(SpecError, match=r'a tiling needs a "name", one of anyres, .*; got None'):
        tiling_from_dict({"max_tiles": 6})


def test_options_of_another_tiling_are_refused():
    with pytest.raises(SpecError, match=r'the options of "qwen", not of "internvl": use tiling_from_dict'):
        InternVLTiling.from_dict({"name": "qwen"})
