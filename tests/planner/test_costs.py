"""Plans from costs: each number against a slow way to count it."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opticnerve.encoders import load_encoder
from opticnerve.errors import ImageError, PlanError
from opticnerve.planner.costs import CUTS, Workload, make_plan
from opticnerve.planner.demand import Demand
from opticnerve.planner.llm_config import read_llm
from opticnerve.planner.model import Separators
from opticnerve.planner.ranges import Range
from opticnerve.views import TiledEncoder
from planner.parts import MOE, device, llm, model

SIZE = (900, 1200)


def test_counts_are_those_of_the_parts_that_run() -> None:
    planned = model()
    tiled = TiledEncoder(load_encoder("bundled"), planned.sight.tiling)
    what = tiled.plan if hasattr(tiled, "plan") else tiled.sight.plan
    tiles = what(*SIZE)
    look = planned.look(*SIZE)
    assert look.num_tiles == tiles.num_tiles == 13
    assert look.encoder_flops == tiled.flops(tiles)
    assert look.num_features == sum(grid.size for grid in tiled.grids(tiles))
    assert look.num_tokens == tiles.num_tokens([planned.spec.out_grid(grid) for grid in tiled.grids(tiles)])
    widths = {"vision_dim": tiled.dim, "llm_dim": 256}
    assert look.connector_flops == sum(planned.spec.flops(grid, **widths) for grid in tiled.grids(tiles))


def test_s2_costs_the_encoder_a_run_for_each_view_and_no_token() -> None:
    once, twice = model(tiling="plain").look(*SIZE), model(tiling="plain", scales=(1, 2)).look(*SIZE)
    assert twice.num_tokens == once.num_tokens
    assert (once.num_tiles, twice.num_tiles) == (1, 5)
    assert twice.encoder_flops == 5 * once.encoder_flops


def test_prompts_hold_text_separators_and_the_tokens_of_all_images() -> None:
    separators = Separators(per_image=2, per_tile=3, per_tile_row=1, if_tiled=5)
    planned = model(separators=separators)
    look = planned.look(*SIZE)
    rows = sum(canvas.rows for canvas in planned.sight.plan(*SIZE).token_canvases)
    assert look.num_separators == 2 + 3 * 13 + rows + 5
    demand = Demand(images_per_prompt=3, text_tokens=7)
    plan = make_plan(planned, device(), demand, size=SIZE)
    assert plan.visual_tokens == 3 * look.num_tokens
    assert plan.prompt_tokens == 7 + 3 * (look.num_tokens + look.num_separators)
    assert plan.prefill_flops == planned.llm.flops(new=plan.prompt_tokens)
    assert plan.encoder_flops == 3 * look.encoder_flops


def test_memory_is_weights_caches_and_activations() -> None:
    planned = model()
    demand = Demand(batch=4, new_tokens=10)
    plan = make_plan(planned, device(), demand, size=SIZE)
    tokens = plan.prompt_tokens + 10
    assert plan.cache_bytes == 2 * 2 * 4 * tokens * 2 * 32
    assert plan.weight_bytes == 2 * plan.params
    assert plan.params == planned.encoder.num_params + planned.connector_params + planned.llm.num_params
    assert plan.total_bytes == plan.weight_bytes + plan.activation_bytes + 4 * plan.cache_bytes
    assert make_plan(planned, device(), Demand(dtype="fp32", batch=4, new_tokens=10), size=SIZE).cache_bytes == (
        2 * plan.cache_bytes
    )


def test_the_largest_batch_fits_and_one_more_does_not() -> None:
    planned, demand = model(), Demand()
    plan = make_plan(planned, device(), demand, size=SIZE)
    work = Workload(model=planned, device=device(), demand=demand, look=plan.look)

    def needed(batch: int) -> int:
        visual = plan.look.num_tokens
        return plan.weight_bytes + batch * (plan.cache_bytes + work.activation_bytes(visual=visual, batch=1))

    room = 0.9 * device().memory_bytes
    assert needed(plan.max_batch) <= room < needed(plan.max_batch + 1)
    assert make_plan(planned, device(memory_bytes=1000), demand, size=SIZE).max_batch == 0


def test_time_is_computing_or_moving_whichever_is_slower_and_starting() -> None:
    on = device(layer_us=Range(low=10, high=20))
    assert on.time(flops=1e9, moved_bytes=0, layers=0, dtype="bf16") == Range(low=1, high=1)
    assert on.time(flops=0, moved_bytes=1e8, layers=0, dtype="bf16") == Range(low=1, high=1)
    assert on.time(flops=1e9, moved_bytes=2e8, layers=100, dtype="bf16") == Range(low=3, high=4)
    half = device(compute=Range(low=0.25, high=0.5))
    assert half.time(flops=1e9, moved_bytes=0, layers=0, dtype="bf16") == Range(low=2, high=4)


def test_decoding_is_bound_by_weights_and_cache() -> None:
    planned = model()
    plan = make_plan(planned, device(), Demand(), size=SIZE)
    hidden = 2 * 4 * 256 * 2
    cache = planned.llm.cached_bytes(plan.prompt_tokens + 1)
    ms = 1000 * (2 * planned.llm.num_params + cache + hidden) / 1e11
    assert plan.timing.tokens_per_s.middle == pytest.approx(1000 / ms)


def test_int4_weights_are_computed_in_16_bits() -> None:
    plan = make_plan(model(), device(), Demand(dtype="int4"), size=SIZE)
    assert plan.weight_bytes == plan.params // 2
    with pytest.raises(PlanError, match='device "round" does not compute in fp8: it has fp32, bf16'):
        make_plan(model(), device(), Demand(dtype="fp8"), size=SIZE)


def test_experts_that_no_token_meets_are_not_read() -> None:
    many = read_llm(MOE, name="experts")
    assert many.touched_params(1) == pytest.approx(many.active_params)
    assert many.touched_params(10_000) == pytest.approx(many.num_params)
    assert many.active_params < many.touched_params(2) < many.num_params
    dense = llm(tie_word_embeddings=False)
    assert dense.touched_params(1) == dense.num_params - 1000 * 256, "of the input table only rows are read"


@settings(max_examples=25, deadline=None)
@given(height=st.integers(64, 3000), width=st.integers(64, 3000))
def test_a_cut_is_never_slower_and_a_larger_one_never_less(height: int, width: int) -> None:
    plan = make_plan(model(), device(), Demand(), size=(height, width))
    assert [cut.factor for cut in plan.cuts] == [factor for factor in CUTS if factor <= plan.look.num_tokens]
    assert all(cut.gain >= 1 for cut in plan.cuts)
    for less, more in itertools.pairwise(plan.cuts):
        assert less.gain <= more.gain
        assert less.max_batch <= more.max_batch
        assert less.prompt_tokens >= more.prompt_tokens


def test_a_plan_is_plain_data() -> None:
    import json

    plan = make_plan(model(), device(), Demand(), size=SIZE)
    document = json.loads(json.dumps(plan.to_dict()))
    assert document["visual_tokens"] == plan.visual_tokens
    assert document["timing"]["stages"]["encode"]["low"] == plan.timing.stages["encode"].low
    assert document["params"] == plan.params


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match="an image needs whole sides of at least 1 px, got 0 x 5"):
        make_plan(model(), device(), Demand(), size=(0, 5))


def test_an_image_that_is_squeezed_is_as_fine_as_its_coarser_side() -> None:
    assert model(tiling="plain").look(256, 1024).zoom == 0.25
    assert model(tiling="plain").look(1024, 256).zoom == 0.25
    assert model(tiling="plain").look(128, 64).zoom == 2
