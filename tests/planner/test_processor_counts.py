"""Visual tokens and separators of catalogue rows against the processors of transformers, on many sizes."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import transformers as hf
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.pixtral.image_processing_pil_pixtral import get_resize_output_image_size as resized
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from opticnerve.planner import catalogue
from opticnerve.planner.vlm import find_model
from opticnerve.tiling import Idefics3Tiling

Size = tuple[int, int]
Count = Callable[[Sequence[Size]], Sequence[int]]
"""From heights and widths to the tokens that a processor makes."""


def sizes(count: int = 200) -> list[Size]:
    """Return sizes of photographs, pages, banners and icons; Qwen refuses what is longer than 200 times its width."""
    numbers = random.Random(0)
    found: list[Size] = []
    while len(found) < count:
        longest = numbers.choice((80, 800, 4000))
        height, width = numbers.randint(20, longest), numbers.randint(20, longest)
        found += [(height, width)] if max(height, width) < 150 * min(height, width) else []
    return found


class OneToken:
    """A tokenizer to which every text is one token, as a double line break is to those of Idefics3 and SmolVLM."""

    def __call__(self, text: str, **_: object) -> Mapping[str, list[int]]:
        return {"input_ids": [len(text)]}


def of(processor_class: type, **parts: Any) -> Count:
    """Make a processor of its parts, without a tokenizer that would have to be downloaded."""

    def count(images: Sequence[Size]) -> Sequence[int]:
        processor: Any = object.__new__(processor_class)
        for name, value in {"tokenizer": OneToken(), **parts}.items():
            setattr(processor, name, value)
        processor._merge_kwargs = lambda **_: {"images_kwargs": {}}
        return processor._get_num_multimodal_tokens(image_sizes=[list(size) for size in images])["num_image_tokens"]

    return count


def internvl() -> Count:
    tiles = GotOcr2ImageProcessorPil(
        crop_to_patches=True, min_patches=1, max_patches=12, size={"height": 448, "width": 448}
    )
    return of(hf.InternVLProcessor, image_processor=tiles, image_seq_length=256)


def qwen(processor_class: type, *, patch: int, least: int, most: int) -> Count:
    resize = Qwen2VLImageProcessorPil(
        patch_size=patch, merge_size=2, size={"shortest_edge": least, "longest_edge": most}
    )
    return of(processor_class, image_processor=resize)


def llava() -> Count:
    crop = LlavaImageProcessorPil(crop_size={"height": 336, "width": 336})
    more = {"patch_size": 14, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"}
    return of(hf.LlavaProcessor, image_processor=crop, **more)


def pinpoints(name: str) -> list[list[int]]:
    return catalogue.vlms()[name].facts["settings"]["image_grid_pinpoints"]


def llava_next(
    name: str, *, tile: int, num_cls: int, strategy: str, processor_class: type = hf.LlavaNextProcessor
) -> Count:
    tiles = LlavaNextImageProcessorPil(
        size={"shortest_edge": tile}, crop_size={"height": tile, "width": tile}, image_grid_pinpoints=pinpoints(name)
    )
    more = {"patch_size": 14, "num_additional_image_tokens": num_cls, "vision_feature_select_strategy": strategy}
    return of(processor_class, image_processor=tiles, **more)


def llava_onevision(name: str) -> Count:
    tiles = LlavaOnevisionImageProcessorPil(size={"height": 384, "width": 384}, image_grid_pinpoints=pinpoints(name))
    more: dict[str, Any] = {"num_image_tokens": 729, "vision_feature_select_strategy": "full"}
    return of(hf.LlavaOnevisionProcessor, image_processor=tiles, vision_aspect_ratio="anyres_max_9", **more)


def gemma3() -> Count:
    return of(hf.Gemma3Processor, image_processor=Gemma3ImageProcessorPil(), image_seq_length=256)


def aya_vision() -> Count:
    tiles = GotOcr2ImageProcessorPil(
        crop_to_patches=True, min_patches=1, max_patches=12, size={"height": 364, "width": 364}
    )
    return of(hf.AyaVisionProcessor, image_processor=tiles, img_size=364, patch_size=28)


def idefics3(*, tile: int, longest: int, tokens: int) -> Count:
    tiles = Idefics3ImageProcessorPil(size={"longest_edge": longest}, max_image_size={"longest_edge": tile})
    return of(hf.Idefics3Processor, image_processor=tiles, image_seq_len=tokens)


def smolvlm(*, tile: int, longest: int, tokens: int) -> Count:
    """Count in the text that the processor writes: names in angle brackets, and line breaks, two of which are one."""
    tiles = SmolVLMImageProcessorPil(size={"longest_edge": longest}, max_image_size={"longest_edge": tile})
    words = {"fake_token_around_image": "<fake>", "image_token": "<image>", "global_image_token": "<global-img>"}

    def count(images: Sequence[Size]) -> Sequence[int]:
        cuts = [tiles.get_number_of_image_patches(*size, {})[1:] for size in images]
        texts = [get_image_prompt_string(rows, cols, tokens, **words) for rows, cols in cuts]
        return [len(re.findall(r"<[^>]+>|\n+", text)) for text in texts]

    return count


def pixtral(*, longest: int, patch: int, merge: int) -> Count:
    """Count as PixtralProcessor does, which asks for torchvision: one token more in each row."""
    side = patch * merge

    def count(images: Sequence[Size]) -> Sequence[int]:
        found = [resized(np.zeros((*size, 3)), (longest, longest), (side, side)) for size in images]
        return [height // side * (width // side + 1) for height, width in found]

    return count


class ImageTokens:
    """A tokenizer that knows one word, that of an image."""

    init_kwargs: Mapping[str, object] = {}

    def __call__(self, text: str | Sequence[str], **_: object) -> dict[str, list[Any]]:
        texts = [text] if isinstance(text, str) else text
        found = [re.findall("<image>", one) for one in texts]
        return {key: found[0] if isinstance(text, str) else found for key in ("input_ids", "attention_mask")}


def blip(processor_class: type) -> Count:
    """Count what a processor writes before the text, whatever the image."""

    def count(images: Sequence[Size]) -> Sequence[int]:
        processor: Any = object.__new__(processor_class)
        processor.tokenizer = processor.qformer_tokenizer = ImageTokens()
        processor.image_processor = lambda images, **_: {}
        processor.image_token, processor.num_query_tokens = hf.AddedToken("<image>"), 32
        processor._merge_kwargs = lambda **_: {"text_kwargs": {}, "images_kwargs": {}}
        return [len(processor(images=[size], text="")["input_ids"][0]) for size in images]

    return count


WITH_SEPARATORS: Mapping[str, Count] = {
    "OpenGVLab/InternVL3-8B": internvl(),
    "CohereForAI/aya-vision-8b": aya_vision(),
    "HuggingFaceM4/Idefics3-8B-Llama3": idefics3(tile=364, longest=1456, tokens=169),
    "HuggingFaceTB/SmolVLM-256M-Instruct": idefics3(tile=512, longest=2048, tokens=64),
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": smolvlm(tile=384, longest=1536, tokens=81),
    "mistral-community/pixtral-12b": pixtral(longest=1024, patch=16, merge=1),
    "mistralai/Mistral-Small-3.1-24B-Instruct-2503": pixtral(longest=1540, patch=14, merge=2),
}
"""Models whose processor counts what stands around the visual tokens."""

WITHOUT: Mapping[str, Count] = {
    "Qwen/Qwen2-VL-7B-Instruct": qwen(hf.Qwen2VLProcessor, patch=14, least=3136, most=12845056),
    "Qwen/Qwen2.5-VL-7B-Instruct": qwen(hf.Qwen2_5_VLProcessor, patch=14, least=3136, most=12845056),
    "Qwen/Qwen3-VL-8B-Instruct": qwen(hf.Qwen3VLProcessor, patch=16, least=65536, most=16777216),
    "Qwen/Qwen3-VL-30B-A3B-Instruct": qwen(hf.Qwen3VLProcessor, patch=16, least=65536, most=16777216),
    "llava-hf/llava-1.5-7b-hf": llava(),
    "llava-hf/vip-llava-7b-hf": llava(),
    "llava-hf/llava-v1.6-mistral-7b-hf": llava_next(
        "llava-hf/llava-v1.6-mistral-7b-hf", tile=336, num_cls=1, strategy="default"
    ),
    "llava-hf/LLaVA-NeXT-Video-7B-hf": llava_next(
        "llava-hf/LLaVA-NeXT-Video-7B-hf",
        tile=336,
        num_cls=1,
        strategy="default",
        processor_class=hf.LlavaNextVideoProcessor,
    ),
    "ibm-granite/granite-vision-3.2-2b": llava_next(
        "ibm-granite/granite-vision-3.2-2b", tile=384, num_cls=0, strategy="full"
    ),
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": llava_onevision("llava-hf/llava-onevision-qwen2-7b-ov-hf"),
    "google/paligemma-3b-pt-224": of(hf.PaliGemmaProcessor, image_seq_length=256),
    "google/paligemma2-3b-pt-448": of(hf.PaliGemmaProcessor, image_seq_length=1024),
    "google/gemma-3-4b-it": gemma3(),
    "Salesforce/blip2-opt-2.7b": blip(hf.Blip2Processor),
    "Salesforce/instructblip-vicuna-7b": blip(hf.InstructBlipProcessor),
}
"""Models whose processor counts visual tokens alone."""


@pytest.mark.parametrize("name", WITH_SEPARATORS)
def test_tokens_and_separators_are_those_of_the_processor(name: str) -> None:
    model, images = find_model(name), sizes()
    looks = [model.look(*size) for size in images]
    ours = {size: look.num_tokens + look.num_separators for size, look in zip(images, looks, strict=True)}
    assert ours == dict(zip(images, WITH_SEPARATORS[name](images), strict=True))


@pytest.mark.parametrize("name", WITHOUT)
def test_tokens_are_those_of_the_processor(name: str) -> None:
    model, images = find_model(name), sizes()
    ours = {size: model.look(*size).num_tokens for size in images}
    assert ours == dict(zip(images, WITHOUT[name](images), strict=True))


def test_fifteen_families_are_compared() -> None:
    """Families with a processor of their own: two have that of another one."""
    layouts = {catalogue.vlms()[name].facts["layout"] for name in (*WITH_SEPARATORS, *WITHOUT)}
    assert len(layouts - {"vipllava", "qwen3_vl_moe"}) >= 15


def test_idefics3_cuts_an_image_as_its_processor_does() -> None:
    processor = Idefics3ImageProcessorPil(return_row_col_info=True, do_pad=False, do_normalize=False)
    for height, width in [(20, 2000), (333, 500), (365, 364), (1456, 364), (700, 701), (90, 40), (1093, 1456)]:
        made = processor([np.zeros((height, width, 3), dtype=np.uint8)], return_tensors=None)
        tiles = Idefics3Tiling(tile_px=364, longest_px=1456).plan(height, width).canvases[0]
        assert (tiles.rows, tiles.cols) == (made["rows"][0][0], made["cols"][0][0])
