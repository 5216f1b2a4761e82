"""Found configurations as recipes: they load, they train, and they make the tokens that were planned."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from opticnerve.encoders import load_encoder
from opticnerve.errors import OpticNerveError, PlanError, RecipeError
from opticnerve.planner.budget import read_budgets
from opticnerve.planner.choice import Choice
from opticnerve.planner.configurations import configurations
from opticnerve.planner.demand import Demand
from opticnerve.planner.lookup import find_llm
from opticnerve.planner.planned import Planned, plan_each
from opticnerve.planner.recipe import recipe_text, write_recipes
from opticnerve.planner.search import best_fitting
from opticnerve.train.load_recipe import load_recipe, read_recipe
from opticnerve.train.recipe import ModelSettings, Recipe
from opticnerve.train.recipe_faults import missing_values
from opticnerve.train.run import run
from opticnerve.train.small_llm import write_small_llm
from opticnerve.views import Sight
from opticnerve.views.fit import fitting_method, fitting_tiling
from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveImageProcessor, OpticNerveProcessor
from planner.parts import device

SIZE = (600, 800)


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("llm")
    write_small_llm(folder, seed=0)
    return str(folder)


@pytest.fixture(scope="module")
def found(llm: str) -> tuple[Planned, ...]:
    """What fits, and S2, which other configurations beat here."""
    base = Choice(llm=llm)
    encoder = base.find_encoder()
    choices = configurations(base, encoder.info)
    planned, _ = plan_each(choices, encoder, find_llm(llm), device=device(), demand=Demand(), size=SIZE)
    s2 = [one for one in planned if one.choice.scales == (1, 2) and one.choice.method in ("mlp", "pixel_shuffle")]
    return (*best_fitting(read_budgets(["tokens=1500"]), planned, most=1000), *s2[:2])


@pytest.fixture(scope="module")
def written(found: tuple[Planned, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write_recipes(found, tmp_path_factory.mktemp("recipes") / "new" / "folder")


def filled(path: Path) -> Recipe:
    return load_recipe(path, [f"{place}=set" for place, _ in missing_values(read_recipe(path))])


def image_processor(recipe: ModelSettings) -> OpticNerveImageProcessor:
    """What training makes of a recipe's model block."""
    info = load_encoder(recipe.encoder).info
    tiling = fitting_tiling(recipe.tiling, info, recipe.tiling_options, scales=recipe.scales)
    sight = Sight(info=info, tiling=tiling, scales=recipe.scales)
    spec = fitting_method(recipe.method, sight, recipe.method_options)
    return OpticNerveImageProcessor(sight=sight.to_dict(), connector=spec.to_dict())


@pytest.fixture(scope="module")
def pairs(found: tuple[Planned, ...], written: tuple[Path, ...]) -> list[tuple[Planned, OpticNerveImageProcessor]]:
    return [(one, image_processor(filled(path).model)) for one, path in zip(found, written, strict=True)]


def test_files_are_named_by_rank_and_content(found: tuple[Planned, ...], written: tuple[Path, ...]) -> None:
    assert len(found) == len(written) > 5
    for rank, (one, path) in enumerate(zip(found, written, strict=True), start=1):
        choice = one.choice
        assert path.name == f"{rank:02d}-{choice.method}-{choice.tiling}-{one.plan.visual_tokens}.yaml"
        assert filled(path).name == path.stem
    assert sorted(written[0].parent.iterdir()) == sorted(written), "and nothing else is left there"


def test_the_model_is_the_one_that_was_planned(found: tuple[Planned, ...], written: tuple[Path, ...], llm: str) -> None:
    for one, path in zip(found, written, strict=True):
        model, choice = filled(path).model, one.choice
        assert (model.encoder, model.llm, model.layers) == ("bundled", llm, "fitting")
        assert (model.method, model.tiling, model.scales) == (choice.method, choice.tiling, choice.scales)
        assert json.dumps(model.method_options) == json.dumps(dict(choice.method_options)), "padding included"
        assert json.dumps(model.tiling_options) == json.dumps(dict(choice.tiling_options))


def test_an_image_of_the_planned_size_gets_the_planned_tokens(
    pairs: list[tuple[Planned, OpticNerveImageProcessor]],
) -> None:
    for planned, processor in pairs:
        assert processor.num_image_tokens(*SIZE) == planned.plan.visual_tokens, planned.words


@settings(max_examples=40, deadline=None)
@given(data=st.data(), height=st.integers(32, 3000), width=st.integers(32, 3000))
def test_an_image_of_any_size_gets_the_tokens_of_its_plan(
    pairs: list[tuple[Planned, OpticNerveImageProcessor]], data: st.DataObject, height: int, width: int
) -> None:
    planned, processor = data.draw(st.sampled_from(pairs))
    model = planned.choice.build()
    try:
        expected = processor.num_image_tokens(height, width)
    except OpticNerveError as error:
        with pytest.raises(type(error)):
            model.look(height, width)
    else:
        assert model.look(height, width).num_tokens == expected


