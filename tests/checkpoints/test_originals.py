"""Releases of original repositories: found on disk, run against the golden outputs, and written back bit for bit."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from checkpoints.releases import (
    CLIP,
    DECOYS,
    MINICPM_2,
    MINICPM_26,
    NANOVLM,
    NVILA,
    PLLAVA,
    QWEN_VL,
    RELEASES,
    Release,
    internvl_config,
    llava_config,
    sparse,
    write,
)
from opticnerve import Connector, ConnectorSpec, Grid
from opticnerve.checkpoints import (
    LAYOUTS,
    Match,
    StoredTensor,
    export_connector,
    find,
    inspect_checkpoint,
    load_connector,
    published_tensors,
)
from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.opening import LocalCheckpoint
from opticnerve.connectors import TextTokens
from opticnerve.errors import CheckpointError
from opticnerve.tiling import tiling_from_dict
from parity.golden import Case, assert_close, tensor_cases
from parity.test_connector_parity import ADAPTERS

CASES = {case.file.removesuffix(".safetensors"): case for case in tensor_cases()}
ORIGINALS = sorted(name for name, layout in LAYOUTS.items() if layout.home == "original")


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.golden)
@torch.no_grad()
def test_a_release_on_disk_gives_the_golden_output(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_disk(case: Case, spec: ConnectorSpec, *, layout: str, vision_dim: int, llm_dim: int) -> Connector:
        del layout
        folder = write(tmp_path / "release", case.weights, prefix=release.prefix, config=release.config)
        loaded = read_and_written_back(release, folder, case.weights, tmp_path)
        if release.unsaid:
            wanted = spec.resolve(vision_dim=vision_dim, llm_dim=llm_dim)
            assert differing(loaded.spec, wanted) == release.unsaid
            loaded = with_weights(wanted, loaded, vision_dim=vision_dim, llm_dim=llm_dim)
        return loaded

    monkeypatch.setattr(Case, "connector", from_disk)
    case = CASES[release.golden]
    got = ADAPTERS[case.method](case)
    assert got.keys() == case.outputs.keys()
    for name, want in case.outputs.items():
        assert_close(got[name], want)


def read_and_written_back(release: Release, folder: Path, weights: Mapping[str, Tensor], tmp_path: Path) -> Connector:
    found = inspect_checkpoint(folder)
    assert (found.layout.name, found.prefix) == (release.layout, release.prefix)
    assert {one.name for one in found.tensors} == {release.prefix + name for name in weights}
    connector = load_connector(folder)
    assert found.num_params == sum(parameter.numel() for parameter in connector.parameters())
    path = export_connector(connector, tmp_path / "out.safetensors", layout=release.layout, prefix=release.prefix)
    written = load_file(path)
    assert written.keys() == {release.prefix + name for name in weights}
    assert all(torch.equal(written[release.prefix + name], tensor) for name, tensor in weights.items())
    return connector


def with_weights(spec: ConnectorSpec, connector: Connector, *, vision_dim: int, llm_dim: int) -> Connector:
    """Give the weights to a connector whose tensors are the same and whose heads are others."""
    twin = spec.build(vision_dim=vision_dim, llm_dim=llm_dim).eval()
    twin.load_state_dict(connector.state_dict())
    return twin


def differing(one: ConnectorSpec, other: ConnectorSpec) -> set[str]:
    """Name the options in which the blocks of two connectors differ."""
    assert [block.kind for block in one.blocks] == [block.kind for block in other.blocks]
    return {
        name
        for mine, theirs in zip(one.blocks, other.blocks, strict=True)
        for name, value in asdict(mine).items()
        if value != asdict(theirs)[name]
    }


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.golden)
def test_the_tensors_alone_tell_the_layouts_apart(release: Release, tmp_path: Path) -> None:
    config = {name: value for name, value in release.config.items() if name != "model_type"}
    folder = write(tmp_path / "release", CASES[release.golden].weights, prefix=release.prefix, config=config)
    assert inspect_checkpoint(folder).layout.name == release.layout


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.golden)
def test_a_file_of_the_connector_alone_needs_no_prefix(release: Release, tmp_path: Path) -> None:
    weights = CASES[release.golden].weights
    folder = write(tmp_path / "part", weights, prefix="", config=release.config, has_decoys=False)
    found = inspect_checkpoint(folder, layout=release.layout)
    assert (found.layout.name, found.prefix) == (release.layout, "")


def test_every_layout_with_a_golden_case_is_tested_from_disk() -> None:
    tested = {release.layout for release in RELEASES}
    assert tested == {name for name in ORIGINALS if "golden" in LAYOUTS[name].tested} - {"blip2_t5"}


def published(layout: str) -> tuple[dict[str, tuple[int, ...]], int]:
    """Names and shapes of a published model's tensors without the prefix, and how many learned numbers there are."""
    reading = LAYOUTS[layout].published()
    with torch.device("meta"):
        connector = reading.spec.build(vision_dim=reading.vision_dim, llm_dim=reading.llm_dim)
        tensors = published_tensors(connector, layout=layout)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return shapes, sum(parameter.numel() for parameter in connector.parameters())


