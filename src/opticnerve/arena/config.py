"""An arena as plain data: who competes, at which budgets, on which data, with how much training."""

from collections.abc import Sequence
from math import isqrt
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from opticnerve.train.recipe import LlavaData, ModelSettings, Plain, ReadingData, Stage

Test = Annotated[ReadingData | LlavaData, Field(discriminator="kind")]
"""What is asked, once a cell is trained."""

BUNDLED_LLM = "bundled"
"""Name of the language model that comes with this library."""
LANGUAGE_MODEL = Path(__file__).parent / "language_model"
"""Where it lies."""


class View(Plain):
    """One way to look at an image, under a name."""

    name: str
    tiling: str = "plain"
    """Name of the tiling."""
    tiling_options: dict[str, object] = Field(default_factory=dict[str, object])
    """Options of the tiling; what is left out fits the encoder."""
    scales: tuple[float, ...] = (1,)
    """S2: multiples of the encoder's size at which each tile is seen."""


class Entrant(Plain):
    """A method at one budget."""

    method: str
    """Name of the connector's method."""
    method_options: dict[str, object] = Field(default_factory=dict[str, object])
    """Options of the method."""
    view: str = ""
    """Name of the view; empty for the arena's first."""


class Contender(Plain):
    """A method that competes, and what it is asked for at each reduction."""

    name: str
    """In tables; one method may compete under several names."""
    at: dict[PositiveInt, Entrant] = Field(min_length=1)
    """The connector for each reduction."""
    align_options: dict[str, object] = Field(default_factory=dict[str, object])
    """Options of the method that differ while dense labels are learned: selections, whose tokens have no place to be
    labelled at, learn them without selecting, with the same weights."""
    is_baseline: bool = False
    """What a method has to beat."""
    is_elastic: bool = False
    """One connector for all of its reductions, with the weights of the first: trained once for each seed, at each of
    them in turn, as many steps as others are at one, and then asked at each."""

    @model_validator(mode="after")
    def _is_one_connector(self) -> "Contender":
        kinds = {(entrant.method, entrant.view) for entrant in self.at.values()}
        if self.is_elastic and (len(self.at) == 1 or len(kinds) > 1):
            given = ", ".join(f"{entrant.method} at {reduction}x" for reduction, entrant in self.at.items())
            raise ValueError(f"is_elastic needs one method and view at several reductions, got {given}")
        return self


class ArenaConfig(Plain):
    """Everything that decides what an arena measures.

    The first view sets the budgets: at a reduction of 4, each contender gives one visual token for every four features
    of that view, whatever it looks at itself.
    """

    name: str
    encoder: str = "bundled"
    """Name, folder or hub name: see `load_encoder`."""
    llm: str = BUNDLED_LLM
    """Folder or hub name of a causal language model; "bundled" is the one that comes with this library."""
    template: str = "llm"
    """Chat template: the LLM's own, or the name of one of ours."""
    views: tuple[View, ...] = Field(min_length=1)
    """Ways to look at an image; the first is one plain view of a fixed size."""
    contenders: tuple[Contender, ...] = Field(min_length=1)
    """Who competes, baselines aside: these are always there."""
    reductions: tuple[PositiveInt, ...] = Field(default=(4, 16), min_length=1)
    """Features of the first view for each visual token: squares."""
    seeds: tuple[int, ...] = Field(default=(0, 1), min_length=1)
    """Of connectors and of the order of the data."""
    stages: tuple[Stage, ...] = Field(min_length=1)
    """How each cell is trained: the same for all."""
    rates: tuple[float, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    """Factors on all learning rates of the stages; each contender takes the one that does best on `validation`."""
    search_share: float = Field(default=0.25, gt=0, le=1)
    """Steps of a search run, as a share of the stages'."""
    validation: Test
    """What chooses the rates. Never the test."""
    test: Test
    """What is reported."""
    max_new_tokens: PositiveInt = 32
    """Longest answer."""
    error_rate: float = Field(default=0.05, gt=0, lt=0.5)
    """Share of comparisons between equals that may be called different."""

    @model_validator(mode="after")
    def _is_whole(self) -> "ArenaConfig":
        views = [view.name for view in self.views]
        _refuse_twice(views, "views")
        _refuse_twice([one.name for one in self.contenders], "contenders")
        _refuse_twice(self.seeds, "seeds")
        _refuse_twice(self.rates, "rates")
        _refuse_twice(self.reductions, "reductions")
        for one in self.contenders:
            for name in {entrant.view for entrant in one.at.values()} - {"", *views}:
                raise ValueError(f'contender "{one.name}" looks through "{name}"; views: {", ".join(views)}')
        if self.validation == self.test:
            raise ValueError("validation and test are the same: what chooses must not be what is reported")
        if odd := [one for one in self.reductions if isqrt(one) ** 2 != one]:
            raise ValueError(f"reductions are squares, such as 4, 9 or 16, because both sides shrink; got {odd[0]}")
        if min(self.rates) <= 0:
            raise ValueError(f"rates are factors above 0, got {min(self.rates):g}")
        self._check_first_view()
        return self

    def _check_first_view(self) -> None:
        first = self.views[0]
        has_size = {"height_px", "width_px"} <= set(first.tiling_options)
        if first.tiling != "plain" or first.scales != (1,) or not has_size or first.tiling_options.get("fit") == "keep":
            raise ValueError(
                f'the first view sets the budgets, so "{first.name}" must be plain, with height_px, width_px, one'
                ' scale, and a fit of "stretch" or "pad"'
            )

    def view(self, entrant: Entrant) -> View:
        """Return what an entrant looks through.

        Args:
            entrant: names the view.
        """
        return next(view for view in self.views if entrant.view in ("", view.name))

    def model(self, entrant: Entrant) -> ModelSettings:
        """Say what an entrant's model is made of.

        Args:
            entrant: its method, options and view.
        """
        view = self.view(entrant)
        return ModelSettings(
            encoder=self.encoder,
            tiling=view.tiling,
            tiling_options=view.tiling_options,
            scales=view.scales,
            method=entrant.method,
            method_options=entrant.method_options,
            llm=str(LANGUAGE_MODEL) if self.llm == BUNDLED_LLM else self.llm,
            template=self.template,
        )


def _refuse_twice(names: Sequence[object], what: str) -> None:
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what} need to differ; twice: {', '.join(twice)}")