def test_the_stages_are_those_of_llava_with_room_for_the_visual_tokens(
    found: tuple[Planned, ...], written: tuple[Path, ...]
) -> None:
    llava = load_recipe("llava_1_5", [f"{place}=set" for place, _ in missing_values(read_recipe("llava_1_5"))])
    own = {"data", "micro_batch_size", "max_tokens"}
    for one, path in zip(found, written, strict=True):
        for stage, published in zip(filled(path).stages, llava.stages, strict=True):
            assert stage.model_dump(exclude=own) == published.model_dump(exclude=own)
            assert stage.max_tokens >= 2048 + one.plan.visual_tokens > stage.max_tokens - 1024
            assert stage.batch_size % stage.micro_batch_size == 0


def test_the_data_are_the_users_to_set(written: tuple[Path, ...]) -> None:
    with pytest.raises(RecipeError, match="stages.0.data.0.path is yours to set: --set .*images with captions, as LLa"):
        load_recipe(written[0])
    places = [place for place, _ in missing_values(read_recipe(written[0]))]
    assert places == [f"stages.{stage}.data.0.{key}" for stage in (0, 1) for key in ("path", "images")]


def test_the_head_says_what_was_planned(found: tuple[Planned, ...]) -> None:
    plan = found[0].plan
    text = recipe_text(found[0])
    lines = [line for line in text.splitlines() if line.startswith("#")]
    assert text.startswith("# ")
    assert max(map(len, lines)) <= 120
    head = " ".join(line.removeprefix("# ") for line in lines)
    assert head.startswith(f"{found[0].words}. Planned for images of 800 x 600 px (width x height), 1 in a prompt.")
    assert f"Visual tokens: {plan.visual_tokens} of {plan.prompt_tokens} tokens of a prompt." in head
    assert f"type of {found[0].readable_px:.0f} px of the image is readable" in head
    assert f"{found[0].pixels_per_token:.0f} pixels of the image to a visual token" in head
    assert f"On round in bf16, 1 at once: first token after {plan.timing.first_token_ms.low:.0f} to " in head


@pytest.mark.parametrize(
    ("encoder", "language", "expected"),
    [
        ("siglip2-so400m-patch14-384", "qwen3-4b", ("google/siglip2-so400m-patch14-384", "Qwen/Qwen3-4B")),
        ("bundled", "internlm2-chat-1_8b", ("bundled", "??? a folder with internlm/internlm2-chat-1_8b in transf")),
        (
            "OpenGVLab/InternViT-300M-448px-V2_5",
            "Qwen/Qwen3-4B",
            ("??? a folder with OpenGVLab/InternViT-300M-448px-V2_5 in transformers' own format", "Qwen/Qwen3-4B"),
        ),
    ],
)
def test_parts_have_names_that_training_can_load(
    encoder: str, language: str, expected: tuple[str, str], found: tuple[Planned, ...], tmp_path: Path
) -> None:
    one = replace(found[0], choice=replace(found[0].choice, encoder=encoder, llm=language))
    (path,) = write_recipes([one], tmp_path)
    model = read_recipe(path)["model"]
    assert model["encoder"].startswith(expected[0])
    assert model["llm"].startswith(expected[1])
    assert filled(path).name == path.stem


def test_a_folder_that_cannot_be_written_is_said(found: tuple[Planned, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlanError, match=r"cannot write the recipe .*file/01-.*\.yaml: .*\. Name another folder with -"):
        write_recipes(found[:1], tmp_path / "file")


def test_recipes_of_an_earlier_search_are_replaced(found: tuple[Planned, ...], tmp_path: Path) -> None:
    (path,) = write_recipes(found[:1], tmp_path)
    path.write_text("old")
    assert write_recipes(found[:1], tmp_path) == (path,)
    assert path.read_text() == recipe_text(found[0], name=path.stem)
    assert list(tmp_path.iterdir()) == [path]


def test_a_recipe_trains(found: tuple[Planned, ...], written: tuple[Path, ...], tmp_path: Path) -> None:
    """The cheapest of them, two steps a stage."""
    cheapest = min(range(len(found)), key=lambda index: found[index].plan.visual_tokens)
    turns = [("human", "<image>\nWhat color is the circle?"), ("gpt", "red")]
    said = [{"from": who, "value": text} for who, text in turns]
    entries = [{"id": str(index), "image": f"{index}.png", "conversations": said} for index in range(4)]
    for index in range(4):
        Image.new("RGB", (200 + 30 * index, 150), (60 * index, 0, 0)).save(tmp_path / f"{index}.png")
    (tmp_path / "data.json").write_text(json.dumps(entries))
    source = f"{{kind: llava, path: {tmp_path}/data.json, images: {tmp_path}}}"
    small = ["stages.*.steps=2", "stages.*.batch_size=2", "stages.*.micro_batch_size=1", "num_workers=0"]
    recipe = load_recipe(written[cheapest], [*small, f"stages.*.data=[{source}]"])
    folder = run(recipe, tmp_path / "out")
    processor = OpticNerveProcessor.from_pretrained(folder)
    assert processor.num_image_tokens(*SIZE) == found[cheapest].plan.visual_tokens
    trained = OpticNerveForConditionalGeneration.from_pretrained(folder)
    assert sum(value.numel() for value in trained.parts["connector"].parameters()) == (
        found[cheapest].plan.connector_params
    )
