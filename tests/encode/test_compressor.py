"""Images become the visual tokens that were counted beforehand, whatever the tiling."""

from types import SimpleNamespace

import pytest
import torch

from encode.tiny import TinyEncoder
from opticnerve import Grid, Queries, method
from opticnerve.encode import Compressor
from opticnerve.errors import GridError, SpecError, UnknownNameError
from opticnerve.tiling import TILINGS, apply
from opticnerve.views import TiledEncoder, fitting_layers, fitting_method, fitting_tiling
from opticnerve.vlm import Projector

LLM_DIM = 20


def picture(height: int = 70, width: int = 100) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def compressor(name: str = "pool", tiling: str = "internvl", *, scales: tuple[float, ...] = (1,), **options: object):
    encoder = TinyEncoder()
    tiled = TiledEncoder(encoder, fitting_tiling(tiling, encoder.info, {}, scales=scales), scales=scales)
    return Compressor.with_random_weights(tiled, fitting_method(name, tiled.sight, options), llm_dim=LLM_DIM)


@pytest.mark.parametrize("tiling", sorted(TILINGS))
@pytest.mark.parametrize("scales", [(1,), (1, 2)])
@pytest.mark.parametrize("size", [(70, 100), (32, 32), (9, 200)])
def test_an_image_gives_as_many_tokens_as_were_counted(tiling: str, scales: tuple[int, ...], size: tuple[int, int]):
    one = compressor("mlp", tiling, scales=scales)
    counts = one.count(*size)
    result = one.compress(picture(*size))
    assert result.counts == counts
    assert result.tokens.shape == (counts.num_tokens, LLM_DIM)
    assert torch.isfinite(result.tokens).all()
    assert len(result.grids) == len(result.places) == len(result.tile_boxes)
    assert sum(grid.size for grid in result.grids) == counts.num_features
    assert set(result.stage_ms) == {"tile", "encode", "connect"}


def test_views_are_concatenated_in_encoder_order():
    one = compressor("pool")
    image = picture()
    result = one.compress(image)
    (tiles,) = apply(result.plan, image)
    encoder = one.tiled.encoder
    with torch.inference_mode():
        features = encoder(encoder.normalise(tiles))
        wanted = one.connector(features, Grid(4, 4)).flatten(0, 1)
    torch.testing.assert_close(result.tokens, wanted)


def test_with_two_scales_the_larger_one_sees_pixels_that_the_smaller_one_lost():
    one = compressor("mlp", "plain", scales=(1, 2))
    assert one.count(64, 64).num_features == Grid(4, 4).size
    checker = torch.zeros(3, 64, 64, dtype=torch.uint8)
    checker[:, ::2, ::2] = checker[:, 1::2, 1::2] = 255
    grey = torch.full_like(checker, 128)
    (some,), (other,) = one.tiled.encode(checker).batches, one.tiled.encode(grey).batches
    apart = (some - other).abs().mean((0, 1))
    assert apart[12:].mean() > 10 * apart[:12].mean()


def test_flops_add_up_over_the_tiles():
    one = compressor("pool")
    counts = one.count(70, 100)
    encoder = one.tiled.encoder
    assert counts.encoder_flops == counts.num_tiles * encoder.flops(32, 32)
    spec_flops = one.spec.flops(Grid(4, 4), vision_dim=12, llm_dim=LLM_DIM)
    assert counts.connector_flops == counts.num_tiles * spec_flops
    assert counts.ratio == 4


def test_s2_widens_the_features_and_multiplies_the_encoders_cost():
    plain, wide = compressor("pool"), compressor("pool", scales=(1, 2))
    assert wide.tiled.dim == 2 * plain.tiled.dim
    assert wide.count(70, 100).num_tokens == plain.count(70, 100).num_tokens
    assert wide.count(70, 100).encoder_flops == 5 * plain.count(70, 100).encoder_flops


def test_dynamic_s2_gives_the_tokens_of_its_last_scale_row_by_row():
    one = compressor("linear", "dynamic_s2")
    image = picture()
    result = one.compress(image)
    canvas = result.plan.token_canvases[0]
    assert one.tiled.dim == 3 * 12
    assert result.counts.num_tiles > canvas.num_tiles == len(result.grids)
    features = one.tiled.encode(image)
    with torch.inference_mode():
        first_tile = one.connector(features.batches[0][:1], Grid(4, 4))[0]
    # The second row of the first tile stands a whole row of the image further on.
    torch.testing.assert_close(result.tokens[:4], first_tile[:4])
    torch.testing.assert_close(result.tokens[4 * canvas.cols :][:4], first_tile[4:8])


def test_newlines_of_anyres_are_the_compressors_own():
    one = compressor("linear", "anyres")
    result = one.compress(picture(32, 64))
    rows = [row for row in result.tokens if torch.equal(row, one.newline)]
    assert len(rows) == 4


