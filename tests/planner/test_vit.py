"""Closed forms of vision transformers against small towers of transformers, their memory, and what is refused."""

import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from encoders import tiny
from opticnerve.checkpoints import read_settings
from opticnerve.encoders import Layers, load_encoder, sketch_encoder
from opticnerve.encoders.trim import trim
from opticnerve.encoders.vision_tower import VisionTower, run_tower
from opticnerve.errors import EncoderError, PlanError
from opticnerve.planner.encoder import BuiltEncoder, module_depth
from opticnerve.planner.vit import can_read_vit, read_vit
from opticnerve.planner.vit_families import VIT_FAMILIES
from planner import skeletons

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
PICTURE = {"image_size": 28, "patch_size": 7}
DINO = {**SIZES, **PICTURE, "mlp_ratio": 4}
QWEN = {"depth": 3, "num_heads": 2, "patch_size": 7, "spatial_merge_size": 2, "temporal_patch_size": 2}
WINDOWS = {"window_size": 28, "fullatt_block_indexes": [1], "out_hidden_size": 16}
SMALL: dict[str, dict[str, Any]] = {
    "clip": {"model_type": "clip_vision_model", **SIZES, **PICTURE},
    "siglip": {"model_type": "siglip_vision_model", **SIZES, **PICTURE},
    "naflex": {"model_type": "siglip2_vision_model", "num_patches": 16, "patch_size": 7, **SIZES},
    "vit": {"model_type": "vit", **SIZES, **PICTURE},
    "vit without biases": {"model_type": "vit", "qkv_bias": False, **SIZES, **PICTURE},
    "blip2": {"model_type": "blip_2_vision_model", **SIZES, **PICTURE},
    "instructblip": {"model_type": "instructblip_vision_model", "qkv_bias": False, **SIZES, **PICTURE},
    "dinov2": {"model_type": "dinov2", **DINO},
    "dinov2 gated": {"model_type": "dinov2", "use_swiglu_ffn": True, "use_mask_token": False, **DINO},
    "registers": {"model_type": "dinov2_with_registers", "num_register_tokens": 4, **DINO},
    "dinov3": {"model_type": "dinov3_vit", "num_register_tokens": 4, **SIZES, **PICTURE},
    "dinov3 gated": {
        "model_type": "dinov3_vit",
        "num_register_tokens": 0,
        "use_gated_mlp": True,
        "query_bias": False,
        "key_bias": True,
        "proj_bias": False,
        "mlp_bias": False,
        **SIZES,
        **PICTURE,
    },
    "internvl": {"model_type": "internvl_vision", "attention_bias": True, **SIZES, **PICTURE},
    "internvl normed": {
        "model_type": "internvl_vision",
        "use_qk_norm": True,
        "norm_type": "rms_norm",
        "use_mean_pooling": False,
        "use_mask_token": True,
        **SIZES,
        **PICTURE,
    },
    "internvit": {
        "model_type": "intern_vit_6b",
        "qkv_bias": False,
        "qk_normalization": True,
        "norm_type": "rms_norm",
        **SIZES,
        **PICTURE,
    },
    "aimv2": {"model_type": "aimv2_vision_model", "use_head": True, **SIZES, **PICTURE},
    "aimv2 native": {
        "model_type": "aimv2_vision_model",
        "is_native": True,
        "qkv_bias": True,
        "mlp_bias": True,
        **SIZES,
        **PICTURE,
    },
    "idefics2": {"model_type": "idefics2_vision", **SIZES, **PICTURE},
    "idefics3": {"model_type": "idefics3_vision", **SIZES, **PICTURE},
    "smolvlm": {"model_type": "smolvlm_vision", **SIZES, **PICTURE},
    "qwen2": {"model_type": "qwen2_vl_vision", "embed_dim": 16, "hidden_size": 24, "mlp_ratio": 2, **QWEN},
    "qwen2.5": {"model_type": "qwen2_5_vl_vision", "hidden_size": 16, "intermediate_size": 32, **WINDOWS, **QWEN},
    "qwen3": {
        "model_type": "qwen3_vl_vision",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [1],
        "out_hidden_size": 16,
        **QWEN,
    },
}
LAYERS: tuple[Layers, ...] = ("last", (-2,), (0,), (-1, 1))
"""The finished output; one layer less; no layer, of which one is built nevertheless; two levels joined."""


