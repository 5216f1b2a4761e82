"""The forward pass: transformers' own LLaVA with the same weights, gradients, losses, and every door for images."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch.nn import functional

from encoders import tiny as towers
from opticnerve.errors import ImageError, ShapeError
from vlm import tiny

FEW = [(64, 64), (100, 40), (30, 150)]


def parity_pair(folder: Path) -> tuple[Any, Any, Any]:
    """Our model of a CLIP tower, an MLP and a Llama; transformers' LLaVA with the same weights; our processor."""
    clip = towers.randomise(towers.TOWERS["clip"]())
    tiny.save_llm(folder / "llm")
    model, processor = tiny.small(
        folder / "llm",
        encoder=str(towers.save(clip, folder / "clip")),
        layers=(-2,),
        tiling="plain",
        tiling_options={},
        method="mlp",
    )
    config = hf.LlavaConfig(
        vision_config=clip.config,
        text_config=model.config.text_config,
        image_token_index=model.config.image_token_id,
        projector_hidden_act="gelu",
    )
    theirs: Any = hf.LlavaForConditionalGeneration(config).eval()
    theirs.model.vision_tower.load_state_dict(clip.state_dict())
    llm = model.parts["llm"].state_dict()
    theirs.model.language_model.load_state_dict(
        {key.removeprefix("model."): value for key, value in llm.items() if key.startswith("model.")}
    )
    theirs.lm_head.weight.data.copy_(llm["lm_head.weight"])
    linears: Any = [module for module in model.parts["connector"].modules() if isinstance(module, torch.nn.Linear)]
    theirs.model.multi_modal_projector.linear_1.load_state_dict(linears[0].state_dict())
    theirs.model.multi_modal_projector.linear_2.load_state_dict(linears[1].state_dict())
    return model, theirs, processor


def test_logits_are_those_of_llava_with_the_same_weights(tmp_path: Path) -> None:
    model, theirs, processor = parity_pair(tmp_path)
    inputs = tiny.batch(processor, ["what is <image> this", "and <image>"], tiny.images((28, 28), (28, 28)))
    pixels = model.parts["encoder"].normalise(inputs["pixel_values"][0])
    own = {key: inputs[key] for key in ("input_ids", "attention_mask")}
    wanted = theirs(**own, pixel_values=pixels).logits
    given = model(**inputs).logits
    torch.testing.assert_close(
        given[inputs["attention_mask"] > 0], wanted[inputs["attention_mask"] > 0], rtol=1e-5, atol=1e-5
    )


SIGHTS: dict[str, dict[str, Any]] = {
    "plain": tiny.PLAIN,
    "anyres": tiny.ANYRES,
    "s2": {**tiny.PLAIN, "scales": (1, 2), "tiling_options": {"height_px": 128, "width_px": 128}, "encoder": "bundled"},
    "dynamic_s2": {"tiling": "dynamic_s2", "tiling_options": {"tile_px": 64, "scales_px": [64, 128], "max_tiles": 6}},
    "minicpm": {"tiling": "minicpm", "tiling_options": {"scale_px": 64, "multiple_px": 16}, "method": "mlp"},
    "qwen": {"tiling": "qwen", "tiling_options": {"min_pixels": 1024, "max_pixels": 16384}},
    "levels": {**tiny.PLAIN, "layers": (1, 2, 3, 4), "method": "token_packer", "method_options": {"num_heads": 4}},
    "queries": {
        **tiny.PLAIN,
        "method": "qformer",
        "method_options": {"num_queries": 5, "num_layers": 2, "hidden_dim": 24, "num_heads": 2, "feed_forward_dim": 32},
    },
}
"""Ways to see; in each the images have tokens of several tiles, scales or levels, or learned queries."""


def sighted(llama: Path, name: str) -> tuple[Any, Any]:
    return tiny.small(llama, **SIGHTS[name])


@pytest.mark.parametrize("name", SIGHTS)
def test_every_parameter_of_every_part_learns(llama: Path, name: str) -> None:
    model, processor = sighted(llama, name)
    inputs = tiny.batch(processor, ["a <image>", "b <image><image>"], tiny.images(*FEW))
    model.train()
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    without = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.abs().sum()]
    assert without == []


