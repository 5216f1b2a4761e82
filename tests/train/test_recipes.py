"""The shipped recipes: their numbers, their sizes, and that each of them trains."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig

from encoders import tiny as towers
from opticnerve.connectors import method
from opticnerve.encoders import describe_encoder, sketch_encoder
from opticnerve.errors import RecipeError
from opticnerve.grid import Grid
from opticnerve.tiling import parse_pinpoints, tiling
from opticnerve.train.load_recipe import load_recipe, read_recipe
from opticnerve.train.parts import select
from opticnerve.train.recipe import Recipe
from opticnerve.train.recipe_faults import missing_values
from opticnerve.train.recipes import recipe_names, recipe_text
from opticnerve.train.run import run
from opticnerve.train.small_llm import write_small_llm
from opticnerve.views import fitting_tiling
from opticnerve.vlm import OpticNerveConfig, OpticNerveForConditionalGeneration, assemble

NAMES = recipe_names()


def filled(name: str) -> Recipe:
    """A shipped recipe with some text wherever the caller has to set one."""
    return load_recipe(name, [f"{place}=set" for place, _ in missing_values(read_recipe(name))])


def rates(recipe: Recipe) -> list[dict[str, float]]:
    return [stage.open for stage in recipe.stages]


def test_the_published_systems_are_there():
    assert {"blip2", "internvl_1_5", "internvl_2_5", "llava_1_5", "llava_1_5_s2", "llava_onevision"} <= set(NAMES)
    assert {"mobilevlm_v2", "nanovlm"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_its_own_name_and_says_where_its_numbers_are_from(name: str):
    recipe = filled(name)
    assert recipe.name == name
    assert recipe.source
    assert recipe_text(name).startswith("# ")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_no_data_of_its_own_but_what_is_rendered(name: str):
    for stage in filled(name).stages:
        for source in stage.data:
            assert source.kind == "reading" or "set" in source.model_dump().values()
    missing = [place for place, what in missing_values(read_recipe(name)) if what]
    if any(source.kind != "reading" for stage in filled(name).stages for source in stage.data):
        with pytest.raises(RecipeError, match=f"recipe {name}, {missing[0]} is yours to set: --set {missing[0]}=..."):
            load_recipe(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipes_connector_tiling_and_template_exist(name: str):
    settings = filled(name).model
    assert method(settings.method, **settings.method_options).name == settings.method
    assert tiling(settings.tiling, **settings.tiling_options).name == settings.tiling
    for stage in filled(name).stages:
        tiling(settings.tiling, **{**settings.tiling_options, **stage.tiling_options})


@pytest.mark.parametrize("name", NAMES)
def test_micro_batches_fill_a_batch(name: str):
    for stage in filled(name).stages:
        assert stage.batch_size % stage.micro_batch_size == 0


def test_mobilevlm_v2_is_the_published_script():
    recipe = filled("mobilevlm_v2")
    assert rates(recipe) == [{"connector": 1e-3, "llm": 2e-5}, {"connector": 4e-5, "llm": 4e-5}]
    assert [stage.batch_size for stage in recipe.stages] == [256, 128]
    assert [stage.micro_batch_size for stage in recipe.stages] == [32, 16]
    assert [(stage.template, stage.group_by_length) for stage in recipe.stages] == [("plain", False), ("model", True)]
    assert recipe.model.template == "vicuna_v1"
    for stage in recipe.stages:
        assert (stage.weight_decay, stage.schedule, stage.warmup_ratio, stage.epochs) == (0, "cosine", 0.03, 1)
        assert (stage.precision, stage.max_tokens, stage.gradient_checkpointing) == ("bf16", 2048, True)
        assert (stage.min_lr_ratio, stage.betas, stage.max_grad_norm) == (0, (0.9, 0.999), 1)


def test_llava_1_5_is_the_published_scripts():
    recipe = filled("llava_1_5")
    assert rates(recipe) == [{"connector": 1e-3}, {"connector": 2e-5, "llm": 2e-5}]
    assert [stage.batch_size for stage in recipe.stages] == [256, 128]
    assert (recipe.model.layers, recipe.model.prefix, recipe.model.scales) == ((-2,), "drop", (1,))
    with_s2 = filled("llava_1_5_s2")
    assert (with_s2.model.scales, with_s2.model.layers) == ((1, 2, 3), (-2,))
    assert with_s2.stages[0].model_dump() == recipe.stages[0].model_dump()


def test_nanovlm_has_one_stage_and_three_rates():
    recipe = filled("nanovlm")
    assert rates(recipe) == [{"connector": 5.12e-3, "encoder": 5e-5, "llm": 5e-5}]
    (stage,) = recipe.stages
    assert (stage.schedule, stage.min_lr_ratio, stage.steps) == ("cosine", 0.1, 40000)


def test_internvl_opens_the_encoder_before_the_llm():
    first, second = filled("internvl_1_5").stages
    assert (first.open, second.open["llm"]) == ({"encoder": 1e-5, "connector": 1e-5}, 2e-5)
    assert (first.batch_size, second.batch_size, first.weight_decay, first.max_tokens) == (2048, 1024, 0.05, 4096)
    assert tiling("internvl", **filled("internvl_1_5").model.tiling_options).most_tiles == 13
    assert rates(filled("internvl_2_5"))[0] == {"connector": 2e-4}
    assert all(stage.packing and stage.max_tokens == 16384 for stage in filled("internvl_2_5").stages)


def test_blip2_trains_the_q_former_alone():
    (stage,) = filled("blip2").stages
    assert stage.open == {"connector": 1e-4}
    assert (stage.warmup_steps, stage.min_lr_ratio, stage.weight_decay, stage.epochs) == (2000, 0.1, 0.05, 10)
    assert filled("blip2").model.prefix == "keep"


def test_llava_onevisions_canvases_are_the_scripts():
    options: Mapping[str, Any] = filled("llava_onevision").model.tiling_options
    assert tuple(map(tuple, options["pinpoints"])) == parse_pinpoints("(1x1),...,(6x6)", tile_px=384)
    assert rates(filled("llava_onevision")) == [
        {"connector": 1e-3},
        {"encoder": 2e-6, "connector": 1e-5, "llm": 1e-5},
    ]


CLIP = CLIPVisionConfig(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
    image_size=336,
    patch_size=14,
)
"""openai/clip-vit-large-patch14-336."""
MOBILE_LLAMA = LlamaConfig(
    vocab_size=32000,
    hidden_size=2048,
    intermediate_size=5632,
    num_hidden_layers=24,
    num_attention_heads=16,
    num_key_value_heads=16,
    rms_norm_eps=1e-6,
    tie_word_embeddings=False,
)
"""mtgv/MobileLLaMA-1.4B-Chat."""


def sketch(recipe: Recipe, tmp_path: Path, *, vision: CLIPVisionConfig, llm: LlamaConfig) -> Any:
    """The model of a recipe at its published size, without weights."""
    vision.save_pretrained(tmp_path)
    settings = recipe.model
    encoder = sketch_encoder(tmp_path, layers=settings.layers, prefix=settings.prefix)
    tiling = fitting_tiling(settings.tiling, encoder.info, settings.tiling_options, scales=settings.scales)
    config = OpticNerveConfig(
        text_config=llm,
        encoder=describe_encoder(encoder),
        tiling=tiling.to_dict(),
        scales=list(settings.scales),
        connector=method(settings.method, **settings.method_options).to_dict(),
    )
    with torch.device("meta"):
        return OpticNerveForConditionalGeneration(config)


def test_mobilevlm_v2_has_the_published_parts_and_opens_two_of_them(tmp_path: Path):
    recipe = filled("mobilevlm_v2")
    model = sketch(recipe, tmp_path, vision=CLIP, llm=MOBILE_LLAMA)
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in model.parts.items()}
    # LDPv2: 6.316 M, 20,480 of them beyond the MLP. Of CLIP's 24 layers the 23 that are needed.
    assert sizes["connector"] == 6_316_032 == (1024 + 1) * 2048 + (2048 + 1) * 2048 + 20_480
    assert sizes["llm"] == 1_364_297_728
    assert sizes["encoder"] == 290_909_184
    for stage in recipe.stages:
        selection = select(model.parts, stage.open)
        assert [group.name for group in selection.groups] == ["connector", "llm"]
        assert sum(p.numel() for group in selection.groups for _, p in group.parameters) == 1_370_613_760
        assert not any(p.requires_grad for p in model.parts["encoder"].parameters())
    plan = model.model.sight.plan(480, 640)
    assert plan.num_tokens([Grid(12, 12)]) == 144


@pytest.mark.parametrize(
    ("name", "vision_dim", "llm_dim", "num_params"),
    [
        ("llava_1_5", 1024, 4096, 1025 * 4096 + 4097 * 4096),
        ("llava_1_5_s2", 3072, 4096, 3073 * 4096 + 4097 * 4096),
        ("internvl_1_5", 3200, 6144, 2 * 12800 + 12801 * 6144 + 6145 * 6144),
        ("internvl_2_5", 1024, 896, 2 * 4096 + 4097 * 896 + 897 * 896),
        ("nanovlm", 768, 960, 12288 * 960),
        ("llava_onevision", 1152, 3584, 1153 * 3584 + 3585 * 3584),
        # ln_vision, 12 layers, cross-attention in 6 of them, queries, first norm (105.1 M), projection
        ("blip2", 1408, 2560, 2 * 1408 + 12 * 7_087_872 + 6 * 3_346_944 + 32 * 768 + 2 * 768 + 769 * 2560),
    ],
)
def test_a_connector_has_as_many_parameters_as_the_published_one(
    name: str, vision_dim: int, llm_dim: int, num_params: int
):
    settings = filled(name).model
    spec = method(settings.method, **settings.method_options)
    assert spec.num_params(vision_dim=vision_dim, llm_dim=llm_dim) == num_params


TINY = [
    "stages.*.steps=2",
    "stages.*.batch_size=2",
    "stages.*.micro_batch_size=1",
    "stages.*.max_tokens=1024",
    "num_workers=0",
    "log_every=1",
]
SMALLER = {
    "blip2": [
        "model.method_options={num_queries: 4, hidden_dim: 16, num_layers: 2, num_heads: 2, feed_forward_dim: 32}",
        "stages.*.warmup_steps=1",
    ],
    "internvl_1_5": ["model.tiling_options.tile_px=28", "stages.0.warmup_steps=1"],
    "internvl_2_5": ["model.tiling_options.tile_px=28", "stages.0.warmup_steps=1"],
    "llava_1_5_s2": ["stages.1.lora.rank=2"],
    "llava_onevision": ["model.tiling_options.tile_px=28", "model.tiling_options.pinpoints=[[28, 56], [56, 56]]"],
}
"""What shrinks the recipes whose options name sizes."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random encoders, a tiny random LLM, and pictures with captions."""
    folder = tmp_path_factory.mktemp("parts")
    towers.save(towers.TOWERS["clip"](), folder / "clip")
    towers.save(towers.TOWERS["siglip"](), folder / "siglip")
    towers.save(towers.TOWERS["internvl"](), folder / "internvl")
    write_small_llm(folder / "llm", seed=0)
    entries: list[dict[str, object]] = []
    for index in range(4):
        Image.new("RGB", (40 + 30 * index, 50), (60 * index, 0, 0)).save(folder / f"{index}.png")
        turns = [("human", "<image>\nWhat color is the circle?"), ("gpt", "red")]
        said = [{"from": who, "value": text} for who, text in turns]
        entries.append({"id": str(index), "image": f"{index}.png", "conversations": said})
    (folder / "data.json").write_text(json.dumps(entries))
    return folder