@pytest.mark.parametrize("layers", LAYERS, ids=str)
@pytest.mark.parametrize("name", SMALL)
def test_small_towers_have_exactly_these_costs(name: str, layers: Layers) -> None:
    vit = read_vit(SMALL[name], name=name, layers=layers)
    tower = skeletons.sketch(SMALL[name], name=name, layers=layers)
    assert vit.info == tower.info
    assert vit.num_params == skeletons.num_params(tower)
    # 70 x 98 px cut Qwen2.5-VL's windows short on both sides.
    sizes = [vit.info.native_px, (42, 84), (70, 98)] if vit.info.is_any_size else [vit.info.native_px]
    for size in sizes:
        assert vit.flops(*size) == tower.flops(*size), size


@pytest.mark.parametrize("layers", LAYERS, ids=str)
def test_pixtral_has_exactly_these_costs(layers: Layers) -> None:
    settings = {"model_type": "pixtral", **SIZES, **PICTURE}
    vit = read_vit(settings, name="pixtral", layers=layers)
    with torch.device("meta"):
        config = hf.PixtralVisionConfig(**{**SIZES, **PICTURE, "num_hidden_layers": vit.num_layers})
        model = hf.PixtralVisionModel._from_config(config, attn_implementation="eager").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        output = model(torch.empty(1, 3, 42, 84, device="meta")).last_hidden_state
    assert vit.num_params == sum(parameter.numel() for parameter in model.parameters())
    assert vit.flops(42, 84) == counter.get_total_flops()
    assert vit.info.grid(42, 84).size == output.shape[1]


def test_every_family_is_tried() -> None:
    assert {settings["model_type"] for settings in SMALL.values()} | {"pixtral"} == set(VIT_FAMILIES)


def folders() -> dict[str, Any]:
    whole = {name: build for name, (build, _) in tiny.COMPOSITES.items() if name not in ("llava",)}
    return {**tiny.TOWERS, **tiny.QWENS, **whole, "naflex": tiny.naflex, "llava": tiny.llava}


@pytest.mark.parametrize("name", folders())
def test_a_folder_is_read_as_its_encoder_is_sketched(name: str, tmp_path: Path) -> None:
    folders()[name]().config.save_pretrained(tmp_path)
    settings = read_settings(tmp_path)
    assert can_read_vit(settings)
    for layers in LAYERS:
        vit = read_vit(settings, name=str(tmp_path), layers=layers)
        sketch = sketch_encoder(tmp_path, layers=layers)
        assert isinstance(sketch, VisionTower)
        assert vit.info == sketch.info
        assert vit.num_params == skeletons.num_params(sketch)
        assert vit.flops(*vit.info.native_px) == sketch.flops(*vit.info.native_px)


@pytest.mark.parametrize(
    ("outer", "inner", "small"),
    [
        ("qwen2_5_vl", "", "qwen2.5"),
        ("qwen3_vl", "qwen3_vl", "qwen3"),
        ("idefics2", "idefics2", "idefics2"),
        ("internvl_chat", "intern_vit_6b", "internvit"),
    ],
)
def test_whole_models_as_they_were_published_are_read_at_their_vision_part(outer: str, inner: str, small: str) -> None:
    vision = {**SMALL[small], "model_type": inner} if inner else {**SMALL[small]}
    if not inner:
        del vision["model_type"]
    settings = {"model_type": outer, "hidden_size": 64, "vision_config": vision}
    assert can_read_vit(settings)
    assert read_vit(settings, name="it") == read_vit(SMALL[small], name="it")


@pytest.mark.parametrize("settings", [{}, {"model_type": "llama"}, {"vision_config": {"model_type": "sam"}}], ids=str)
def test_other_models_are_left_to_be_built(settings: Mapping[str, Any]) -> None:
    assert not can_read_vit(settings)
    with pytest.raises(
        PlanError, match=r"model are not known in closed form; they are for clip_vision_model, .*sketch"
    ):
        read_vit(settings, name="it")


