"""What a reader of checkpoints says when something is wrong with them, and what it reads when nothing is."""

import json
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, NotASafetensorsRepoError
from safetensors.torch import load_file, save_file
from torch import Tensor

from checkpoints.releases import llava_config, sparse
from opticnerve.checkpoints import inspect_checkpoint, load_connector
from opticnerve.errors import CheckpointError, UnknownNameError

AT = "model.mm_projector."
CONFIG = llava_config("mlp2x_gelu")
LLM = {"model.layers.0.mlp.up_proj.weight": torch.zeros(4, 4), "lm_head.weight": torch.zeros(4, 4)}


def projector(*, depth: int = 2, at: str = AT) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for number in range(0, 2 * depth, 2):
        tensors[f"{at}{number}.weight"] = torch.randn(6, 6 if number else 4)
        tensors[f"{at}{number}.bias"] = torch.randn(6)
    return tensors


def saved(folder: Path, tensors: Mapping[str, Tensor], config: object = None) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(dict(tensors), folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


def refused(source: Path, match: str, **options: Any) -> None:
    for read in (inspect_checkpoint, load_connector):
        with pytest.raises(CheckpointError, match=match):
            read(source, **options)


def test_a_pickle_is_refused_and_the_line_that_converts_it_works(tmp_path: Path) -> None:
    tensors = {**projector(), "steps": 3}
    torch.save({"model": tensors, "epoch": 1}, tmp_path / "mm_projector.bin")
    refused(tmp_path / "mm_projector.bin", "mm_projector.bin is a pickle, which can run code when it is read")
    with pytest.raises(CheckpointError, match="convert it once with  python -c ") as caught:
        load_connector(tmp_path)
    line = str(caught.value).split("convert it once with  ")[1].removeprefix("python")
    subprocess.run(f"'{sys.executable}'{line}", shell=True, check=True, cwd=tmp_path)
    assert load_file(tmp_path / "mm_projector.safetensors").keys() == projector().keys()
    assert inspect_checkpoint(tmp_path).layout.name == "llava_mlp"


def test_a_plain_state_dict_is_converted_too(tmp_path: Path) -> None:
    torch.save(projector(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="convert it once with  python -c ") as caught:
        load_connector(tmp_path)
    line = str(caught.value).split("convert it once with  ")[1].removeprefix("python")
    subprocess.run(f"'{sys.executable}'{line}", shell=True, check=True, cwd=tmp_path)
    assert load_file(tmp_path / "pytorch_model.safetensors").keys() == projector().keys()


@pytest.mark.parametrize("which", [["0.weight"], ["2.bias"], ["0.weight", "0.bias", "2.weight", "2.bias"]])
def test_weights_that_zero_3_emptied_are_named(which: list[str], tmp_path: Path) -> None:
    tensors = {**projector(), **{AT + name: torch.zeros(0) for name in which}}
    refused(saved(tmp_path, tensors, CONFIG), rf"{which[0]} is empty, of shape \(0,\): .*ZeRO-3.*zero_to_fp32\.py")


def test_another_width_is_named_with_both_shapes(tmp_path: Path) -> None:
    tensors = {**projector(), f"{AT}2.weight": torch.zeros(6, 5)}
    match = r"looks like llava_mlp, but does not fit: 2\.weight has shape \(6, 5\), but .* is \(6, 6\)"
    refused(saved(tmp_path, tensors, CONFIG), match)


def test_a_transposed_matrix_is_told_from_another_width(tmp_path: Path) -> None:
    tensors = {**projector(), f"{AT}0.weight": torch.zeros(4, 6)}
    match = r"0\.weight has shape \(4, 6\), but .* is \(6, 4\): the same sides in another order"
    refused(saved(tmp_path, tensors, CONFIG), match)


@pytest.mark.parametrize("config", [None, {"model_type": "llama"}])
def test_a_language_model_alone_holds_no_connector(config: object, tmp_path: Path) -> None:
    refused(saved(tmp_path, LLM, config), r"holds no connector that is known: none of \d+ layouts has its tensors")


def test_a_model_type_that_is_known_says_what_is_missing(tmp_path: Path) -> None:
    folder = saved(tmp_path, LLM, {"model_type": "internvl_chat"})
    refused(folder, r"no connector of the layout internvl_chat: there is no mlp1\.0\.weight .* among its 2 tensors")
    refused(folder, r"no connector of the layout minigpt_v2: .*Is it the language model alone", layout="minigpt_v2")


def test_a_model_type_without_a_connector_says_why(tmp_path: Path) -> None:
    refused(saved(tmp_path, LLM, {"model_type": "udop"}), "which is not supported: its decoder attends")


def test_an_unknown_layout_lists_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match='unknown layout "llava_mpl". Did you mean llava_mlp'):
        inspect_checkpoint(saved(tmp_path, projector()), layout="llava_mpl")


@pytest.mark.parametrize(("said", "there"), [(2, 3), (3, 2), (1, 2)])
def test_a_projector_of_another_depth_is_not_read(said: int, there: int, tmp_path: Path) -> None:
    folder = saved(tmp_path, projector(depth=there), llava_config(f"mlp{said}x_gelu"))
    refused(folder, "published tensors do not match this connector: missing .*; left over ")


def test_integer_positions_are_read_over(tmp_path: Path) -> None:
    from checkpoints.test_originals import lavis

    tensors = lavis("opt_proj", has_words=False)
    assert tensors["Qformer.bert.embeddings.position_ids"].dtype == torch.int64
    found = inspect_checkpoint(saved(tmp_path, tensors))
    assert not any("position_ids" in one.name for one in found.tensors)
    assert load_connector(tmp_path).spec == found.spec


def test_several_connectors_are_listed_and_one_can_be_named(tmp_path: Path) -> None:
    folder = saved(tmp_path, {**projector(), **projector(at="other.mm_projector.")}, CONFIG)
    refused(folder, 'may hold several connectors: llava_mlp at "model.mm_projector.", llava_mlp at "other.mm_')
    assert inspect_checkpoint(folder, prefix="other.mm_projector.").prefix == "other.mm_projector."
    refused(folder, 'nothing at the prefix "x."; it has llava_mlp at "model.mm_projector."', prefix="x.")


def test_several_layouts_are_listed_and_one_can_be_named(tmp_path: Path) -> None:
    pool = {"model.vision_resampler.pool.weight": torch.zeros(4, 4, 2, 2)}
    pool["model.vision_resampler.pool.bias"] = torch.zeros(4)
    folder = saved(tmp_path, {**projector(), **pool}, llava_config("mlp2x_gelu", model_type="llava_qwen"))
    refused(folder, 'several connectors: llava_mlp at "model.mm_projector.", llava_spatial_pool at "model.vision_res')
    assert inspect_checkpoint(folder, layout="llava_spatial_pool").layout.name == "llava_spatial_pool"


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_quantised_tensors_are_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in projector().items()}
    refused(saved(tmp_path, tensors, CONFIG), r"0\.weight is stored as \w+: .*take a checkpoint that is not quantised")