@pytest.mark.parametrize("name", [name for name in NAMES if any(missing_values(read_recipe(name)))])
def test_a_recipe_trains_its_parts_with_tiny_ones(name: str, parts: Path, tmp_path: Path):
    tower = {"internvl_1_5": "internvl", "internvl_2_5": "internvl", "nanovlm": "siglip", "llava_onevision": "siglip"}
    source = f"{{kind: llava, path: {parts}/data.json, images: {parts}}}"
    own = [f"model.encoder={parts / tower.get(name, 'clip')}", f"model.llm={parts / 'llm'}"]
    own += ["model.template=llm"] if read_recipe(name)["model"].get("template") == "chatml" else []
    recipe = load_recipe(name, [*TINY, *own, f"stages.*.data=[{source}]", *SMALLER.get(name, [])])
    before = _parts(assembled(recipe))
    after = _parts(OpticNerveForConditionalGeneration.from_pretrained(run(recipe, tmp_path / "out")))
    opened = {part for stage in recipe.stages for part in stage.open}
    assert {part for part in before if before[part] != after[part]} == opened


def assembled(recipe: Recipe) -> Any:
    settings = recipe.model.model_dump()
    return assemble(seed=recipe.seed, **settings)[0]


def _parts(model: Any) -> dict[str, bytes]:
    return {
        name: b"".join(value.float().numpy().tobytes() for value in part.state_dict().values())
        for name, part in model.parts.items()
    }


@pytest.mark.parametrize(
    "changes",
    [
        ["stages.0.data.0.has_pictures=true"],
        ["stages.0.packing=true"],
        ["stages.3.data.0.has_pictures=false"],
        ["stages.3.data=[{kind: llava, path: x.json}]"],
    ],
)
def test_an_objective_with_data_that_lack_its_labels_is_refused(changes: list[str]):
    with pytest.raises(RecipeError, match='the objective "(symbols|alignment)" needs data of kind: reading, has_pict'):
        load_recipe("tiny", changes)
