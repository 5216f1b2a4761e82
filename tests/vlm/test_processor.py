"""The processor: as many placeholders as visual tokens, whatever the images, the tiling and the connector."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from opticnerve.errors import ImageError
from opticnerve.vlm import TEMPLATES
from vlm import tiny

SIGHTS: dict[str, dict[str, Any]] = {
    "plain": {**tiny.PLAIN, "method": "mlp"},
    "plain, any size": {
        "tiling": "plain",
        "tiling_options": {"fit": "keep", "height_px": 96, "width_px": 96},
        "method_options": {"odd": "pad"},
    },
    "internvl": {"tiling": "internvl", "tiling_options": {"tile_px": 32, "max_tiles": 6}},
    "anyres": tiny.ANYRES,
    "anyres, queries": {
        **tiny.ANYRES,
        "tiling_options": {**tiny.ANYRES["tiling_options"], "merge": "flat", "has_newline": False},
        "method": "perceiver",
        "method_options": {"num_latents": 3, "depth": 1, "num_heads": 4, "head_dim": 8},
    },
    "dynamic_s2": {"tiling": "dynamic_s2", "tiling_options": {"tile_px": 32, "scales_px": [32, 64], "max_tiles": 6}},
    "minicpm": {
        "tiling": "minicpm",
        "tiling_options": {"scale_px": 64, "multiple_px": 16, "max_slices": 4},
        "method": "mlp",
    },
    "qwen": {"tiling": "qwen", "tiling_options": {"min_pixels": 1024, "max_pixels": 16384}},
    "s2": {**tiny.PLAIN, "scales": (0.5, 1, 2), "tiling_options": {"height_px": 128, "width_px": 128}},
}


@pytest.fixture(scope="module")
def sighted(llama: Path) -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    for name, options in SIGHTS.items():
        found[name] = tiny.small(llama, **options)
    return found


@pytest.mark.parametrize("name", SIGHTS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.tuples(st.integers(20, 200), st.integers(20, 200)), min_size=1, max_size=3))
def test_there_are_as_many_placeholders_as_visual_tokens(
    sighted: dict[str, tuple[Any, Any]], name: str, sizes: list[tuple[int, int]]
) -> None:
    model, processor = sighted[name]
    inputs = tiny.batch(processor, ["x<image>" * len(sizes)], tiny.images(*sizes))
    with torch.no_grad():
        features = model.image_features(inputs["pixel_values"], inputs["image_sizes"])
        tokens = model.visual_tokens(features, inputs["image_sizes"])
    counts = [processor.num_image_tokens(*size) for size in sizes]
    assert [len(part) for part in tokens] == counts
    is_image = inputs["input_ids"] == processor.image_token_id
    assert int(is_image.sum()) == sum(counts)
    runs = torch.diff(torch.nn.functional.pad(is_image[0].int(), (1, 1))).nonzero().flatten().view(-1, 2)
    assert (runs[:, 1] - runs[:, 0]).tolist() == counts


def test_the_parts_that_training_calls_agree_with_the_whole(llama: Path) -> None:
    _, processor = tiny.small(llama, **tiny.ANYRES)
    pictures = tiny.images((100, 200), (64, 64))
    sizes = [(100, 200), (64, 64)]
    views = [processor.views(picture) for picture in pictures]
    whole = tiny.batch(processor, ["a <image> b <image>"], pictures)
    parts = processor.collate_views(list(zip(views, sizes, strict=True)))
    assert parts["image_sizes"].tolist() == whole["image_sizes"].tolist() == [list(size) for size in sizes]
    assert all(torch.equal(a, b) for a, b in zip(parts["pixel_values"], whole["pixel_values"], strict=True))
    text = processor.expand("a <image> b <image>", sizes)
    assert processor.tokenizer(text)["input_ids"] == whole["input_ids"][0].tolist()


def test_it_goes_to_data_workers(llama: Path) -> None:
    _, processor = tiny.small(llama)
    again = pickle.loads(pickle.dumps(processor))
    assert again.num_image_tokens(50, 70) == processor.num_image_tokens(50, 70)
    assert again.image_processor.to_dict() == processor.image_processor.to_dict()


def test_prompts_pad_on_the_left_for_generation(llama: Path) -> None:
    _, processor = tiny.small(llama)
    inputs = tiny.batch(processor, ["long text", "short"], [])
    assert inputs["attention_mask"].tolist() == [[1] * 9, [0] * 4 + [1] * 5]


def test_pictures_come_in_many_forms(llama: Path, tmp_path: Path) -> None:
    _, processor = tiny.small(llama)
    (picture,) = tiny.images((48, 80))
    array = picture.permute(1, 2, 0).numpy()
    Image.fromarray(array).save(tmp_path / "it.png")
    forms: list[Any] = [picture, array, picture.numpy(), Image.fromarray(array), str(tmp_path / "it.png")]
    wanted = processor.image_processor(picture)["pixel_values"][0]
    for form in forms:
        assert torch.equal(processor.image_processor(form)["pixel_values"][0], wanted)
    assert processor.image_processor(picture)["image_sizes"].tolist() == [[48, 80]]


def test_transparent_pixels_are_laid_over_white_and_pictures_are_turned_upright(llama: Path) -> None:
    _, processor = tiny.small(llama, method="mlp", tiling_options={"height_px": 16, "width_px": 16})
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    assert processor.image_processor(clear)["pixel_values"][0].unique().tolist() == [255]
    wide = Image.new("RGB", (20, 10))
    wide.getexif()[0x0112] = 6
    assert processor.image_processor(wide)["image_sizes"].tolist() == [[20, 10]]


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((4, 4), dtype=np.uint8), r"got torch.uint8 \(4, 4\): convert it first"),
        (torch.zeros(3, 4, 4), r"an image is a Pillow image, .* got torch.float32 \(3, 4, 4\): convert it first"),
        (7, "got int: convert it first"),
    ],
)
def test_what_is_no_picture_is_refused(llama: Path, picture: Any, message: str) -> None:
    _, processor = tiny.small(llama)
    with pytest.raises(ImageError, match=message):
        processor.image_processor.preprocess(picture)


def test_a_missing_file_is_named(llama: Path, tmp_path: Path) -> None:
    _, processor = tiny.small(llama)
    with pytest.raises(ImageError, match=r"it\.png: cannot be read as an image: "):
        processor.image_processor.preprocess(tmp_path / "it.png")


@pytest.mark.parametrize(
    ("texts", "pictures", "message"),
    [
        (
            ["a <image>"],
            [],
            r'the prompts have 1 "<image>", but there are 0 images: write "<image>" once for each image',
        ),
        (["a", "b <image>"], [[1], [1]], r'the prompts have 0 \+ 1 "<image>", but there are 1 \+ 1 images'),
        (["a <image> <image>"], [1], r'the prompts have 2 "<image>", but there are 1 images'),
        (["text"], [1, 1], r'the prompts have 0 "<image>", but there are 2 images'),
    ],
)
def test_prompts_and_images_that_do_not_belong_together_are_refused(
    llama: Path, texts: list[str], pictures: list[Any], message: str
) -> None:
    _, processor = tiny.small(llama)
    (picture,) = tiny.images((64, 64))
    made = [[picture] * len(own) if isinstance(own, list) else picture for own in pictures]
    with pytest.raises(ImageError, match=message):
        processor(text=texts, images=made or None)
    with pytest.raises(ImageError, match="there is nothing to process: pass text, images, or both"):
        processor()


def test_a_prompt_is_expanded_only_with_an_image_for_each_placeholder(llama: Path) -> None:
    _, processor = tiny.small(llama)
    with pytest.raises(ImageError, match='the prompts have 1 "<image>", but there are 0 images'):
        processor.expand("<image>", [])


def test_a_truncated_prompt_is_refused(llama: Path) -> None:
    _, processor = tiny.small(llama)
    with pytest.raises(ValueError, match="Mismatch in `image` token count"):
        processor(text=["<image>"], images=tiny.images((64, 64)), truncation=True, max_length=2)


PARTS = [
    {"type": "image", "image": Image.new("RGB", (64, 64))},
    {"type": "text", "text": "What is this?"},
]


def test_image_parts_become_placeholders_where_they_stand(llama: Path) -> None:
    _, processor = tiny.small(llama, template="vicuna_v1")
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PARTS}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    assert text == "Be brief. USER: <image>\nWhat is this? ASSISTANT:"
    plain = [chat[0], {"role": "user", "content": "<image>\nWhat is this?"}]
    assert processor.apply_chat_template(plain, add_generation_prompt=True) == text
    assert processor.apply_chat_template([chat, plain], add_generation_prompt=True) == [text, text]


def test_a_conversation_becomes_tensors_with_its_images(llama: Path) -> None:
    _, processor = tiny.small(llama, template="vicuna_v1")
    options: dict[str, Any] = {
        "tokenize": True,
        "return_dict": True,
        "return_tensors": "pt",
        "add_generation_prompt": True,
    }
    by_parts = processor.apply_chat_template([{"role": "user", "content": PARTS}], **options)
    plain = [{"role": "user", "content": "<image>\nWhat is this?"}]
    beside = processor.apply_chat_template(plain, processor_kwargs={"images": [PARTS[0]["image"]]}, **options)
    assert torch.equal(by_parts["input_ids"], beside["input_ids"])
    assert torch.equal(by_parts["pixel_values"][0], beside["pixel_values"][0])
    many = processor.apply_chat_template(
        [[{"role": "user", "content": "no image"}], [{"role": "user", "content": PARTS}]], **options
    )
    assert many["image_sizes"].tolist() == [[64, 64]]
    assert len(many["input_ids"]) == 2


CHAT = [
    {"role": "user", "content": "<image>\nWhat?"},
    {"role": "assistant", "content": "A cat."},
    {"role": "user", "content": "Where?"},
    {"role": "assistant", "content": "Here."},
]

RENDERED = {
    "plain": ("<image>A cat.\nHere.\n", ["A cat.\n", "Here.\n"]),
    "vicuna_v1": (
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions. "
        "USER: <image>\nWhat? ASSISTANT: A cat.</s> USER: Where? ASSISTANT: Here.</s>",
        [" A cat.</s>", " Here.</s>"],
    ),
    "chatml": (
        "<|im_start|>user\n<image>\nWhat?<|im_end|>\n<|im_start|>assistant\nA cat.<|im_end|>\n"
        "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\nHere.<|im_end|>\n",
        ["A cat.<|im_end|>", "Here.<|im_end|>"],
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_render_as_published_and_mark_the_answers(llama: Path, name: str) -> None:
    _, processor = tiny.small(llama, template="plain")
    processor.chat_template = TEMPLATES[name]
    text, answers = RENDERED[name]
    assert processor.apply_chat_template(CHAT) == text
    out = processor.apply_chat_template(
        CHAT,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
        processor_kwargs={"images": tiny.images((64, 64))},
    )
    ids = [token for token, is_answer in zip(out["input_ids"][0], out["assistant_masks"][0], strict=True) if is_answer]
    assert processor.tokenizer.decode(ids) == "".join(answers)


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_prompt_of_a_question_is_the_beginning_of_the_prompt_with_its_answer(llama: Path, name: str) -> None:
    _, processor = tiny.small(llama, template="plain")
    processor.chat_template = TEMPLATES[name]
    for end in (1, 3):
        asked = processor.apply_chat_template(CHAT[:end], add_generation_prompt=True)
        assert processor.apply_chat_template(CHAT[: end + 1]).startswith(asked)


def test_servers_are_told_tokens_and_tiles(llama: Path) -> None:
    _, processor = tiny.small(llama, **tiny.ANYRES)
    data = processor._get_num_multimodal_tokens(image_sizes=[(100, 200), (64, 64)])
    assert data.num_image_tokens == [processor.num_image_tokens(100, 200), processor.num_image_tokens(64, 64)]
    assert data.num_image_patches == [3, 3]
    assert processor._get_num_multimodal_tokens().num_image_tokens is None