def test_the_encoder_sees_bounded_batches():
    encoder = TinyEncoder()
    tiled = TiledEncoder(encoder, fitting_tiling("internvl", encoder.info, {}), batch_size=5)
    plan = tiled.encode(picture()).plan
    assert max(encoder.batch_sizes) <= 5
    assert sum(encoder.batch_sizes) == plan.num_tiles
    assert len(encoder.batch_sizes) == -(-plan.num_tiles // 5)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alone():
    before = torch.random.get_rng_state()
    one, other = compressor(), compressor()
    assert torch.equal(torch.random.get_rng_state(), before)
    image = picture()
    assert torch.equal(one.compress(image).tokens, other.compress(image).tokens)
    spec, tiled = one.spec, one.tiled
    third = Compressor.with_random_weights(tiled, spec, llm_dim=LLM_DIM, seed=1)
    assert third.weights == "random, seed 1"
    assert not torch.equal(one.compress(image).tokens, third.compress(image).tokens)


def test_no_gradients_are_kept():
    assert compressor().compress(picture()).tokens.is_inference()


def test_learned_queries_have_no_place():
    one = compressor("qformer", num_queries=3, hidden_dim=24, num_layers=2, num_heads=4, feed_forward_dim=24)
    assert set(one.compress(picture()).places) == {Queries(3)}


def test_a_grid_that_does_not_fit_is_refused_before_the_encoder_runs():
    one = compressor("pixel_shuffle", factor=3)
    with pytest.raises(GridError, match="cannot merge a 4 x 4 grid by 3: .* Factors that fit: 2, 4"):
        one.compress(picture())
    assert not one.tiled.encoder.batch_sizes  # pyright: ignore[reportAttributeAccessIssue]


def test_tiles_fit_the_encoder_unless_the_options_say_otherwise():
    encoder = TinyEncoder()
    assert fitting_tiling("internvl", encoder.info, {}).to_dict()["tile_px"] == 32
    assert fitting_tiling("anyres", encoder.info, {}).to_dict()["pinpoints"][0] == [64, 32]  # pyright: ignore
    assert fitting_tiling("minicpm", encoder.info, {}).to_dict()["multiple_px"] == 8
    assert fitting_tiling("qwen", encoder.info, {}).to_dict()["factor_px"] == 16
    plain = fitting_tiling("plain", encoder.info, {"width_px": "64"})
    assert plain.to_dict() | {"height_px": 32, "width_px": 64} == plain.to_dict()


def test_square_tiles_need_a_square_encoder():
    encoder = TinyEncoder(native_px=(32, 64))
    assert fitting_tiling("plain", encoder.info, {}).plan(9, 9).canvases[0].tile_px == (32, 64)
    with pytest.raises(SpecError, match=r'"tiny" was trained on 32 x 64 px: use tiling "plain"'):
        fitting_tiling("internvl", encoder.info, {})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("intervl", {}, 'unknown tiling "intervl". Did you mean internvl'),
        ("internvl", {"max_tils": 3}, 'unknown option of internvl "max_tils". Did you mean max_tiles'),
        ("internvl", {"max_tiles": "many"}, "internvl, max_tiles: Input should be a valid integer.*got 'many'"),
        ("internvl", {"max_tiles": 0}, "max_tiles as a whole number of at least 1, got 0"),
        ("anyres", {"pinpoints": 3}, "anyres, pinpoints: Input should be a valid tuple, got 3"),
    ],
)
def test_options_of_a_tiling_that_cannot_be_are_refused(name: str, options: dict[str, object], message: str):
    with pytest.raises((SpecError, UnknownNameError), match=message):
        fitting_tiling(name, TinyEncoder().info, options)


def test_learned_positions_fit_the_encoders_grid_unless_the_options_say_otherwise():
    tiled = compressor().tiled
    assert fitting_method("c_abstractor", tiled.sight, {}) == method("c_abstractor", pos_grid=(4, 4))
    assert fitting_method("c_abstractor", tiled.sight, {"pos_grid": (2, 2)}) == method("c_abstractor", pos_grid=(2, 2))
    assert fitting_method("pool", tiled.sight, {"factor": 4}) == method("pool", factor=4)


def test_layers_fit_the_connector():
    assert fitting_layers(1) == "last"
    assert fitting_layers(4) == (-4, -3, -2, -1)


@pytest.mark.parametrize("scales", [(), (0,), (1, -2)])
def test_scales_that_cannot_be_are_refused(scales: tuple[float, ...]):
    encoder = TinyEncoder()
    with pytest.raises(SpecError, match="S2 needs scales above 0"):
        TiledEncoder(encoder, fitting_tiling("plain", encoder.info, {}), scales=scales)


@pytest.mark.parametrize("name", ["pixel_shuffle", "s2_pool"])
def test_the_tokens_of_a_trained_model_are_those_that_its_language_model_reads(name: str) -> None:
    from opticnerve.family import open_model

    one, image = Compressor.from_model(name), picture(300, 200)
    model, processor = open_model(name)
    batch = processor.collate_views([(processor.views(image), (300, 200))])
    with torch.inference_mode():
        wanted = model.model.get_image_features(batch["pixel_values"], batch["image_sizes"]).pooler_output[0]
    torch.testing.assert_close(one.compress(image).tokens, wanted, rtol=1e-4, atol=1e-4)
    assert one.is_trained
    assert not compressor().is_trained


def test_the_vector_that_ends_a_row_is_the_trained_one(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, image = TinyEncoder(), picture()
    tiled = TiledEncoder(encoder, fitting_tiling("anyres", encoder.info, {}))
    projector = Projector(tiled.sight, fitting_method("mlp", tiled.sight, {}), llm_dim=LLM_DIM)
    parts = SimpleNamespace(vision_tower=encoder, multi_modal_projector=projector)
    opened = SimpleNamespace(model=parts), SimpleNamespace(image_processor=SimpleNamespace(sight=tiled.sight))
    monkeypatch.setattr("opticnerve.encode.compressor.open_model", lambda name: opened)
    features = tiled.encode(image)
    with torch.inference_mode():
        (wanted,) = projector(torch.cat([batch.flatten(0, 1) for batch in features.batches]), [features.plan])
    torch.testing.assert_close(Compressor.from_model("mine").compress(image).tokens, wanted)
