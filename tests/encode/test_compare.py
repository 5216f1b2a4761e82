"""All methods on the same images, the encoder run once for each number of levels."""

import pytest
import torch

from encode.tiny import TinyEncoder
from opticnerve import METHODS
from opticnerve.encode import compare
from opticnerve.encoders import EncoderInfo
from opticnerve.errors import EncoderError, SpecError
from opticnerve.views import ViewSettings


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[TinyEncoder]:
    """Stand in for `load_encoder`; the encoders that were loaded."""
    encoders: list[TinyEncoder] = []

    def load(name: str, *, layers: tuple[int, ...] | str, prefix: str) -> TinyEncoder:
        if name != "tiny":
            raise EncoderError(f"no {name}")
        encoders.append(TinyEncoder(num_levels=1 if isinstance(layers, str) else len(layers)))
        return encoders[-1]

    monkeypatch.setattr("opticnerve.views.settings.load_encoder", load)
    return encoders


IMAGES = [torch.zeros(3, 40, 70, dtype=torch.uint8), torch.full((3, 32, 32), 200, dtype=torch.uint8)]


def test_every_method_has_a_row_and_the_encoder_runs_once_for_each_number_of_levels(loaded: list[TinyEncoder]):
    rows = list(compare(IMAGES, ["linear", "pool", "token_packer", "pixel_shuffle"], ViewSettings(encoder="tiny")))
    assert [row.method for row in rows] == ["linear", "pool", "token_packer", "pixel_shuffle"]
    assert [encoder.info.dim for encoder in loaded] == [12, 48]
    assert not any(row.reason for row in rows)
    assert sum(loaded[0].batch_sizes) == rows[0].num_tiles
    assert [row.ratio for row in rows] == [1, 4, 4, 4]
    assert all(row.connector_flops and row.encoder_flops and row.num_params for row in rows)


def test_a_method_that_does_not_fit_says_why_in_its_row(loaded: list[TinyEncoder]):
    settings = ViewSettings(encoder="tiny", tiling="plain", tiling_options={"height_px": 24})
    rows = {row.method: row for row in compare(IMAGES, ["linear", "pixel_shuffle", "pool"], settings)}
    assert "cannot merge a 3 x 4 grid by 2" in rows["pixel_shuffle"].reason
    assert rows["pixel_shuffle"].ratio == 0
    assert rows["linear"].num_tokens == 24


def test_settings_that_fit_nothing_are_refused(loaded: list[TinyEncoder]):
    with pytest.raises(EncoderError, match="no such"):
        list(compare(IMAGES, METHODS, ViewSettings(encoder="such")))


def test_levels_must_be_as_many_as_the_connector_reads(loaded: list[TinyEncoder]):
    with pytest.raises(SpecError, match=r"reads 4 layers of the encoder, got layers=\(1, 2\): name as many"):
        ViewSettings(encoder="tiny", layers=(1, 2)).load(num_levels=4)
    with pytest.raises(SpecError, match=r"reads 4 layers at one scale, got scales=\(1, 2\): use 1"):
        ViewSettings(encoder="tiny", scales=(1, 2)).load(num_levels=4)
    assert ViewSettings(encoder="tiny", layers=(1, 2)).load().dim == 24
    assert isinstance(loaded[0].info, EncoderInfo)