def test_packed_four_bit_weights_are_refused(tmp_path: Path) -> None:
    tensors = {**projector(), f"{AT}0.weight": torch.zeros(12, 1, dtype=torch.uint8)}
    tensors[f"{AT}0.weight.absmax"] = torch.zeros(1)
    refused(saved(tmp_path, tensors, CONFIG), r"0\.weight is stored as U8: ")


def test_a_tensor_of_another_rank_is_refused_in_words(tmp_path: Path) -> None:
    tensors = {**projector(), f"{AT}0.bias": torch.zeros(2, 3)}
    refused(
        saved(tmp_path, tensors, CONFIG), "looks like llava_mlp, but does not fit: a setting or a shape is not what"
    )


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ("{", r"cannot read .*config\.json: Expecting property name"),
        ("[1]", r"config\.json must hold a JSON object, got a list"),
        (
            {"model_type": "clip", "vision_config": {"hidden_size": 10, "num_attention_heads": 3}},
            "is no config of model",
        ),
    ],
)
def test_a_config_that_is_none_is_refused(config: object, match: str, tmp_path: Path) -> None:
    refused(saved(tmp_path, projector(), config), match)


@pytest.mark.parametrize(("keep", "start"), [(-10, b""), (40, b""), (None, b"version https://git-lfs"), (3, b"")])
def test_a_damaged_file_is_named(keep: int | None, start: bytes, tmp_path: Path) -> None:
    file = saved(tmp_path, projector(), CONFIG) / "model.safetensors"
    file.write_bytes(start + file.read_bytes()[:keep])
    refused(tmp_path, r"model\.safetensors is damaged or no safetensors file \(.*\): fetch it again")


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path / "notes.txt", r"notes\.txt is no checkpoint: pass a \.safetensors file")
    refused(tmp_path, "holds no safetensors files: pass the folder of a checkpoint")
    refused(tmp_path / "nowhere", "there is no file or folder .*: pass a folder with safetensors files")


