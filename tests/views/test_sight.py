"""What is known before anything runs is what then comes, and it goes through JSON and to other processes."""

import json
import pickle

import pytest

from encode.tiny import TinyEncoder
from opticnerve.encoders import load_encoder
from opticnerve.errors import EncoderError, SpecError
from opticnerve.tiling import tiling
from opticnerve.views import Sight, TiledEncoder
from views.test_batch import SEEN, SIZES, pictures


@pytest.mark.parametrize("name", SEEN)
def test_grids_and_widths_are_those_of_the_features(name: str) -> None:
    own_tiling, scales = SEEN[name]
    tiled = TiledEncoder(TinyEncoder(), own_tiling, scales=scales)
    for size, image in zip(SIZES, pictures(SIZES), strict=True):
        features = tiled.encode(image)
        assert tiled.sight.plan(*size) == features.plan
        grids = tiled.sight.grids(features.plan)
        assert sum(grid.size for grid in grids) == sum(batch.shape[0] * batch.shape[1] for batch in features.batches)
        assert {batch.shape[2] for batch in features.batches} == {tiled.sight.dim}


@pytest.mark.parametrize("name", SEEN)
def test_it_survives_json_and_goes_to_workers(name: str) -> None:
    own_tiling, scales = SEEN[name]
    sight = Sight(info=load_encoder("bundled").info, tiling=own_tiling, scales=scales)
    assert Sight.from_dict(json.loads(json.dumps(sight.to_dict()))) == sight
    assert pickle.loads(pickle.dumps(sight)) == sight


def test_scales_that_cannot_be_are_refused() -> None:
    info = TinyEncoder().info
    with pytest.raises(SpecError, match="S2 needs scales above 0"):
        Sight(info=info, tiling=tiling("plain"), scales=(1, 0))


def test_tiles_that_the_encoder_cannot_take_are_refused() -> None:
    sight = Sight(info=TinyEncoder().info, tiling=tiling("plain", height_px=33, width_px=32))
    with pytest.raises(EncoderError, match="both sides must be multiples of 8 px"):
        sight.grids(sight.plan(50, 50))
