"""An encoder as a description: the encoder that is built from it is the same, with the same weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from encode.tiny import TinyEncoder
from encoders import tiny
from opticnerve.encoders import EncoderInfo, build_encoder, describe_encoder, load_encoder
from opticnerve.errors import EncoderError

MODELS: dict[str, Callable[[], Any]] = {
    **tiny.TOWERS,
    **tiny.QWENS,
    "naflex": tiny.naflex,
    "llava": tiny.llava,
    "idefics3": tiny.idefics3,
}


@pytest.mark.parametrize("layers", ["last", (-2,), (1, -1)])
@pytest.mark.parametrize("name", [*MODELS, "bundled"])
def test_a_description_builds_the_same_encoder_again(tmp_path: Path, name: str, layers: Any) -> None:
    place = name if name == "bundled" else str(tiny.save(tiny.randomise(MODELS[name]()), tmp_path))
    encoder = load_encoder(place, layers=layers, prefix="keep")
    built = build_encoder(json.loads(json.dumps(describe_encoder(encoder))))
    assert built.info == encoder.info
    assert not built.training
    built.load_state_dict(encoder.state_dict())
    side = encoder.native_px[0]
    pixels = tiny.pixels(side, side)
    torch.testing.assert_close(built(pixels), encoder(pixels), rtol=0, atol=1e-6)
    assert built.flops(side, side) == encoder.flops(side, side)
    assert describe_encoder(built) == describe_encoder(encoder)


def test_attention_can_be_the_one_that_can_be_read(tmp_path: Path) -> None:
    encoder = load_encoder(tiny.save(tiny.randomise(tiny.TOWERS["clip"]()), tmp_path))
    built: Any = build_encoder(describe_encoder(encoder), attention="eager")
    assert built.model.config._attn_implementation == "eager"
    assert build_encoder(describe_encoder(encoder)).model.config._attn_implementation == "sdpa"  # type: ignore[union-attr]


def test_what_is_known_of_an_encoder_survives_json() -> None:
    info = load_encoder("bundled").info
    assert EncoderInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info


def test_an_encoder_of_ones_own_cannot_be_written_down() -> None:
    with pytest.raises(EncoderError, match='encoder "tiny" is a TinyEncoder, which cannot be written down: take "bund'):
        describe_encoder(TinyEncoder())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "timm"}, 'an encoder is "bundled" or "transformers", got "timm": update this library'),
        ({"module": "os", "cls": "PathLike"}, '"os.PathLike" is no model class of transformers: update transformers'),
        (
            {"cls": "CLIPOutput"},
            '"transformers.models.clip.modeling_clip.CLIPOutput" is no model class',
        ),
        ({"cls": "torch"}, '"transformers.models.clip.modeling_clip.torch" is no model class'),
        ({"info": {"name": "clip"}}, "an encoder is described by dim, is_any_size, name, .*; got name"),
    ],
)
def test_a_description_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    encoder = load_encoder(tiny.save(tiny.randomise(tiny.TOWERS["clip"]()), tmp_path))
    with pytest.raises(EncoderError, match=message):
        build_encoder({**describe_encoder(encoder), **change})


def test_a_description_with_a_hole_is_refused() -> None:
    with pytest.raises(EncoderError, match="the description of an encoder lacks 'kind': this library did not write it"):
        build_encoder({})
