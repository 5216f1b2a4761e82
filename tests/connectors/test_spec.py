"""Specs are plain data: they count, round-trip and refuse in words."""

import json

import pytest
import torch

import opticnerve as on
from opticnerve import LLM, ConnectorSpec, Grid
from opticnerve.connectors import TextTokens, read_spec
from opticnerve.connectors.blocks import Linear, Merge
from opticnerve.errors import ShapeError, SpecError, UnknownNameError


def test_the_readme_example_counts_and_runs() -> None:
    spec = on.methods.ldpv2(out_grid=(12, 12))
    assert spec.num_tokens(on.Grid(24, 24)) == 144
    assert spec.num_params(vision_dim=1024, llm_dim=2048) == 6_316_032
    connector = spec.build(vision_dim=16, llm_dim=24)
    assert connector(torch.randn(2, 576, 16), on.Grid(24, 24)).shape == (2, 144, 24)
    grids = [on.Grid(24, 24), on.Grid(13, 40)]
    tokens, out_grids = connector.packed(torch.randn(576 + 520, 16), grids)
    assert tokens.shape == (288, 24)
    assert out_grids == (Grid(12, 12), Grid(12, 12))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ("{", SpecError, "the connector is not JSON"),
        ("[]", SpecError, "a connector is a JSON object, got a list"),
        ('{"name": "x"}', SpecError, 'a connector needs a "name" and a list of "blocks", got the keys'),
        ('{"name": "x", "blocks": [], "colour": 1}', SpecError, "it also has colour"),
        ('{"name": "x", "blocks": [], "format": 9}', SpecError, "written in format 9; this version reads format 1"),
        ('{"name": "x", "blocks": [{"kind": "merg"}]}', UnknownNameError, 'unknown block "merg". Did you mean merge'),
        (
            '{"name": "x", "blocks": [{"kind": "merge", "factor": 2}]}',
            UnknownNameError,
            'unknown field of block merge "factor". Known: cols, is_transposed, odd, order, rows.',
        ),
        (
            '{"name": "x", "blocks": [{"kind": "merge", "rows": "two"}]}',
            SpecError,
            'block "merge", rows: Input should be a valid integer',
        ),
        (
            '{"name": "x", "blocks": [{"kind": "merge", "rows": 0}]}',
            SpecError,
            "whole factors of at least 1, got 0 x 2",
        ),
        (
            '{"name": "x", "blocks": [{"kind": "linear", "dim": {"of": "llm", "tims": 4}}]}',
            SpecError,
            'block "linear", dim.Width.tims: Unexpected keyword argument, got 4',
        ),
        ('{"name": "x", "blocks": [3]}', SpecError, 'a block is a JSON object with a "kind", got 3'),
        ('{"name": "x", "blocks": [], "num_levels": 2.5}', SpecError, "num_levels as a whole number, got 2.5"),
        ('{"name": "x", "blocks": [], "num_levels": 0}', SpecError, "needs num_levels of at least 1, got 0"),
    ],
)
def test_a_broken_spec_is_refused_in_words(data: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        ConnectorSpec.from_json(data)
    assert message in str(raised.value)


def test_a_config_names_a_method_or_lists_blocks() -> None:
    assert read_spec({"method": "pool", "factor": 4}) == on.methods.pool(factor=4)
    spec = on.methods.pixel_shuffle(factor=3)
    assert read_spec(json.loads(spec.to_json())) == spec
    assert on.method("pixel_shuffle", factor="3", has_norm="false") == on.methods.pixel_shuffle(
        factor=3, has_norm=False
    )


def test_unknown_methods_and_options_list_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match='unknown method "pol". Did you mean pool'):
        on.method("pol")
    with pytest.raises(UnknownNameError, match='unknown option of pool "factr". Did you mean factor'):
        on.method("pool", factr=2)
    with pytest.raises(SpecError, match="pool, factor: Input should be a valid integer.* got 'x'"):
        on.method("pool", factor="x")


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: on.methods.pool(mode="avrage"), "pool, mode: Input should be 'average', 'max', "),
        (
            lambda: on.methods.pixel_shuffle(version="V1"),
            "pixel_shuffle, version: Input should be 'v1' or 'v2', got",
        ),
        (
            lambda: on.methods.pixel_shuffle(odd="pda"),
            "pixel_shuffle, odd: Input should be 'error' or 'pad', got",
        ),
        (lambda: on.methods.concat_mlp(norm_place="before"), "concat_mlp, norm_place: Input should be 'patch', "),
        (lambda: on.methods.ldpv2(out_grid=(12,)), "ldpv2, out_grid.1: Field required"),
        (lambda: on.methods.mlp(depth=0), "mlp needs at least 1 Linear, got depth=0"),
        (lambda: Merge(odd="pda"), "merge needs odd to be one of 'error', 'pad', got 'pda'"),
        (lambda: Linear(dim=0), "linear needs dim of at least 1 channel, got 0"),
        (lambda: LLM // 0, "a width needs whole numbers of at least 1, got times=1 and over=0"),
        (lambda: LLM * 0, "a width needs whole numbers of at least 1, got times=0 and over=1"),
        (
            lambda: on.methods.pool(mode="adaptive", factor=4),
            'mode="adaptive" goes by out_grid, not by factor=4: leave factor out',
        ),
        (
            lambda: on.methods.pool(out_grid=(8, 8)),
            'out_grid=(8, 8) and out_frames=0 are for mode="adaptive", but the mode is "average"',
        ),
        (lambda: on.methods.pool(out_frames=2), "out_frames=2 are for"),
        (lambda: Linear(dim=LLM).resolve(in_dim=1, vision_dim=1, llm_dim=0), "a width of 0 * 1 // 1 channels is empty"),
    ],
)
def test_an_option_that_cannot_be_is_refused_where_it_is_given(call: object, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        call()
    assert message in str(raised.value)


def test_an_option_that_there_is_not_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match='unknown option of pool "facter". Did you mean factor'):
        on.methods.pool(facter=2)