def affine(name: str, *shape: int, bias: int = 0) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": (bias or shape[0],)}


def ldp() -> dict[str, tuple[int, ...]]:
    shapes = {**affine("model.mlp.1", 2048, 1024), **affine("model.mlp.3", 2048, 2048)}
    for number in (1, 2):
        block = f"model.mb_block.{number}.block"
        shapes |= {f"{block}.0.0.weight": (2048, 1, 3, 3), f"{block}.2.0.weight": (2048, 2048, 1, 1)}
        shapes |= {**affine(f"{block}.0.1", 2048), **affine(f"{block}.2.1", 2048)}
        shapes |= {**affine(f"{block}.1.fc1", 512, 2048, 1, 1), **affine(f"{block}.1.fc2", 2048, 512, 1, 1)}
    return shapes


def resampler(queries: int, dim: int, vision: int, *, inside: str, has_table: bool) -> dict[str, tuple[int, ...]]:
    shapes = {
        f"{inside}query": (queries, dim),
        f"{inside}kv_proj.weight": (dim, vision),
        f"{inside}attn.in_proj_weight": (3 * dim, dim),
        f"{inside}attn.in_proj_bias": (3 * dim,),
        **affine(f"{inside}attn.out_proj", dim, dim),
        **affine(f"{inside}ln_q", dim),
        **affine(f"{inside}ln_kv", dim),
        **affine("ln_post", dim),
        "proj": (dim, dim),
    }
    return {**shapes, f"{inside}pos_embed": (queries, dim)} if has_table else shapes


TABLES: dict[str, dict[str, tuple[int, ...]]] = {
    "internvl_chat": {
        **affine("mlp1.0", 4096),
        **affine("mlp1.1", 4096, 4096),
        **affine("mlp1.3", 4096, 4096),
    },
    "mobilevlm_v2": {
        **affine("mlp.mlp.0", 2048, 1024),
        **affine("mlp.mlp.2", 2048, 2048),
        **affine("peg.peg.0", 2048, 1, 3, 3),
    },
    "mobilevlm_v1": ldp(),
    "llava_mlp": {**affine("0", 4096, 1024), **affine("2", 4096, 4096)},
    "llava_linear": {"weight": (4096, 1024), "bias": (4096,)},
    "qwen_vl": resampler(256, 4096, 1664, inside="attn_pool.", has_table=True),
    "minicpm_v": resampler(64, 3584, 1152, inside="", has_table=False),
    "minigpt_v2": {**affine("llama_proj", 4096, 5632), **affine("ln_vision", 1408)},
    "nanovlm": {"proj.weight": (960, 12288)},
    "vila": {**affine("layers.1", 13824), **affine("layers.2", 3584, 13824), **affine("layers.4", 3584, 3584)},
    "pllava": {**affine("linear_1", 4096, 1024), **affine("linear_2", 4096, 4096)},
}


@pytest.mark.parametrize("layout", sorted(TABLES))
def test_names_and_shapes_at_published_size_are_those_of_the_release(layout: str) -> None:
    assert published(layout)[0] == TABLES[layout]


