"""What a caller can get wrong, and what the encoder says then."""

import json
from pathlib import Path
from typing import Any

import pytest
import transformers as hf
from safetensors.torch import load_file, save_file

from encoders import tiny
from opticnerve.encoders import load_encoder, sketch_encoder
from opticnerve.errors import EncoderError


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return tiny.save(tiny.TOWERS["clip"](), tmp_path)


def test_a_size_that_does_not_fit_names_sizes_that_do(clip: Path) -> None:
    encoder = sketch_encoder(clip)
    message = (
        r"cannot take an image of 30 x 44 px: both sides must be multiples of 7 px. Sizes that fit: 28 x 42 and 35 x 49"
    )
    with pytest.raises(EncoderError, match=message):
        encoder.grid(30, 44)
    with pytest.raises(EncoderError, match=message):
        encoder.flops(30, 44)
    with pytest.raises(EncoderError, match=message):
        load_encoder(clip)(tiny.pixels(30, 44))


def test_a_size_below_one_patch_names_one_patch(clip: Path) -> None:
    with pytest.raises(EncoderError, match="Sizes that fit: 7 x 7"):
        sketch_encoder(clip).grid(0, 3)


def test_a_fixed_position_table_names_its_native_size(tmp_path: Path) -> None:
    model = hf.Aimv2VisionModel(hf.Aimv2VisionConfig(**tiny.SIZES, **tiny.PICTURE))
    encoder = load_encoder(tiny.save(model, tmp_path))
    assert encoder(tiny.pixels(28, 28)).shape == (2, 16, 16)
    with pytest.raises(EncoderError, match="takes images of 28 x 28 px only.*got 28 x 35 px"):
        encoder(tiny.pixels(28, 35))
    with pytest.raises(EncoderError, match="Sizes that fit: only 28 x 28 px"):
        encoder.grid(30, 28)


@pytest.mark.parametrize("layers", [(4,), (-5,), ()])
def test_a_layer_that_does_not_exist_names_the_range(clip: Path, layers: Any) -> None:
    with pytest.raises(EncoderError, match=r"it has 3 layers, so pass \"last\", or a tuple of indices from 0"):
        sketch_encoder(clip, layers=layers)


@pytest.mark.unchecked
@pytest.mark.parametrize("layers", [("last",), "first"])
def test_a_layer_that_is_no_number_names_the_range(clip: Path, layers: Any) -> None:
    with pytest.raises(EncoderError, match='it has 3 layers, so pass "last", or a tuple of indices from 0'):
        sketch_encoder(clip, layers=layers)


@pytest.mark.unchecked
def test_prefix_tokens_are_dropped_or_kept_and_nothing_else(clip: Path) -> None:
    unknown: Any = "average"
    with pytest.raises(EncoderError, match='cannot "average" its prefix tokens: pass prefix="drop" or prefix="keep"'):
        sketch_encoder(clip, prefix=unknown)


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "a/b/c"])
def test_a_missing_folder_is_named(name: str) -> None:
    with pytest.raises(EncoderError, match=f'there is no folder "{name}": pass an existing folder'):
        load_encoder(name)


def test_a_folder_below_the_home_folder_is_read_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny.save(tiny.TOWERS["clip"](), tmp_path / "clip")
    monkeypatch.setenv("HOME", str(tmp_path))
    capfd.readouterr()
    assert load_encoder("~/clip").dim == sketch_encoder(tmp_path / "clip").dim
    assert capfd.readouterr() == ("", "")


def test_a_folder_without_a_config_says_so(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="holds no transformers checkpoint that can be read: "):
        load_encoder(tmp_path)


def test_a_hub_that_does_not_answer_leaves_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect to the hub.\nSecond line.")

    monkeypatch.setattr(hf.AutoConfig, "from_pretrained", refuse)
    with pytest.raises(EncoderError) as caught:
        load_encoder("owner/model")
    assert str(caught.value) == (
        'cannot fetch "owner/model" from the Hugging Face hub (We couldn\'t connect to the hub.) Check the name and '
        'the connection, or download the model and pass its folder; "bundled" needs no network'
    )


def test_a_text_model_is_not_an_encoder(tmp_path: Path) -> None:
    hf.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match='is a "bert" model, not a vision model that cuts images into patches'):
        load_encoder(tmp_path)


def test_a_convolutional_network_is_not_cut_into_patches(tmp_path: Path) -> None:
    hf.ResNetConfig().save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match='is a "resnet" model, not a vision model'):
        load_encoder(tmp_path)


def test_a_hierarchical_network_does_not_return_one_feature_for_every_patch(tmp_path: Path) -> None:
    hf.SwinConfig(
        image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 1], window_size=4
    ).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match=r"\(SwinModel\).*one feature for every patch"):
        load_encoder(tmp_path)


def test_a_masking_autoencoder_returns_too_few_features(tmp_path: Path) -> None:
    hf.ViTMAEConfig(**tiny.SIZES, **tiny.PICTURE).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match=r"\(ViTMAEModel\) returns 11 features fewer than there are patches"):
        load_encoder(tmp_path)


def test_a_tower_with_oblong_patches_is_refused(tmp_path: Path) -> None:
    hf.InternVLVisionConfig(**tiny.SIZES, image_size=[28, 28], patch_size=[7, 14]).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match=r"patch_size=\(7, 14\) are not supported: both sides must be the same"):
        load_encoder(tmp_path)


def test_code_from_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    settings = {"model_type": "intern_vit_6b", "auto_map": {"AutoConfig": "configuration.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "configuration.py").write_text("raise SystemExit('this code ran')")
    with pytest.raises(EncoderError, match=r"needs code from its checkpoint, which is never run here.*\"-hf\""):
        load_encoder(tmp_path)


def test_an_architecture_that_transformers_does_not_know_says_update(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "eye_of_tomorrow"}))
    with pytest.raises(EncoderError, match="transformers does not know the model type of .*: update transformers"):
        load_encoder(tmp_path)


def test_a_folder_without_weights_says_which_file_is_missing(clip: Path) -> None:
    (clip / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="cannot read the weights of .*: Error no file named model.safetensors"):
        load_encoder(clip)


def test_an_incomplete_checkpoint_names_the_first_weight_that_is_missing(clip: Path) -> None:
    weights = load_file(clip / "model.safetensors")
    dropped = next(name for name in sorted(weights) if name.endswith("layers.0.mlp.fc1.weight"))
    del weights[dropped]
    save_file(weights, clip / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        EncoderError, match=r"lacks 1 of the \d+ weights of its vision tower \(CLIPVisionModel\), first"
    ):
        load_encoder(clip)