def sharded(folder: Path, shards: Mapping[str, Mapping[str, Tensor]]) -> Path:
    for file, tensors in shards.items():
        save_file(dict(tensors), folder / file)
    places = {name: file for file, tensors in shards.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def test_a_shard_that_is_missing_is_named_if_it_is_needed(tmp_path: Path) -> None:
    first = {name: tensor for name, tensor in projector().items() if ".0." in name}
    rest = {name: tensor for name, tensor in projector().items() if ".2." in name}
    folder = sharded(tmp_path, {"a.safetensors": first, "b.safetensors": rest, "c.safetensors": LLM})
    (folder / "c.safetensors").unlink()
    assert load_connector(folder).llm_dim == 6
    (folder / "b.safetensors").unlink()
    refused(folder, r"lacks shards \(b\.safetensors, c\.safetensors\): fetch them; what is there looks like llava_mlp")
    (folder / "a.safetensors").unlink()
    refused(folder, r"none of the 3 shards that .*index\.json names is there, first a\.safetensors")


def test_a_shard_that_is_missing_is_named_where_nothing_else_is_found(tmp_path: Path) -> None:
    folder = sharded(tmp_path, {"a.safetensors": projector(), "b.safetensors": LLM})
    (folder / "a.safetensors").unlink()
    refused(folder, r"lacks shards \(a\.safetensors\): fetch them; there is no connector in the others")


@pytest.mark.parametrize("text", ["{}", "[]", '{"weight_map": 3}', "no json"])
def test_an_index_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    refused(tmp_path, r"index\.json is no index of shards")
    refused(tmp_path / "model.safetensors.index.json", r"index\.json is no index of shards")


def test_the_projector_of_vila_is_found_in_its_folder(tmp_path: Path) -> None:
    layers = {f"layers.{name}": torch.zeros(shape) for name, shape in (("weight", (6, 4)), ("bias", (6,)))}
    saved(tmp_path / "mm_projector", layers, {"model_type": "v2l_projector", "mm_projector_type": "linear"})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava_llama", "image_aspect_ratio": "resize"}))
    assert inspect_checkpoint(tmp_path).layout.name == "vila_linear"
    assert load_connector(tmp_path).vision_dim == 4


class Hub:
    """The hub without a network: headers of a folder of shards, and its files one by one."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.fetched: list[str] = []
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.download)
        monkeypatch.setattr(huggingface_hub, "get_safetensors_metadata", self.headers)
        monkeypatch.setattr(huggingface_hub, "parse_safetensors_file_metadata", self.header)

    def download(self, name: str, file: str, *, revision: str | None = None) -> str:
        assert (name, revision) == ("someone/model", "v1")
        if not (self.folder / file).is_file():
            raise EntryNotFoundError("no such file")
        self.fetched.append(file)
        return str(self.folder / file)

    def headers(self, name: str, *, revision: str | None = None) -> Any:
        files = [path.name for path in self.folder.glob("*.safetensors")]
        if not files:
            raise NotASafetensorsRepoError("no safetensors")
        return SimpleNamespace(files_metadata={file: self.header(name, file, revision=revision) for file in files})

    def header(self, name: str, file: str, *, revision: str | None = None) -> Any:
        assert (name, revision) == ("someone/model", "v1")
        if not (self.folder / file).is_file():
            raise EntryNotFoundError("no such file")
        raw = (self.folder / file).read_bytes()
        held = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
        held.pop("__metadata__", None)
        facts = {key: SimpleNamespace(shape=value["shape"], dtype=value["dtype"]) for key, value in held.items()}
        return SimpleNamespace(tensors=facts)


def test_a_name_on_the_hub_fetches_headers_and_the_one_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = {"a.safetensors": projector(), "b.safetensors": LLM, "c.safetensors": {"model.norm.weight": torch.ones(3)}}
    hub = Hub(sharded(tmp_path, shards), monkeypatch)
    found = inspect_checkpoint("someone/model", revision="v1")
    assert (found.layout.name, found.source) == ("llava_mlp", "someone/model")
    assert hub.fetched == ["config.json"]
    connector = load_connector("someone/model", revision="v1")
    assert connector.llm_dim == 6
    assert hub.fetched == ["config.json", "config.json", "a.safetensors"]


def test_a_release_on_the_hub_needs_no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(saved(tmp_path, projector()), monkeypatch)
    assert inspect_checkpoint("someone/model", revision="v1").layout.name == "llava_mlp"


def test_vila_on_the_hub_is_found_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = {f"layers.{name}": torch.zeros(shape) for name, shape in (("weight", (6, 4)), ("bias", (6,)))}
    saved(tmp_path / "mm_projector", layers)
    hub = Hub(tmp_path, monkeypatch)
    assert load_connector("someone/model", revision="v1").vision_dim == 4
    assert hub.fetched == ["mm_projector/model.safetensors"]


def test_pickles_on_the_hub_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(tmp_path, monkeypatch)
    with pytest.raises(
        CheckpointError, match='"someone/model" has no safetensors files: take a revision that has them'
    ):
        inspect_checkpoint("someone/model", revision="v1")


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("offline"), ConnectionError("offline"), OSError("offline")])
def test_a_hub_out_of_reach_is_said(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    match = r'cannot fetch "someone/model" from the Hugging Face hub \(offline\): check the name and the connection'
    with pytest.raises(CheckpointError, match=match):
        inspect_checkpoint("someone/model")


def test_an_error_of_the_http_client_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    client = next(base for base in HfHubHTTPError.__bases__ if not issubclass(base, OSError))

    def fail(*_: object, **__: object) -> None:
        raise client("no route")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(CheckpointError, match=r"cannot fetch .* \(no route\)"):
        inspect_checkpoint("someone/model")


def seventy_billion() -> list[dict[str, tuple[int, ...]]]:
    """Name the tensors of a language model of 80 layers in shards, and of a projector in the middle one."""
    width, inner, shared = 8192, 28672, 1024
    sides = {"q_proj": (width, width), "k_proj": (shared, width), "v_proj": (shared, width), "o_proj": (width, width)}
    shards: list[dict[str, tuple[int, ...]]] = [{"model.embed_tokens.weight": (128256, width)}]
    for layer in range(80):
        if layer % 3 == 0:
            shards.append({})
        at = f"model.layers.{layer}"
        shards[-1] |= {f"{at}.self_attn.{name}.weight": shape for name, shape in sides.items()}
        shards[-1] |= {f"{at}.mlp.{name}.weight": (inner, width) for name in ("gate_proj", "up_proj")}
        shards[-1] |= {f"{at}.mlp.down_proj.weight": (width, inner), f"{at}.input_layernorm.weight": (width,)}
    shards[len(shards) // 2] |= {f"{AT}weight": (width, 1024), f"{AT}bias": (width,)}
    return [*shards, {"lm_head.weight": (128256, width), "model.norm.weight": (width,)}]


MEASURE = """
import resource, sys, time
from opticnerve.checkpoints import inspect_checkpoint, load_connector
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
found = inspect_checkpoint(sys.argv[1])
connector = load_connector(sys.argv[1])
seconds = time.perf_counter() - start
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(found.layout.name, found.prefix, connector.vision_dim, connector.llm_dim, round(seconds, 1), grown // 1024)
"""


def test_the_connector_of_a_large_model_is_read_in_seconds_and_little_memory(tmp_path: Path) -> None:
    places: dict[str, str] = {}
    total = 0
    for number, shapes in enumerate(seventy_billion()):
        file = f"model-{number:05d}.safetensors"
        total += sparse(tmp_path / file, shapes)
        places |= dict.fromkeys(shapes, file)
    assert total > 130e9
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (tmp_path / "config.json").write_text(json.dumps(llava_config("linear")))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    *found, seconds, grown_mib = done.stdout.split()
    assert found == ["llava_linear", AT, "1024", "8192"]
    assert float(seconds) < 30
    assert int(grown_mib) < 400