@pytest.mark.parametrize(
    ("layout", "some", "num_tensors", "num_params"),
    [
        (
            "blip2_opt",
            {
                "query_tokens": (1, 32, 768),
                **affine("ln_vision", 1408),
                **affine("Qformer.bert.embeddings.LayerNorm", 768),
                **affine("Qformer.bert.encoder.layer.0.crossattention.self.key", 768, 1408),
                **affine("Qformer.bert.encoder.layer.1.attention.self.query", 768, 768),
                **affine("Qformer.bert.encoder.layer.11.intermediate_query.dense", 3072, 768),
                **affine("Qformer.bert.encoder.layer.11.output_query.LayerNorm", 768),
                **affine("opt_proj", 2560, 768),
            },
            None,
            105_136_128 + (32 + 2) * 768 + 2 * 1408 + 769 * 2560,
        ),
        (
            "open_flamingo",
            {
                "latents": (64, 1024),
                **affine("layers.5.0.norm_media", 1024),
                "layers.0.0.to_q.weight": (512, 1024),
                "layers.0.0.to_kv.weight": (1024, 1024),
                "layers.0.0.to_out.weight": (1024, 512),
                **affine("layers.3.1.0", 1024),
                "layers.3.1.1.weight": (4096, 1024),
                "layers.3.1.3.weight": (1024, 4096),
                **affine("norm", 1024),
            },
            3 + 6 * 11,
            None,
        ),
        (
            "honeybee_c_abs",
            {
                "pos_emb": (1, 256, 1024),
                "net.0.b1.conv1.conv.weight": (1024, 1024, 1, 1),
                "net.2.b3.conv2.conv.weight": (1024, 1, 3, 3),
                **affine("net.0.b2.conv3.bn", 1024),
                **affine("net.2.b1.se.fc1", 256, 1024, 1, 1),
                **affine("readout.0", 4096, 1024),
                **affine("readout.2", 4096, 4096),
            },
            83,
            None,
        ),
        (
            "honeybee_d_abs",
            {
                "reference_points": (1, 144, 2),
                "v_pos_emb": (1, 256, 1024),
                "query_position_embeddings.weight": (144, 1024),
                **affine("layers.5.encoder_attn.sampling_offsets", 64, 1024),
                **affine("layers.5.encoder_attn.attention_weights", 32, 1024),
                **affine("layers.0.fc1", 1024, 1024),
                **affine("output_proj", 4096, 1024),
            },
            None,
            None,
        ),
        (
            "token_packer",
            {
                "q_proj_1.weight": (1024, 1024),
                **affine("k_proj_1.0", 1024, 4096),
                **affine("v_proj_1.2", 1024, 1024),
                **affine("ln_q_1", 1024),
                "clip_attn.in_proj_weight": (3072, 1024),
                **affine("mlp.0", 4096, 1024),
                **affine("mlp.2", 4096, 4096),
            },
            23,
            None,
        ),
    ],
)
def test_some_names_and_shapes_at_published_size_are_those_of_the_release(
    layout: str, some: dict[str, tuple[int, ...]], num_tensors: int | None, num_params: int | None
) -> None:
    shapes, learned = published(layout)
    assert {name: shapes.get(name) for name in some} == some
    assert num_tensors in {None, len(shapes)}
    assert num_params in {None, learned}


