"""What the planner tries."""

from dataclasses import replace

import pytest

from opticnerve.connectors import METHODS
from opticnerve.encoders import EncoderInfo
from opticnerve.planner.choice import Choice
from opticnerve.planner.configurations import SIDES, TILES, configurations, methods, tilings
from opticnerve.planner.lookup import find_encoder
from opticnerve.tiling import TILINGS
from opticnerve.views.fit import fitting_tiling

SURVEY = {"mlp", "pixel_shuffle", "concat_mlp", "pool", "ldpv2", "qwen_vl_resampler"}


@pytest.fixture(scope="module")
def info() -> EncoderInfo:
    return find_encoder("bundled").info


@pytest.fixture(scope="module")
def siglip() -> EncoderInfo:
    return find_encoder("google/siglip2-so400m-patch14-384").info


def test_all_six_methods_of_the_survey_are_tried_at_every_reduction(info: EncoderInfo) -> None:
    tried = [(name, reduction) for name, reduction, _ in methods(info)]
    reductions = [side**2 for side in SIDES[1:]]
    assert len(tried) == len(set(tried))
    assert set(tried) == {("mlp", 1), *((name, ratio) for name in SURVEY - {"mlp"} for ratio in reductions)}
    assert set(METHODS) >= SURVEY


def test_a_method_makes_of_the_native_grid_what_its_reduction_says(info: EncoderInfo, siglip: EncoderInfo) -> None:
    for encoder in (info, siglip):
        rows, cols = (side // encoder.patch_px for side in encoder.native_px)
        for name, reduction, options in methods(encoder):
            side = round(reduction**0.5)
            choice = Choice(method=name, method_options=options, tiling="plain").explicit(encoder)
            spec = METHODS[name](**choice.method_options)
            tokens = spec.num_tokens(encoder.grid(*encoder.native_px))
            expected = -(-rows // side) * -(-cols // side)
            if choice.method_options.get("odd") == "drop":
                expected = (rows // side) * (cols // side)
            assert tokens == expected, (name, reduction)


def test_every_tiling_can_be_built(info: EncoderInfo, siglip: EncoderInfo) -> None:
    for encoder in (info, siglip):
        for side in SIDES:
            built = [(name, fitting_tiling(name, encoder, options)) for name, options in tilings(encoder, side=side)]
            assert {name for name, _ in built} <= set(TILINGS)
            assert len(set(built)) == len(built), "none comes twice"
            assert {tiling.most_tiles for name, tiling in built if name == "internvl"} == {one + 1 for one in TILES[1:]}


def test_tiles_of_free_size_are_tried_where_the_encoder_takes_them(info: EncoderInfo) -> None:
    assert info.is_any_size
    fixed = replace(info, is_any_size=False)
    assert {name for name, _ in tilings(info, side=2)} == {"plain", "qwen", "internvl", "minicpm", "anyres"}
    assert {name for name, _ in tilings(fixed, side=2)} == {"plain", "internvl", "anyres"}


def test_square_tiles_need_a_square_encoder(info: EncoderInfo) -> None:
    height, width = info.native_px
    wide = replace(info, native_px=(height, 2 * width), is_any_size=False)
    assert list(tilings(wide, side=2)) == [("plain", {})]


@pytest.mark.parametrize("side", SIDES)
def test_resized_images_divide_into_what_becomes_a_token(info: EncoderInfo, side: int) -> None:
    for name, options in tilings(info, side=side):
        sides = [options[key] for key in ("height_px", "width_px", "factor_px", "multiple_px") if key in options]
        assert all(isinstance(one, int) and one % (side * info.patch_px) == 0 for one in sides), name


def test_s2_is_among_the_configurations_and_the_rest_of_the_choice_is_kept(info: EncoderInfo) -> None:
    base = Choice(llm="Qwen/Qwen3-0.6B", layers=(-2,))
    tried = list(configurations(base, info))
    assert {choice.method for _, choice in tried} == SURVEY
    s2 = {(choice.method, choice.tiling) for _, choice in tried if choice.scales == (1, 2)}
    assert s2 == {(name, "plain") for name in ("mlp", "pool", "pixel_shuffle")}
    assert {(choice.encoder, choice.llm, choice.layers) for _, choice in tried} == {
        ("bundled", "Qwen/Qwen3-0.6B", (-2,))
    }
    assert len({str(choice) for _, choice in tried}) == len(tried)
