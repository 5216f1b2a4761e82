"""A model is put together of any language model, and of parts that fit; what does not fit is said at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from opticnerve.errors import EncoderError, SpecError, UnknownNameError
from opticnerve.vlm import IMAGE_TOKEN, TEMPLATES, assemble
from vlm import tiny

Llm = Callable[[str], Path]


@pytest.mark.parametrize("family", tiny.LLMS)
def test_without_an_image_it_is_the_language_model_itself(llm: Llm, family: str) -> None:
    model, processor = tiny.small(llm(family))
    own: Any = hf.AutoModelForCausalLM.from_pretrained(llm(family)).eval()
    inputs = processor(text=["some words", "more words"], return_tensors="pt")
    given, wanted = model(**inputs).logits, own(**inputs).logits
    torch.testing.assert_close(given[..., : wanted.shape[-1]], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", tiny.LLMS)
def test_visual_tokens_reach_any_language_model_as_wide_as_its_embeddings(llm: Llm, family: str) -> None:
    model, processor = tiny.small(llm(family))
    inputs = tiny.batch(processor, ["see <image> it"], tiny.images((64, 64)))
    logits = model(**inputs).logits
    embeds = model.get_input_embeddings()(inputs["input_ids"].masked_fill(inputs["input_ids"] == 257, 0))
    tokens = model.visual_tokens(
        model.image_features(inputs["pixel_values"], inputs["image_sizes"]), inputs["image_sizes"]
    )
    embeds[inputs["input_ids"] == model.config.image_token_id] = torch.cat(tokens)
    by_hand = model.parts["llm"](inputs_embeds=embeds, attention_mask=inputs["attention_mask"]).logits
    torch.testing.assert_close(logits, by_hand, rtol=0, atol=1e-5)
    other = tiny.batch(processor, ["see <image> it"], tiny.images((64, 64), seed=1))
    assert not torch.allclose(model(**other).logits, logits, atol=1e-3)


def test_every_parameter_is_in_one_part_and_in_one_only(llama: Path) -> None:
    model, _ = tiny.small(llama, **tiny.ANYRES)
    inside = [parameter for part in model.parts.values() for parameter in part.parameters()]
    assert set(model.parts) == {"encoder", "connector", "llm"}
    assert len(inside) == len(set(inside))
    assert set(inside) == set(model.parameters())
    assert "newline" in dict(model.parts["connector"].named_parameters())


def test_parts_have_the_names_of_llava(llama: Path) -> None:
    model, _ = tiny.small(llama)
    assert model.model.vision_tower is model.parts["encoder"]
    assert model.model.multi_modal_projector is model.parts["connector"]
    assert model.model.language_model is model.parts["llm"]
    assert model.lm_head is model.get_output_embeddings()
    assert model.get_decoder() is model.parts["llm"]


def test_the_connector_depends_on_the_seed_and_on_nothing_else(llama: Path) -> None:
    before = torch.get_rng_state()
    first, second = tiny.small(llama)[0], tiny.small(llama)[0]
    other = tiny.small(llama, seed=1)[0]
    assert torch.equal(torch.get_rng_state(), before)
    states = [model.parts["connector"].state_dict() for model in (first, second, other)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])


def test_encoder_and_llm_keep_their_weights(llama: Path) -> None:
    model, _ = tiny.small(llama)
    own = hf.AutoModelForCausalLM.from_pretrained(llama).state_dict()
    kept = model.parts["llm"].state_dict()
    assert all(torch.equal(kept[key][: len(own[key])], own[key]) for key in own)


def test_embeddings_grow_by_the_placeholder_only_if_it_has_no_row(llama: Path, tmp_path: Path) -> None:
    model, processor = tiny.small(llama)
    assert processor.image_token_id == model.config.image_token_id == tiny.NUM_BYTES + 1
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        assert module.weight.shape[0] == tiny.NUM_BYTES + 2
        torch.testing.assert_close(module.weight[-1], module.weight[:-1].mean(0))
    roomy: Any = hf.LlamaForCausalLM(hf.LlamaConfig(**{**tiny.HEADS, "vocab_size": 300}))
    roomy.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    assert tiny.small(tmp_path)[0].get_input_embeddings().num_embeddings == 300


def test_a_tokenizer_that_has_the_placeholder_keeps_it(tmp_path: Path) -> None:
    tiny.save_llm(tmp_path)
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": ["<seg>", IMAGE_TOKEN]})
    tokenizer.save_pretrained(tmp_path)
    _, processor = tiny.small(tmp_path)
    assert processor.image_token_id == tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    assert "<seg>" in processor.tokenizer.all_special_tokens
    assert len(processor.tokenizer) == len(tokenizer)


def test_a_template_of_ours_ends_answers_where_generation_stops(tmp_path: Path) -> None:
    tiny.save_llm(tmp_path)
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.save_pretrained(tmp_path)
    model, processor = tiny.small(tmp_path, template="chatml")
    assert processor.chat_template == TEMPLATES["chatml"]
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert model.generation_config.eos_token_id == ends


def test_a_tokenizer_s_own_template_is_taken(tmp_path: Path) -> None:
    tiny.save_llm(tmp_path)
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path)
    _, processor = tiny.small(tmp_path, template="llm")
    assert processor.apply_chat_template([{"role": "user", "content": "hi"}]) == "[user]hi"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"template": "llm"},
            SpecError,
            'the tokenizer of ".*" has no chat template of its own: choose template "chatml"',
        ),
        ({"template": "vicuna"}, UnknownNameError, 'unknown chat template "vicuna". Did you mean vicuna_v1'),
        (
            {"template": "chatml"},
            SpecError,
            r'chat template "chatml" needs the tokens <\|im_start\|>, <\|im_end\|>, which',
        ),
        ({"method": "mpl"}, UnknownNameError, 'unknown method "mpl"'),
        ({"tiling": "plane"}, UnknownNameError, 'unknown tiling "plane"'),
        ({"encoder": "./nowhere"}, EncoderError, 'there is no folder "./nowhere"'),
        ({"method": "token_packer", "layers": (-1,)}, SpecError, "the connector reads 4 layers of the encoder"),
        (
            {"method": "qformer", "method_options": {"reads_text": True}},
            SpecError,
            '"qformer" reads the instruction, .*: set reads_text=False',
        ),
        ({"method": "pixel_shuffle", "method_options": {"factor": 3}}, ValueError, "cannot merge a 4 x 4 grid by 3"),
    ],
)
def test_parts_that_do_not_fit_are_refused(llama: Path, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        tiny.small(llama, **options)


def test_an_llm_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot read a causal language model and its tokenizer from .* Pass a folder"):
        assemble(llm=tmp_path, template="plain")


def test_an_llm_that_reads_more_than_embeddings_is_refused(tmp_path: Path) -> None:
    config: Any = hf.AutoConfig.for_model("gemma4_text", **tiny.HEADS)
    hf.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(
        SpecError, match=r"the language model .* \(Gemma4ForCausalLM\) cannot read visual tokens: It seem"
    ):
        tiny.small(tmp_path)
