"""Blocks that choose by content: against slow, obvious references, and by what has to hold for any features."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from connectors.reductions_by_hand import BY_HAND, tome_by_hand
from connectors.small import GRID
from opticnerve import METHODS, ConnectorSpec, Grid, Queries, method
from opticnerve.connectors.blocks import (
    AttendedMerging,
    DiverseSelection,
    EveryKth,
    FarthestPoint,
    RandomPatches,
    Reduction,
    TokenMerging,
)
from opticnerve.connectors.blocks.reduction import Reduce, ReduceBlock
from opticnerve.connectors.blocks.token_merging import merge_alike
from opticnerve.errors import GridError, SpecError

KINDS: dict[str, type[Reduce]] = {
    "tome": TokenMerging,
    "divprune": DiverseSelection,
    "farthest_point": FarthestPoint,
    "prumerge": AttendedMerging,
    "random_patches": RandomPatches,
    "every_kth": EveryKth,
}
MERGING = ("tome", "prumerge")
CHOOSING = ("tome", "divprune", "farthest_point", "prumerge")
every_kind = pytest.mark.parametrize("name", KINDS)
sides = {"rows": st.integers(1, 5), "cols": st.integers(1, 6), "frames": st.integers(1, 2)}
anything = {**sides, "reduction": st.integers(1, 8), "seed": st.integers(0, 9)}


def random_features(grid: Grid, *, dim: int = 6, seed: int = 0, batch: int = 2) -> Tensor:
    return torch.randn(batch, grid.size, dim, generator=torch.Generator().manual_seed(seed))


def block_of(name: str, reduction: int = 4) -> ReduceBlock:
    block = KINDS[name](reduction=reduction).build(6)
    assert isinstance(block, ReduceBlock)
    return block


def reduced(name: str, features: Tensor, grid: Grid, reduction: int = 4) -> Reduction:
    return block_of(name, reduction).reduce(features, grid)


@pytest.mark.parametrize("name", CHOOSING)
@settings(max_examples=40)
@given(**anything)
def test_the_choice_is_that_of_the_loops(
    name: str, rows: int, cols: int, frames: int, reduction: int, seed: int
) -> None:
    grid = Grid(rows, cols, frames=frames)
    features = random_features(grid, seed=seed)
    got = reduced(name, features, grid, reduction)
    if name == "farthest_point" and grid.size == 2:
        return  # both are as far from their mean, but for rounding
    for image, kept, merged in zip(features.double(), got.kept.tolist(), got.merged.tolist(), strict=True):
        assert (kept, merged) == BY_HAND[name](image, math.ceil(grid.size / reduction))


@pytest.mark.parametrize("name", ["divprune", "farthest_point", "random_patches", "every_kth"])
def test_what_is_kept_comes_out_as_it_went_in(name: str) -> None:
    features = random_features(GRID)
    kept = reduced(name, features, GRID).kept
    want = torch.stack([image[places] for image, places in zip(features, kept, strict=True)])
    assert torch.equal(block_of(name)(features, GRID), want)


def test_a_merged_token_is_the_mean_of_its_patches() -> None:
    features = random_features(GRID)
    got = block_of("tome")(features, GRID)
    for image, merged, tokens in zip(features, reduced("tome", features, GRID).merged, got, strict=True):
        want = [image[merged == number].mean(0) for number in range(len(tokens))]
        torch.testing.assert_close(tokens, torch.stack(want))


@pytest.mark.parametrize("prefix", [0, 2])
def test_an_attended_token_is_the_mean_of_its_patches_weighted_by_the_attention(prefix: int) -> None:
    grid = Grid(4, 5, prefix=prefix)
    features = random_features(grid)
    got, choice = block_of("prumerge")(features, grid), reduced("prumerge", features, grid)
    for image, kept, merged, tokens in zip(features, choice.kept, choice.merged, got, strict=True):
        patches = image[prefix:]
        query = image[0] if prefix else patches.mean(0)
        length = math.sqrt(features.shape[-1])
        products = [length * key / key.norm() @ (length * query / query.norm()) / length for key in patches]
        attention = torch.stack(products).softmax(0)
        assert kept.tolist() == sorted(attention.argsort(descending=True)[: len(kept)].tolist())
        for number, token in enumerate(tokens):
            own = merged == number
            torch.testing.assert_close(token, (attention[own, None] * patches[own]).sum(0) / attention[own].sum())


def test_the_first_prefix_token_decides_and_the_others_do_not() -> None:
    grid = Grid(4, 6, prefix=3)
    features = random_features(grid)
    other_cls, other_register = features.clone(), features.clone()
    other_cls[:, 0] *= -1
    other_register[:, 1:3] *= -5
    want = block_of("prumerge")(features, grid)
    assert want.shape[1] == 6
    assert torch.equal(block_of("prumerge")(other_register, grid), want)
    assert not torch.equal(reduced("prumerge", other_cls, grid).kept, reduced("prumerge", features, grid).kept)


def test_attention_far_below_that_of_the_first_keeps_a_token_finite() -> None:
    features = torch.zeros(1, 8, 40000)
    features[0, :4, :4] = torch.eye(4)
    features[0, 4:, 4:8] = torch.eye(4)
    features[:, 0] *= 1e4
    tokens = block_of("prumerge", 2)(features, Grid(2, 4))
    assert tokens.isfinite().all()
    torch.testing.assert_close(tokens[0, 0], features[0, 0])


# What holds for any features.


@every_kind
@given(**anything)
def test_kept_places_are_sorted_and_unique_and_every_patch_goes_to_one(
    name: str, rows: int, cols: int, frames: int, reduction: int, seed: int
) -> None:
    grid = Grid(rows, cols, frames=frames)
    got = reduced(name, random_features(grid, seed=seed), grid, reduction)
    keep = KINDS[name](reduction=reduction).out_grid(grid).size
    assert keep == math.ceil(grid.size / reduction)
    assert got.kept.shape == (2, keep)
    assert got.merged.shape == (2, grid.size)
    assert (got.kept.diff() > 0).all()
    assert got.kept.min() >= 0
    assert got.kept.max() < grid.size
    assert got.merged.min() >= 0
    assert got.merged.max() < keep
    assert torch.equal(got.merged.gather(1, got.kept), torch.arange(keep).expand(2, -1))


@every_kind
@given(**sides)
def test_without_a_reduction_the_patches_stay_as_they_are(name: str, rows: int, cols: int, frames: int) -> None:
    grid = Grid(rows, cols, frames=frames)
    features = random_features(grid)
    assert torch.equal(block_of(name, 1)(features, grid), features)


@pytest.mark.parametrize("name", ["divprune", "farthest_point", "prumerge"])
@given(**anything)
def test_the_choice_follows_the_patches_wherever_they_lie(
    name: str, rows: int, cols: int, frames: int, reduction: int, seed: int
) -> None:
    grid = Grid(rows, cols, frames=frames)
    features = random_features(grid, seed=seed)
    if grid.size == 2 or (name == "divprune" and _has_two_loneliest(features)):
        return  # of equal ones the first is taken
    order = torch.randperm(grid.size, generator=torch.Generator().manual_seed(seed))
    before, after = (reduced(name, one, grid, reduction) for one in (features, features[:, order]))
    for kept, moved in zip(before.kept.tolist(), after.kept, strict=True):
        assert sorted(order[moved].tolist()) == kept
    where = before.kept.gather(1, before.merged)[:, order]
    assert torch.equal(where, order[after.kept.gather(1, after.merged)])


def _has_two_loneliest(features: Tensor) -> bool:
    keys = F.normalize(features, dim=-1)
    alike = (keys @ keys.mT).diagonal_scatter(torch.full(features.shape[:2], -2.0), dim1=1, dim2=2)
    lowest = alike.amax(-1).sort().values[:, :2]
    return features.shape[1] > 1 and bool((lowest.diff() < 1e-5).any())


@every_kind
@pytest.mark.parametrize("scale", [0.25, 8.0])
def test_the_choice_does_not_depend_on_the_size_of_all_features(name: str, scale: float) -> None:
    features = random_features(GRID)
    before, after = (reduced(name, one, GRID) for one in (features, scale * features))
    assert torch.equal(before.kept, after.kept)
    assert torch.equal(before.merged, after.merged)


@pytest.mark.parametrize("name", ["divprune", "farthest_point"])
@given(copies=st.integers(2, 5), seed=st.integers(0, 9))
def test_of_patches_that_are_the_same_one_is_kept(name: str, copies: int, seed: int) -> None:
    grid = Grid(copies, 5)
    row = random_features(Grid(1, 5), seed=seed)
    features = row.repeat(1, copies, 1)
    got = reduced(name, features, grid, copies)
    assert torch.equal((got.kept % 5).sort().values, torch.arange(5).expand(2, -1))
    assert torch.equal(got.kept.gather(1, got.merged) % 5, torch.arange(grid.size).expand(2, -1) % 5)


@given(seed=st.integers(0, 30), even=st.integers(0, 7), odd=st.integers(0, 7))
def test_patches_that_are_the_same_are_merged_first(seed: int, even: int, odd: int) -> None:
    features = random_features(Grid(1, 16), seed=seed)
    features[:, 2 * even] = features[:, 2 * odd + 1]
    for merged in merge_alike(features, pairs=[1]).merged:
        assert merged[2 * even] == merged[2 * odd + 1]
        assert merged.unique().numel() == 15


def test_a_patch_like_no_other_stays_itself() -> None:
    features = torch.ones(1, 24, 6)
    features[0, 13] = torch.tensor([-1.0, 1, -1, 1, -1, 1])
    for name in ("tome", "divprune", "farthest_point"):
        got = reduced(name, features, Grid(4, 6), 4)
        assert 13 in got.kept[0]
        assert (got.merged[0] == got.merged[0, 13]).sum() == 1


@pytest.mark.parametrize("name", CHOOSING)
def test_of_equal_patches_the_first_are_chosen_every_time(name: str) -> None:
    features = torch.zeros(2, 12, 6)
    got = [reduced(name, one, Grid(3, 4), 3) for one in (features, features.clone())]
    assert torch.equal(got[0].kept, got[1].kept)
    assert torch.equal(got[0].merged, got[1].merged)
    # eight steps in which the first token that is left goes to the second
    want = [8, 9, 10, 11] if name == "tome" else [0, 1, 2, 3]
    assert got[0].kept.tolist() == [want] * 2


def test_a_step_merges_a_pair_for_every_few_tokens() -> None:
    assert list(TokenMerging(tokens_per_merge=2).steps(Grid(24, 24))) == [(576, 288), (288, 144)]
    assert list(TokenMerging(tokens_per_merge=2, reduction=7).steps(Grid(1, 27))) == [(27, 13), (14, 7), (7, 3)]
    assert list(TokenMerging(reduction=2).steps(Grid(4, 8))) == [(32, 4), (28, 3), (25, 3), (22, 2), (20, 2), (18, 2)]
    assert list(TokenMerging(reduction=2).steps(Grid(1, 3))) == [(3, 1)]
    assert list(TokenMerging(reduction=1).steps(Grid(1, 3))) == []


@given(seed=st.integers(0, 9), per_merge=st.integers(2, 6), cols=st.integers(2, 20))
def test_larger_steps_are_those_of_the_loops_too(seed: int, per_merge: int, cols: int) -> None:
    features = random_features(Grid(1, cols), seed=seed)
    block = TokenMerging(tokens_per_merge=per_merge).build(6)
    assert isinstance(block, ReduceBlock)
    got = block.reduce(features, Grid(1, cols))
    for image, kept, merged in zip(features.double(), got.kept.tolist(), got.merged.tolist(), strict=True):
        assert (kept, merged) == tome_by_hand(image, math.ceil(cols / 4), per_merge)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_chosen_from_in_float32(name: str, dtype: torch.dtype) -> None:
    grid = Grid(16, 16)
    features = random_features(grid, dim=16, batch=8).to(dtype)
    wide, narrow = (reduced(name, one, grid) for one in (features.float(), features))
    assert torch.equal(wide.kept, narrow.kept)
    assert torch.equal(wide.merged, narrow.merged)
    got = block_of(name)(features, grid)
    assert got.dtype == dtype
    assert torch.equal(got, block_of(name)(features.float(), grid).to(dtype))


@pytest.mark.parametrize("name", CHOOSING)
def test_autocast_changes_no_choice(name: str) -> None:
    features = random_features(Grid(16, 16), dim=64)
    want = reduced(name, features, Grid(16, 16))
    with torch.autocast("cpu", torch.bfloat16):
        got = reduced(name, features, Grid(16, 16))
    assert torch.equal(got.kept, want.kept)
    assert torch.equal(got.merged, want.merged)


@pytest.mark.parametrize("name", MERGING)
def test_every_patch_of_a_merged_token_gets_a_gradient(name: str) -> None:
    features = random_features(GRID).requires_grad_()
    block_of(name)(features, GRID).sum().backward()
    assert features.grad is not None
    assert (features.grad.abs().sum(-1) > 0).all()


@pytest.mark.parametrize("name", ["divprune", "farthest_point", "random_patches", "every_kth"])
def test_only_kept_patches_get_a_gradient(name: str) -> None:
    features = random_features(GRID).requires_grad_()
    block_of(name)(features, GRID).sum().backward()
    assert features.grad is not None
    want = torch.zeros(2, GRID.size).scatter(1, reduced(name, features, GRID).kept, 1.0)
    assert torch.equal(features.grad, want[..., None].expand_as(features))


@every_kind
def test_features_that_are_not_numbers_are_still_tokens(name: str) -> None:
    features = random_features(GRID)
    features[0, 5] = torch.nan
    got = reduced(name, features, GRID)
    assert (got.kept.diff() > 0).all()
    assert torch.equal(got.kept[1], reduced(name, features[1:], GRID).kept[0])


# The methods.


@every_kind
def test_the_tokens_are_a_count_without_places(name: str) -> None:
    spec = method(name, reduction=5)
    assert spec.out_grid(Grid(27, 27)) == Queries(146)
    assert method(name).num_tokens(Grid(24, 24)) == 144
    assert method(name, reduction=1000).num_tokens(Grid(24, 24)) == 1


@every_kind
def test_a_connector_s_first_block_says_what_each_token_is_made_of(name: str) -> None:
    connector = method(name).build(vision_dim=6, llm_dim=8)
    block = connector.blocks[0]
    assert isinstance(block, ReduceBlock)
    features = random_features(GRID, batch=1).requires_grad_()
    tokens = connector(features, GRID)[0]
    choice = block.reduce(features, GRID)
    for number, token in enumerate(tokens):
        (gradient,) = torch.autograd.grad(token.sum(), features, retain_graph=True)
        is_heard = gradient[0].abs().sum(-1) > 0
        own = choice.merged[0] == number if name in MERGING else torch.arange(GRID.size) == choice.kept[0, number]
        assert torch.equal(is_heard, own)


@every_kind
@pytest.mark.parametrize(
    ("options", "message"),
    [({"reduction": 0}, "needs a whole reduction of at least 1, got 0"), ({"reduction": "four"}, "reduction: ")],
)
def test_a_reduction_that_is_none_is_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        METHODS[name](**options)


def test_steps_of_more_than_half_are_refused() -> None:
    with pytest.raises(SpecError, match="token_merging needs tokens_per_merge of at least 2, got 1"):
        method("tome", tokens_per_merge=1)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "prumerge"])
def test_prefix_tokens_are_refused_by_all_that_do_not_read_them(name: str) -> None:
    with pytest.raises(GridError, match=r"choose patches works on places, but 1 \+ 8 x 12 begins with prefix tokens"):
        method(name).out_grid(Grid(8, 12, prefix=1))


@every_kind
def test_tokens_without_places_are_refused(name: str) -> None:
    with pytest.raises(GridError, match="choose patches works on places, but 9 learned queries have none"):
        KINDS[name]().out_grid(Queries(9))


@every_kind
def test_a_method_is_its_reduction_and_an_mlp(name: str) -> None:
    spec = method(name, reduction=9, hidden=(10,), has_bias=False)
    assert spec.blocks[0] == KINDS[name](reduction=9)
    assert [block.kind for block in spec.blocks[1:]] == ["linear", "activation", "linear"]
    assert spec.num_params(vision_dim=6, llm_dim=8) == 6 * 10 + 10 * 8
    assert ConnectorSpec.from_json(spec.to_json()) == spec