def headers(layout: str, config: Mapping[str, Any], *, prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> Match:
    """Find a layout in a checkpoint that is headers and nothing else."""
    sizes = {prefix + name: shape for name, shape in shapes.items()} | dict.fromkeys(DECOYS, (3, 5))
    tensors = {name: StoredTensor(name=name, shape=shape, dtype="BF16", file="x") for name, shape in sizes.items()}
    match = find(LocalCheckpoint(Path(), source="the release", config=Config.of(config), tensors=tensors))
    assert match.layout.name == layout
    return match


@pytest.mark.parametrize(
    ("layout", "config", "prefix"),
    [
        ("llava_mlp", llava_config("mlp2x_gelu"), "model.mm_projector."),
        ("llava_mlp", llava_config("mlp2x_gelu", model_type="llava_mistral"), "model.mm_projector."),
        ("llava_linear", llava_config("linear"), "model.mm_projector."),
        ("llava_pooler", llava_config("pooler", model_type="llava_qwen"), "model.mm_projector."),
        ("mobilevlm_v1", llava_config("ldpnet", model_type="mobilevlm"), "model.mm_projector."),
        ("mobilevlm_v2", llava_config("ldpnetv2", model_type="mobilevlm"), "model.mm_projector."),
        ("token_packer", llava_config("mlp2x_gelu", scale_factor=2), "model.mm_projector."),
        ("vila", NVILA, ""),
        ("vila", {"model_type": "v2l_projector", "mm_projector_type": "mlp_downsample_2x2_fix"}, ""),
        ("vila_mlp", {"model_type": "v2l_projector", "mm_projector_type": "mlp2x_gelu"}, ""),
        ("vila_linear", {"model_type": "v2l_projector", "mm_projector_type": "linear"}, ""),
        ("pllava", PLLAVA, "multi_modal_projector."),
        ("internvl_chat", internvl_config(ps_version="v2"), ""),
        ("minigpt_v2", {}, ""),
        ("nanovlm", NANOVLM, "MP."),
        ("blip2_opt", {}, ""),
        ("blip2_t5", {}, ""),
        ("instructblip_t5", {}, ""),
        ("instructblip_llm", {}, ""),
        ("open_flamingo", {}, "perceiver."),
        ("qwen_vl", QWEN_VL, "transformer.visual."),
        ("minicpm_v", MINICPM_26, "resampler."),
        ("honeybee_c_abs", {"model_type": "mllm", "num_query_tokens": 144}, "abstractor."),
        ("honeybee_d_abs", {"model_type": "mllm"}, "abstractor."),
        ("honeybee_resampler", {"model_type": "mllm"}, "abstractor."),
    ],
)
def test_a_published_connector_is_read_from_headers(layout: str, config: dict[str, Any], prefix: str) -> None:
    shapes, _ = published(layout)
    match, wanted = headers(layout, config, prefix=prefix, shapes=shapes), LAYOUTS[layout].published()
    resolved = wanted.spec.resolve(vision_dim=wanted.vision_dim, llm_dim=wanted.llm_dim)
    assert match.prefix == prefix
    assert (match.reading.vision_dim, match.reading.llm_dim) == (wanted.vision_dim, wanted.llm_dim)
    assert match.spec.blocks == resolved.blocks


@pytest.mark.parametrize("layout", ORIGINALS)
def test_an_example_of_the_table_has_views_that_our_tilings_take(layout: str) -> None:
    views = LAYOUTS[layout].published().views
    if views.tiling:
        tiling_from_dict({"name": views.tiling, **views.tiling_options}).plan(600, 800)


@pytest.fixture
def views(tmp_path: Path) -> Any:
    """Inspect a release of headers, and count the tokens of a tile and of an image."""

    def look(layout: str, config: dict[str, Any], *, prefix: str, height_px: int = 600, width_px: int = 800) -> Any:
        sizes = {prefix + name: shape for name, shape in published(layout)[0].items()}
        sparse(tmp_path / "model.safetensors", sizes)
        (tmp_path / "config.json").write_text(json.dumps(config))
        found = inspect_checkpoint(tmp_path)
        assert found.layout.name == layout
        return found.views, found.tokens_per_tile, found.num_tokens(height_px, width_px)

    return look


ANYRES = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
AT = "model.mm_projector."


def test_llava_pads_to_a_square(views: Any) -> None:
    seen, per_tile, tokens = views("llava_mlp", llava_config("mlp2x_gelu"), prefix=AT)
    assert (seen.patch_px, seen.tile_px, seen.num_prefix, seen.tiling) == (14, 336, 0, "plain")
    assert (per_tile, tokens) == (576, 576)


def test_llava_next_has_tiles_and_a_newline(views: Any) -> None:
    config = llava_config(
        "mlp2x_gelu", image_aspect_ratio="anyres", image_grid_pinpoints=ANYRES, mm_patch_merge_type="spatial_unpad"
    )
    seen, per_tile, tokens = views("llava_mlp", config, prefix=AT, height_px=480, width_px=640)
    assert seen.tiling == "anyres"
    assert per_tile == 576
    rows, cols = 36, 48
    assert tokens == 576 + rows * (cols + 1)


def test_llava_onevision_shrinks_large_maps(views: Any) -> None:
    config = llava_config(
        "mlp2x_gelu",
        model_type="llava_qwen",
        image_aspect_ratio="anyres_max_9",
        image_grid_pinpoints="(1x1),...,(6x6)",
        mm_patch_merge_type="spatial_unpad",
        mm_vision_tower="google/siglip-so400m-patch14-384",
    )
    seen, per_tile, _ = views("llava_mlp", config, prefix=AT)
    assert seen.tiling_options["max_map_tiles"] == 9
    assert len(seen.tiling_options["pinpoints"]) == 36
    assert per_tile == 729


def test_llava_with_s2_names_its_scales(views: Any) -> None:
    config = llava_config("mlp2x_gelu", s2=True, s2_scales="336,672,1008")
    seen, per_tile, tokens = views("llava_mlp", config, prefix=AT)
    assert (seen.scales, per_tile, tokens) == ((1, 2, 3), 576, 576)


def test_llava_says_nothing_of_what_it_cannot_do_the_same_way(views: Any) -> None:
    seen, _, tokens = views("llava_mlp", llava_config("mlp2x_gelu", image_aspect_ratio="square"), prefix=AT)
    assert (seen.tiling, seen.policy, tokens) == ("", "fixed 336 px", 576)
    cut, per_tile, tokens = views("llava_mlp", llava_config("mlp2x_gelu", image_aspect_ratio="slice"), prefix=AT)
    assert (cut.tiling, per_tile, tokens) == ("", 576, None)
    plain, _, tokens = views("llava_mlp", llava_config("mlp2x_gelu", mm_vision_tower="my/encoder"), prefix=AT)
    assert (plain.patch_px, plain.tiling, tokens) == (0, "", None)
    odd = llava_config("mlp2x_gelu", image_aspect_ratio="anyres", image_grid_pinpoints=ANYRES, mm_patch_merge_type="x")
    assert views("llava_mlp", odd, prefix=AT)[0].tiling == ""


def test_llava_reads_pinpoints_of_every_spelling(views: Any) -> None:
    config = llava_config(
        "mlp2x_gelu", image_aspect_ratio="anyres", image_grid_pinpoints="[(336, 672), (672, 336)]", mm_vision_tower=CLIP
    )
    seen, _, _ = views("llava_mlp", config, prefix=AT)
    assert seen.tiling_options["pinpoints"] == [[672, 336], [336, 672]]


def test_internvl_has_tiles_and_a_thumbnail(views: Any) -> None:
    _, per_tile, tokens = views("internvl_chat", internvl_config(ps_version="v2"), prefix="")
    assert (per_tile, tokens) == (256, 13 * 256)
    fixed = internvl_config(ps_version="v2", dynamic_image_size=False)
    assert views("internvl_chat", fixed, prefix="")[1:] == (256, 256)


def test_minicpm_slices(views: Any) -> None:
    seen, per_tile, tokens = views("minicpm_v", MINICPM_26, prefix="resampler.", height_px=1344, width_px=1344)
    assert seen.tiling == "minicpm"
    assert per_tile is None
    assert tokens == 10 * 64


def test_nvila_has_dynamic_s2(views: Any) -> None:
    seen, per_tile, tokens = views("vila", NVILA, prefix="", height_px=1344, width_px=1344)
    assert (seen.scales, seen.tiling) == ((1, 2, 3), "dynamic_s2")
    assert (per_tile, tokens) == (256, 9 * 256)


def test_pllava_has_as_many_tokens_as_its_config_says(views: Any) -> None:
    assert views("pllava", PLLAVA, prefix="multi_modal_projector.")[1] == 16 * 12 * 12


@torch.no_grad()
def test_internvl_is_v1_where_the_config_does_not_say(tmp_path: Path) -> None:
    weights = CASES["internvl__v2_8x8"].weights
    two = load_connector(write(tmp_path / "2", weights, prefix="", config=internvl_config(ps_version="v2")))
    one = load_connector(write(tmp_path / "1", weights, prefix="", config=internvl_config()))
    features, grid = torch.randn(2, 24, two.vision_dim), Grid(4, 6)
    swapped = two(features, grid).unflatten(1, (2, 3)).transpose(1, 2).flatten(1, 2)
    assert torch.allclose(one(features, grid), swapped, atol=1e-5)
    assert one.spec.out_grid(grid) == Grid(3, 2)


def test_internvl_without_a_config_is_not_guessed(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", CASES["internvl__v2_8x8"].weights, prefix="", config={})
    with pytest.raises(CheckpointError, match='does not say "ps_version" in its config.json'):
        load_connector(folder)


def random(shapes: Mapping[str, tuple[int, ...]], *, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.5 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def vila_shapes(vision: int, llm: int, kind: str) -> dict[str, tuple[int, ...]]:
    wide = {
        "3x3_fix": [9 * vision, 3 * vision, llm, llm],
        "3x3_s2": [9 * vision, 3 * vision, vision, vision // 3, llm, llm],
        "3x3_s2_new": [9 * vision, 4 * vision, 2 * vision, vision, vision // 3, llm, llm],
    }[kind]
    shapes: dict[str, tuple[int, ...]] = {}
    for step in range(len(wide) - 2):
        shapes |= affine(f"layers.{3 * step + 1}", wide[step])
        shapes |= affine(f"layers.{3 * step + 2}", wide[step + 1], wide[step])
    return shapes | affine(f"layers.{3 * (len(wide) - 2) + 1}", llm, llm)


def vila_slowly(tensors: Mapping[str, Tensor], features: Tensor, *, rows: int, cols: int, side: int) -> Tensor:
    """Patch by patch: side x side neighbours, zeros beyond the edge; then layer by layer, as the names say."""
    tokens: list[Tensor] = []
    for top in range(0, rows, side):
        for left in range(0, cols, side):
            places = [(row, col) for row in range(top, top + side) for col in range(left, left + side)]
            zero = torch.zeros(features.shape[-1])
            tokens.append(torch.cat([features[r * cols + c] if r < rows and c < cols else zero for r, c in places]))
    x = torch.stack(tokens)
    numbers = sorted({int(name.split(".")[1]) for name in tensors})
    for number in numbers:
        weight, bias = tensors[f"layers.{number}.weight"], tensors[f"layers.{number}.bias"]
        if weight.ndim == 1:
            x = F.layer_norm(x, weight.shape, weight, bias)
        else:
            x = F.linear(x, weight, bias)
            x = F.gelu(x) if number != numbers[-1] else x
    return x


@pytest.mark.parametrize("kind", ["3x3_fix", "3x3_s2", "3x3_s2_new"])
@pytest.mark.parametrize("is_said", [True, False])
@torch.no_grad()
def test_deeper_projectors_of_vila_equal_a_slow_reference(kind: str, is_said: bool, tmp_path: Path) -> None:
    tensors = random(vila_shapes(6, 10, kind))
    config = {"model_type": "v2l_projector"} | ({"mm_projector_type": f"mlp_downsample_{kind}"} if is_said else {})
    folder = write(tmp_path / "mm_projector", tensors, prefix="", config=config, has_decoys=False)
    connector = load_connector(folder)
    features = torch.randn(1, 35, 6)
    want = vila_slowly(tensors, features[0], rows=5, cols=7, side=3)
    assert torch.allclose(connector(features, Grid(5, 7))[0], want, atol=1e-5)


@pytest.mark.parametrize(
    ("prefix", "layout", "numbers"),
    [
        ("model.mm_projector.", "llava_mlp", (0,)),
        ("model.mm_projector.", "llava_mlp", (0, 2)),
        ("model.mm_projector.", "llava_mlp", (0, 2, 4)),
        ("layers.", "vila_mlp", (0, 2)),
        ("layers.", "vila_mlp", (0, 2, 4)),
    ],
)
@torch.no_grad()
def test_mlps_of_any_depth_equal_a_slow_reference(
    prefix: str, layout: str, numbers: tuple[int, ...], tmp_path: Path
) -> None:
    tensors = random({key: shape for n in numbers for key, shape in affine(str(n), 10, 10 if n else 6).items()})
    kind = {"llava_mlp": "llava", "vila_mlp": "v2l_projector"}[layout]
    config = {"model_type": kind, "mm_projector_type": f"mlp{len(numbers)}x_gelu"}
    folder = write(tmp_path / "x", tensors, prefix=prefix, config=config, has_decoys=layout == "llava_mlp")
    assert inspect_checkpoint(folder).layout.name == layout
    features = torch.randn(1, 6, 6)
    want = vila_slowly(
        {f"layers.{name}": tensor for name, tensor in tensors.items()}, features[0], rows=2, cols=3, side=1
    )
    assert torch.allclose(load_connector(folder)(features, Grid(2, 3))[0], want, atol=1e-5)


@torch.no_grad()
def test_vila_with_a_linear_equals_a_slow_reference(tmp_path: Path) -> None:
    tensors = random({"weight": (10, 6), "bias": (10,)})
    config = {"model_type": "v2l_projector", "mm_projector_type": "linear"}
    folder = write(tmp_path / "x", tensors, prefix="layers.", config=config, has_decoys=False)
    assert inspect_checkpoint(folder).layout.name == "vila_linear"
    features = torch.randn(1, 6, 6)
    want = F.linear(features, tensors["weight"], tensors["bias"])
    assert torch.allclose(load_connector(folder)(features, Grid(2, 3)), want, atol=1e-6)


def test_layers_that_the_settings_do_not_count_are_left_over(tmp_path: Path) -> None:
    tensors = random({key: shape for n in (0, 2, 4) for key, shape in affine(str(n), 10, 10 if n else 6).items()})
    folder = write(tmp_path / "x", tensors, prefix=AT, config=llava_config("mlp2x_gelu"))
    with pytest.raises(CheckpointError, match=r"missing none; left over 4\.bias, 4\.weight"):
        load_connector(folder)


def test_queries_of_minicpm_need_not_fill_a_square(tmp_path: Path) -> None:
    tensors = random(resampler(6, 256, 12, inside="", has_table=False))
    found = inspect_checkpoint(write(tmp_path / "x", tensors, prefix="resampler.", config=MINICPM_26))
    assert found.spec.num_tokens(Grid(5, 7)) == 6


def test_a_table_of_minicpm_without_a_config_is_not_guessed(tmp_path: Path) -> None:
    weights = CASES["minicpmv2_resampler__q16_8x8"].weights
    with pytest.raises(CheckpointError, match='does not say "slice_mode"'):
        load_connector(write(tmp_path / "x", weights, prefix="resampler.", config={}))


def test_another_resampler_than_minicpm_2_0_resizes_its_table(tmp_path: Path) -> None:
    weights = CASES["minicpmv2_resampler__q16_8x8"].weights
    first = {name: value for name, value in MINICPM_2.items() if name != "slice_mode"}
    spec = inspect_checkpoint(write(tmp_path / "1", weights, prefix="resampler.", config=first)).spec
    later = inspect_checkpoint(write(tmp_path / "2", weights, prefix="resampler.", config=MINICPM_2)).spec
    assert differing(spec, later) == {"key_positions"}


LAYER = "Qformer.bert.encoder.layer"


def lavis(projection: str, *, has_words: bool) -> dict[str, Tensor]:
    """A Q-Former of LAVIS with two layers, with or without what reads words."""
    shapes = {"query_tokens": (1, 4, 64), **affine("ln_vision", 12), **affine(projection, 10, 64)}
    shapes |= affine("Qformer.bert.embeddings.LayerNorm", 64)
    for number in range(2):
        layer = f"{LAYER}.{number}"
        for part in ("attention", "crossattention")[: 2 - number]:
            vision = 12 if part == "crossattention" else 64
            for name, width in (("query", 64), ("key", vision), ("value", vision)):
                shapes |= affine(f"{layer}.{part}.self.{name}", 64, width)
            shapes |= {
                **affine(f"{layer}.{part}.output.dense", 64, 64),
                **affine(f"{layer}.{part}.output.LayerNorm", 64),
            }
        for suffix in ("_query", "")[: 1 + has_words]:
            shapes |= affine(f"{layer}.intermediate{suffix}.dense", 96, 64)
            shapes |= affine(f"{layer}.output{suffix}.dense", 64, 96)
            shapes |= affine(f"{layer}.output{suffix}.LayerNorm", 64)
    if has_words:
        shapes["Qformer.bert.embeddings.word_embeddings.weight"] = (30, 64)
        shapes["Qformer.bert.embeddings.position_embeddings.weight"] = (9, 64)
    tensors = random(shapes)
    tensors["Qformer.bert.embeddings.position_ids"] = torch.arange(9)[None]
    return tensors


@torch.no_grad()
def test_the_text_branch_of_blip_2_is_idle(tmp_path: Path) -> None:
    full, bare = lavis("opt_proj", has_words=True), lavis("opt_proj", has_words=False)
    bare = {name: full[name] for name in bare}
    full["Qformer.cls.predictions.bias"] = torch.zeros(30)
    one = load_connector(write(tmp_path / "1", full, prefix="", config={}))
    two = load_connector(write(tmp_path / "2", bare, prefix="", config={}))
    features = torch.randn(2, 6, 12)
    assert torch.equal(one(features, Grid(2, 3)), two(features, Grid(2, 3)))
    written = load_file(export_connector(one, tmp_path / "out.safetensors", layout="blip2_opt"))
    assert written.keys() == bare.keys() - {"Qformer.bert.embeddings.position_ids"}


@pytest.mark.parametrize(
    ("projection", "has_words", "layout"),
    [
        ("t5_proj", False, "blip2_t5"),
        ("t5_proj", True, "instructblip_t5"),
        ("llm_proj", True, "instructblip_llm"),
        ("llm_proj", False, "instructblip_llm"),
    ],
)
@torch.no_grad()
def test_lavis_is_told_apart_by_its_projection_and_its_words(
    projection: str, has_words: bool, layout: str, tmp_path: Path
) -> None:
    tensors = lavis(projection, has_words=has_words)
    folder = write(tmp_path / "x", tensors, prefix="", config={})
    found, connector = inspect_checkpoint(folder), load_connector(folder)
    assert found.layout.name == layout
    assert found.spec.blocks[1].kind == ("text_qformer" if has_words else "qformer")
    words = TextTokens(ids=torch.tensor([[1, 2, 3]]), mask=torch.ones(1, 3, dtype=torch.bool)) if has_words else None
    assert connector(torch.randn(1, 6, 12), Grid(2, 3), text=words).shape == (1, 4, 10)
    written = load_file(export_connector(connector, tmp_path / "out.safetensors", layout=layout))
    assert all(torch.equal(tensors[name], tensor) for name, tensor in written.items())


def test_minigpt_v2_may_come_without_its_norm(tmp_path: Path) -> None:
    weights = {name: tensor for name, tensor in CASES["minigpt_v2_concat__64"].weights.items() if "ln_" not in name}
    connector = load_connector(write(tmp_path / "x", weights, prefix="", config={}))
    assert [block.kind for block in connector.spec.blocks] == ["merge", "linear"]
    assert published_tensors(connector, layout="minigpt_v2").keys() == weights.keys()


def test_a_projector_file_of_llava_is_enough(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = CASES["llava_mlp2x_gelu"].weights
    save_file(
        {f"model.mm_projector.{name}": tensor for name, tensor in weights.items()},
        tmp_path / "mm_projector.safetensors",
    )
    assert inspect_checkpoint(tmp_path / "mm_projector.safetensors").layout.name == "llava_mlp"
    assert inspect_checkpoint(tmp_path).prefix == "model.mm_projector."