def test_blocks_of_your_own_make_a_connector() -> None:
    spec = ConnectorSpec(name="mine", blocks=(Merge(rows=2, cols=1), Linear()))
    assert spec.num_tokens(Grid(4, 5)) == 10
    assert spec.out_dim(vision_dim=8, llm_dim=6) == 6
    assert spec.build(vision_dim=8, llm_dim=6)(torch.zeros(1, 20, 8), Grid(4, 5)).shape == (1, 10, 6)


def test_widths_below_one_are_refused() -> None:
    with pytest.raises(SpecError, match="widths must be at least 1, got vision_dim=0 and llm_dim=4"):
        on.methods.linear().build(vision_dim=0, llm_dim=4)


def test_images_of_one_size_are_packed_without_a_copy() -> None:
    connector, x = on.methods.linear().build(vision_dim=2, llm_dim=2), torch.randn(12, 2)
    seen: list[torch.Tensor] = []
    connector.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    connector.packed(x, [Grid(2, 2)] * 3)
    assert seen[0].shape == (3, 4, 2)
    assert seen[0].data_ptr() == x.data_ptr()


def test_packing_nothing_is_refused() -> None:
    connector = on.methods.linear().build(vision_dim=2, llm_dim=2)
    with pytest.raises(ShapeError, match="packed needs the grid of at least one image, got none"):
        connector.packed(torch.zeros(0, 2), [])


def test_text_for_a_connector_that_reads_none_is_refused() -> None:
    connector = on.methods.linear().build(vision_dim=2, llm_dim=2)
    text = TextTokens(ids=torch.zeros(1, 1, dtype=torch.long), mask=torch.ones(1, 1, dtype=torch.bool))
    with pytest.raises(ShapeError, match='"linear" reads no text: leave text out'):
        connector(torch.zeros(1, 1, 2), Grid(1, 1), text=text)


@pytest.mark.parametrize("rows", [1, 3])
def test_packed_images_without_an_instruction_each_are_refused(rows: int) -> None:
    options = {"num_layers": 1, "hidden_dim": 12, "vocab_size": 5}
    connector = on.methods.qformer(reads_text=True, **options).build(vision_dim=2, llm_dim=2)
    text = TextTokens(ids=torch.zeros(rows, 1, dtype=torch.long), mask=torch.ones(rows, 1, dtype=torch.bool))
    for grids in ([Grid(1, 1), Grid(1, 1)], [Grid(1, 1), Grid(1, 2)]):
        with pytest.raises(ShapeError, match=f"text has {rows} rows for 2 images: pass one row for each image"):
            connector.packed(torch.zeros(sum(grid.size for grid in grids), 2), grids, text=text)


def test_a_fixed_grid_is_checked_when_it_is_fixed() -> None:
    connector = on.methods.pixel_shuffle().build(vision_dim=2, llm_dim=2)
    with pytest.raises(on.OpticNerveError, match="cannot merge a 3 x 3 grid by 2"):
        connector.on_grid(Grid(3, 3))
    fixed = connector.on_grid(Grid(2, 2))
    x = torch.randn(1, 4, 2)
    assert torch.equal(fixed(x), connector(x, Grid(2, 2)))