@pytest.mark.parametrize("name", SIGHTS)
def test_features_and_visual_tokens_of_before_give_the_same_logits(llama: Path, name: str) -> None:
    model, processor = sighted(llama, name)
    inputs = tiny.batch(processor, ["a <image>", "b <image><image>"], tiny.images(*FEW))
    wanted = model(**inputs).logits
    pixels, sizes = inputs.pop("pixel_values"), inputs.pop("image_sizes")
    features = model.image_features(pixels, sizes)
    assert torch.equal(model(**inputs, image_features=features, image_sizes=sizes).logits, wanted)
    tokens = model.visual_tokens(features, sizes)
    assert [len(part) for part in tokens] == [processor.num_image_tokens(*size) for size in FEW]
    assert torch.equal(model(**inputs, mm_encoder_outputs={"image": tokens}).logits, wanted)
    output = model.get_image_features(pixels, sizes)
    assert torch.equal(model(**inputs, mm_encoder_outputs={"image": output}).logits, wanted)
    half = model(**inputs, image_features=features.half(), image_sizes=sizes).logits
    torch.testing.assert_close(half, wanted, rtol=0, atol=0.1)


def test_images_of_a_batch_do_not_mix(llama: Path) -> None:
    model, processor = tiny.small(llama, **tiny.ANYRES)
    pictures = tiny.images(*FEW)
    together = tiny.batch(processor, ["a <image>", "b <image>", "c <image>"], pictures)
    logits = model(**together).logits
    for row, picture in enumerate(pictures):
        alone = tiny.batch(processor, [f"{'abc'[row]} <image>"], [picture])
        own = model(**alone).logits[0]
        torch.testing.assert_close(logits[row, -len(own) :], own, rtol=0, atol=1e-4)


def test_a_plain_tensor_is_accepted_where_there_is_one_size(llama: Path) -> None:
    model, processor = tiny.small(llama)
    inputs = tiny.batch(processor, ["<image>"], tiny.images((64, 64)))
    wanted = model(**inputs).logits
    (pixels,) = inputs["pixel_values"]
    assert torch.equal(model(**{**inputs, "pixel_values": pixels}).logits, wanted)


def test_an_empty_list_of_images_is_a_batch_of_text(llama: Path) -> None:
    model, processor = tiny.small(llama)
    inputs = tiny.batch(processor, ["no image"], [])
    wanted = model(**inputs).logits
    assert torch.equal(model(**inputs, **processor.collate_views([])).logits, wanted)


def test_the_loss_is_the_cross_entropy_of_the_next_answer_token(llama: Path) -> None:
    model, processor = tiny.small(llama)
    inputs = tiny.batch(processor, ["q <image> answer", "longer text, no image"], tiny.images((64, 64)))
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    labels = labels.masked_fill(labels == processor.image_token_id, -100)
    out = model(**inputs, labels=labels)
    by_hand = functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    torch.testing.assert_close(out.loss, by_hand)
    total = by_hand * (labels[:, 1:] != -100).sum()
    torch.testing.assert_close(model(**inputs, labels=labels, num_items_in_batch=7).loss, total / 7)


def test_positions_of_packed_samples_reach_the_llm(llama: Path) -> None:
    model, processor = tiny.small(llama)
    first, second = (
        tiny.batch(processor, [text], tiny.images((64, 64), seed=seed))
        for seed, text in enumerate(["a <image> b", "longer <image>"])
    )
    parts = [first["input_ids"], second["input_ids"]]
    packed = {
        "input_ids": torch.cat(parts, dim=1),
        "position_ids": torch.cat([torch.arange(part.shape[1]) for part in parts])[None],
        "pixel_values": [torch.cat([first["pixel_values"][0], second["pixel_values"][0]])],
        "image_sizes": torch.cat([first["image_sizes"], second["image_sizes"]]),
    }
    alone = torch.cat([model(**first).logits, model(**second).logits], dim=1)
    torch.testing.assert_close(model(**packed, use_cache=False).logits, alone, rtol=0, atol=1e-4)


def test_checkpointed_activations_give_the_same_gradients(llama: Path) -> None:
    model, processor = tiny.small(llama)
    inputs = tiny.batch(processor, ["a <image>"], tiny.images((64, 64)))

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        model.train()
        model(**inputs, labels=inputs["input_ids"], use_cache=False).loss.backward()
        return {key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None}

    wanted = gradients()
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    assert model.is_activation_checkpointing
    given = gradients()
    assert given.keys() == wanted.keys()
    assert all(torch.allclose(given[key], wanted[key], atol=1e-6) for key in wanted)