class LiveValues(TorchDispatchMode):
    """Adds up the numbers of the tensors that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak = 0, 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {
            leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)
        }
        for leaf in tree_leaves(result):
            storage = leaf.untyped_storage() if isinstance(leaf, torch.Tensor) else None
            if storage is not None and storage._cdata not in given | self.seen:
                self.seen.add(storage._cdata)
                self.now += storage.nbytes() // 4
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._free, storage._cdata, storage.nbytes() // 4)
        return result

    def _free(self, key: int, values: int) -> None:
        self.seen.discard(key)
        self.now -= values


@pytest.mark.parametrize("layers", ["last", (-1, 1)], ids=str)
@pytest.mark.parametrize("name", ["clip", "siglip", "dinov2", "dinov2 gated", "dinov3", "internvl", "aimv2", "qwen2.5"])
def test_activations_are_estimated_within_a_tenth(name: str, layers: Layers) -> None:
    changes = {"hidden_size": 64, "image_size": 196}
    changes |= {} if SMALL[name]["model_type"] == "dinov2" else {"intermediate_size": 256}
    changes |= {"hidden_act": "quick_gelu"} if name == "clip" else {}
    settings = {**SMALL[name], **changes}
    vit = read_vit(settings, name=name, layers=layers)
    tower = skeletons.sketch(settings, name=name, layers=layers)
    model = tower.plan.cls._from_config(tower.plan.fresh_config()).eval()
    trim(model, tower.plan, levels=tower.levels)
    pixels = torch.randn(1, 3, 196, 196)
    with torch.no_grad(), LiveValues() as live:
        run_tower(model, pixels, vit.info.grid(196, 196), feed=tower.plan.feed(), levels=tower.levels)
    # Block-ordered towers cut the image into patches before, which is a copy of it.
    given = 0 if name.startswith("qwen") else pixels.numel()
    assert vit.activation_values(196, 196) == pytest.approx(live.peak + given, rel=0.1)


@pytest.mark.parametrize("layers", ["last", (-1, 2)], ids=str)
def test_activations_of_the_bundled_encoder_are_estimated_within_a_tenth(layers: Layers) -> None:
    encoder = load_encoder("bundled", layers=layers)
    built = BuiltEncoder(encoder=encoder, depth=module_depth(encoder))
    pixels = torch.zeros(1, 3, 256, 384)
    with torch.no_grad(), LiveValues() as live:
        encoder(pixels)
    assert built.activation_values(256, 384) == pytest.approx(live.peak + pixels.numel(), rel=0.1)
    assert built.num_layers == len(encoder.get_submodule("model.blocks"))  # pyright: ignore[reportArgumentType]
    assert built.num_params == sum(parameter.numel() for parameter in encoder.parameters())
    assert built.flops(256, 384) == encoder.flops(256, 384)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("siglip", "hidden_size"),
        ("siglip", "intermediate_size"),
        ("siglip", "num_hidden_layers"),
        ("siglip", "image_size"),
        ("clip", "patch_size"),
        ("naflex", "num_patches"),
        ("registers", "num_register_tokens"),
        ("dinov2", "mlp_ratio"),
        ("qwen2", "embed_dim"),
        ("qwen2", "spatial_merge_size"),
        ("qwen2.5", "window_size"),
        ("qwen2.5", "fullatt_block_indexes"),
        ("qwen3", "num_position_embeddings"),
    ],
)
def test_a_missing_setting_is_named(name: str, field: str) -> None:
    settings = {key: value for key, value in SMALL[name].items() if key != field}
    kind = settings["model_type"]
    wanted = (
        f'^it: its config.json does not say "{field}", which the cost of a "{kind}" model needs: take the config.json'
    )
    with pytest.raises(PlanError, match=wanted):
        read_vit(settings, name="it")


@pytest.mark.parametrize("value", ["1152", 16.5, True, -1])
def test_a_setting_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(PlanError, match=r"^it: its config.json has hidden_size=.*, which must be a whole number$"):
        read_vit({**SMALL["siglip"], "hidden_size": value}, name="it")


@pytest.mark.parametrize("field", ["patch_size", "image_size"])
def test_sides_that_differ_are_refused(field: str) -> None:
    assert read_vit({**SMALL["siglip"], "patch_size": [7, 7]}, name="it") == read_vit(SMALL["siglip"], name="it")
    wanted = (
        rf"^it: its config.json has {field}=\[14, 16\], and encoders are planned for squares alone: both sides must"
    )
    with pytest.raises(PlanError, match=wanted):
        read_vit({**SMALL["siglip"], field: [14, 16]}, name="it")


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(EncoderError, match=r'encoder "it" has no layers=\(4,\): it has 3 layers'):
        read_vit(SMALL["siglip"], name="it", layers=(4,))


@pytest.mark.parametrize("ask", ["flops", "activation_values"])
def test_a_size_that_does_not_fit_is_refused(ask: str) -> None:
    with pytest.raises(EncoderError, match=r"cannot take an image of 30 x 28 px.*multiples of 7 px. Sizes that fit"):
        getattr(read_vit(SMALL["siglip"], name="it"), ask)(30, 28)
    with pytest.raises(EncoderError, match=r"takes images of 28 x 28 px only"):
        getattr(read_vit(SMALL["aimv2"], name="it"), ask)(28, 35)