@pytest.mark.parametrize("name", ["anyres", "queries"])
def test_it_trains_in_mixed_precision(llama: Path, name: str) -> None:
    model, processor = sighted(llama, name)
    inputs = tiny.batch(processor, ["a <image>", "b"], tiny.images((64, 100)))
    wanted = model(**inputs, labels=inputs["input_ids"]).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**inputs, labels=inputs["input_ids"]).loss
    loss.backward()
    torch.testing.assert_close(loss, wanted, rtol=0.02, atol=0.02)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_attention_that_can_be_read_gives_the_same(llama: Path, tmp_path: Path) -> None:
    model, processor = tiny.small(llama)
    model.save_pretrained(tmp_path)
    eager = type(model).from_pretrained(tmp_path, attn_implementation="eager")
    inputs = tiny.batch(processor, ["a <image>", "b"], tiny.images((64, 64)))
    out = eager(**inputs, output_attentions=True)
    assert len(out.attentions) == 2
    shown = inputs["attention_mask"] > 0
    torch.testing.assert_close(out.logits[shown], model(**inputs).logits[shown], rtol=0, atol=1e-4)


def test_the_headless_model_gives_hidden_states(llama: Path) -> None:
    model, processor = tiny.small(llama)
    inputs = tiny.batch(processor, ["a <image>"], tiny.images((64, 64)))
    hidden = model.model(**inputs).last_hidden_state
    torch.testing.assert_close(model.lm_head(hidden), model(**inputs).logits, rtol=0, atol=1e-5)


def test_what_does_not_belong_together_never_reaches_the_llm(llama: Path) -> None:
    model, processor = tiny.small(llama)
    inputs = tiny.batch(processor, ["a <image>", "b <image>"], tiny.images((64, 64), (64, 64)))
    pixels, sizes, ids = inputs["pixel_values"], inputs["image_sizes"], inputs["input_ids"]
    broken: list[tuple[dict[str, Any], str]] = [
        (
            {"input_ids": ids[:, :-1]},
            r"the prompts have 6 image placeholders \(3, 3 by prompt\), but the 2 images have 8",
        ),
        (
            {"pixel_values": None, "image_sizes": None},
            r"have 8 image placeholders .* but the 0 images have 0 visual tokens",
        ),
        ({"input_ids": torch.full_like(ids, 65)}, r"the prompts have 0 image placeholders \(0, 0 by prompt\), but"),
        ({"image_sizes": None}, "pixel_values needs image_sizes, the height and width of each image: pass them too"),
        (
            {"image_sizes": sizes[:1]},
            r"1 images .* become tiles of shape \[\(1, 3, 64, 64\)\], got \[\(2, 3, 64, 64\)\]",
        ),
        (
            {"pixel_values": [tiles.float() for tiles in pixels]},
            "pixel_values are bytes from 0 to 255 .*, got torch.float32",
        ),
        ({"image_features": torch.zeros(1, 192)}, "given in two ways, as pixel_values and image_features: pass one"),
        ({"mm_encoder_outputs": {"image": []}}, "given in two ways, as pixel_values and mm_encoder_outputs: pass one"),
        (
            {"pixel_values": None, "image_features": torch.zeros(3, 192)},
            r"features of shape \(3, 192\) do not lie on 2 gr",
        ),
        ({"inputs_embeds": torch.zeros(*ids.shape, 32)}, "pass input_ids, or inputs_embeds without images"),
        ({"input_ids": None}, "pass input_ids, or inputs_embeds without images"),
    ]
    for change, message in broken:
        given = {**inputs, **change}
        given["attention_mask"] = None
        with pytest.raises(ShapeError, match=message):
            model(**given)


def test_an_image_must_not_be_torn_between_two_prompts(llama: Path) -> None:
    model, processor = tiny.small(llama, tiling="plain", tiling_options={"height_px": 64, "width_px": 64})
    inputs = tiny.batch(processor, ["<image>", "<image>"], tiny.images((64, 64), (64, 64)))
    count = processor.num_image_tokens(64, 64)
    ids = torch.full((2, count + 1), 65)
    ids[0, : count - 1] = ids[1, : count + 1] = processor.image_token_id
    with pytest.raises(ShapeError, match="an image would be torn between two prompts. Pass the images in the order"):
        model(**{**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)})


def test_an_image_that_the_tiling_refuses_is_an_error(llama: Path) -> None:
    model, processor = tiny.small(llama, tiling="qwen", tiling_options={"min_pixels": 1024, "max_pixels": 4096})
    with pytest.raises(ImageError, match="200"):
        tiny.batch(processor, ["<image>"], tiny.images((2, 600)))
    with pytest.raises(ImageError):
        processor.num_image_tokens(0, 10)
    del model
