"""A recipe: a model's parts by name, and the stages that train it, as plain data.

Everything here is read from YAML, overridden with `--set key=value`, written beside the checkpoints, and read again.
Unknown keys and wrong types are refused with their place.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from opticnerve.data.reading import KINDS_OF_QUESTION


class Plain(BaseModel):
    """Frozen settings; a key that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSettings(Plain):
    """Which parts a vision-language model is made of."""

    encoder: str = "bundled"
    """Name, folder or hub name: see `load_encoder`."""
    layers: Literal["last", "fitting"] | tuple[int, ...] = "fitting"
    """Layers of the encoder; "fitting" is the finished output, or the last layers where the connector reads several."""
    prefix: Literal["drop", "keep"] = "drop"
    """What becomes of CLS and register tokens."""
    tiling: str = "plain"
    """Name of the tiling."""
    tiling_options: dict[str, object] = Field(default_factory=dict[str, object])
    """Options of the tiling; what is left out fits the encoder, or has the tiling's default."""
    scales: tuple[float, ...] = (1,)
    """S2: multiples of the encoder's size at which each tile is seen."""
    method: str = "mlp"
    """Name of the connector's method."""
    method_options: dict[str, object] = Field(default_factory=dict[str, object])
    """Options of the method."""
    llm: str
    """Folder or hub name of a causal language model of transformers."""
    template: Literal["llm"] | str = "llm"
    """Chat template: the LLM's own, or the name of one of ours: see `opticnerve.vlm.TEMPLATES`."""


class ReadingData(Plain):
    """Pages, signs and charts that are rendered from a seed."""

    kind: Literal["reading"]
    split: Literal["train", "validation", "test"] = "train"
    """The splits share no seed and no word."""
    num_samples: int = Field(ge=1)
    """Images; the i-th is the same in every run."""
    level: float = Field(default=1.0, ge=0, le=1)
    """From 0, a thing or three in large type, to 1, many things, and glyphs of a few pixels."""
    num_questions: int = Field(default=4, ge=1)
    """Most questions about an image."""
    chart_share: float | None = Field(default=None, ge=0, le=1)
    """Share of images with a bar chart, signs aside; None is what the level has: 0.4 at level 1."""
    kinds: tuple[str, ...] = KINDS_OF_QUESTION
    """Kinds of question; an image that allows none of them is asked others."""
    has_pictures: bool = True
    """Without pictures a sample is its questions and labels alone: for the objective "symbols"."""


class PicturesData(Plain):
    """Data with pictures from outside."""

    stored: str = ""
    """Folder that `opticnerve encode` wrote: what is stored of each image is read in place of its picture."""


class LlavaData(PicturesData):
    """LLaVA-format JSON (or JSON Lines) with its images in a folder."""

    kind: Literal["llava"]
    path: str
    """The JSON file."""
    images: str = "."
    """The folder that image names are relative to."""


class HuggingFaceData(PicturesData):
    """A Hugging Face data set with `messages` (or `conversations`) and `images` (or `image`) columns."""

    kind: Literal["huggingface"]
    path: str
    """Hub name, or a folder written by `save_to_disk` or with Parquet files."""
    name: str = "default"
    """Configuration."""
    split: str = "train"
    streaming: bool = False
    """Read on while training; then resuming replays the stream up to where it was."""


class WebDatasetData(PicturesData):
    """Tar shards: one JSON and its images under one key."""

    kind: Literal["webdataset"]
    shards: str
    """A path with a glob or a {000..099} range."""
    streaming: bool = False
    """Read on while training, instead of indexing the shards first."""


Data = Annotated[ReadingData | LlavaData | HuggingFaceData | WebDatasetData, Field(discriminator="kind")]
"""Where samples come from."""


class Lora(Plain):
    """Low-rank adapters instead of the LLM's own weights (peft)."""

    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Names of the layers that get one."""


class Answers(Plain):
    """The loss of every published stage: next token, on answers only."""

    kind: Literal["answers"] = "answers"


class Symbols(Plain):
    """The LLM learns the questions on visual tokens that are spelled out, not seen; needs the reading task."""

    kind: Literal["symbols"]
    grids: tuple[tuple[PositiveInt, PositiveInt], ...] = Field(default=((16, 16), (8, 8), (4, 4), (2, 2)), min_length=1)
    """Rows and columns of the visual tokens of an image, one of these for each micro-batch."""


class Alignment(Plain):
    """The connector learns to spell out what each visual token shows; needs the reading task."""

    kind: Literal["alignment"]


Objective = Annotated[Answers | Symbols | Alignment, Field(discriminator="kind")]
"""What a stage minimises."""


class Stage(Plain):
    """One stage of training."""

    name: str
    """Of its folder below the run's."""
    open: dict[str, float]
    """What trains, and at which peak learning rate: "connector", "llm", "encoder", or a range of layers, such as
    "llm.layers.16-31". The most precise name wins. What is not named is frozen."""
    data: tuple[Data, ...] = Field(min_length=1)
    """Sources, mixed in proportion to their sizes."""
    template: Literal["model"] | str = "model"
    """Chat template of this stage: the model's, or the name of one of ours. The last stage's stays with the model."""
    tiling_options: dict[str, object] = Field(default_factory=dict[str, object])
    """Options of the model's tiling that differ in this stage, such as fewer tiles. The trained model has its own."""
    method_options: dict[str, object] = Field(default_factory=dict[str, object])
    """Options of the model's method that differ in this stage, such as a selection that keeps all patches. The weights
    must be the same ones. The trained model has its own."""
    elastic: tuple[dict[str, object], ...] = ()
    """Options of the method at several budgets, on top of `method_options`: one of these for each step, in turn, so
    that one connector learns to be asked for any of them. The weights must be the same ones."""
    objective: Objective = Answers()
    epochs: float | None = Field(default=None, gt=0)
    """Times through the data; or `steps`."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; or `epochs`."""
    batch_size: int = Field(ge=1)
    """Samples of an optimizer step, over all processes and accumulated micro-batches."""
    micro_batch_size: int = Field(default=8, ge=1)
    """Samples that one process holds at once."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Muon takes the matrices of linear layers, and AdamW the rest; for what is trained from nothing."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps in which the rate rises."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Steps in which the rate rises, instead of `warmup_ratio`."""
    min_lr_ratio: float = Field(default=0.0, ge=0, le=1)
    """Where the cosine ends, as a share of the peak."""
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float = Field(default=1.0, ge=0)
    """0 does not clip."""
    max_tokens: int = Field(default=2048, ge=1)
    """Longest sample, visual tokens included; longer ones are skipped and counted."""
    precision: Literal["fp32", "bf16"] = "bf16"
    gradient_checkpointing: bool = False
    sharding: Literal["ddp", "fsdp2"] = "ddp"
    """What several processes do: each holds everything, or each holds a share of weights and optimizer."""
    packing: bool = False
    """Several samples in one row, up to `max_tokens`, without seeing each other."""
    group_by_length: bool = False
    """Samples of like length share a batch; samples without an image stay among themselves."""
    lora: Lora | None = None
    """Adapters for the LLM; `open` must then name "llm"."""
    cache_features: bool = False
    """Run a frozen encoder once for each image, not once for each epoch, and keep the features on disk."""

    @model_validator(mode="after")
    def _is_whole(self) -> "Stage":
        if (self.epochs is None) == (self.steps is None):
            given = "neither" if self.epochs is None else "both"
            raise ValueError(f"needs epochs or steps, got {given}")
        self._check_objective()
        if self.lora is not None and "llm" not in self.open:
            raise ValueError('lora needs "llm" in open, with the learning rate of the adapters')
        return self

    def _check_objective(self) -> None:
        """Refuse an objective whose labels the data do not have, or that has no use for budgets."""
        kind = self.objective.kind
        if self.elastic and (len(self.elastic) == 1 or kind == "symbols"):
            raise ValueError("elastic needs two budgets or more, and an objective that sees images")
        if kind == "answers":
            return
        wants_pictures = kind == "alignment"
        has_labels = all(isinstance(one, ReadingData) and one.has_pictures is wants_pictures for one in self.data)
        if not has_labels or (kind == "symbols" and self.packing):
            need = f"kind: reading, has_pictures: {str(wants_pictures).lower()}"
            raise ValueError(f'the objective "{kind}" needs data of {need}, and no packing of symbols')


class Recipe(Plain):
    """A model and its stages."""

    name: str
    source: str
    """Paper, repository and script that the numbers are from."""
    model: ModelSettings
    stages: tuple[Stage, ...] = Field(min_length=1)
    seed: int = 0
    save_every: int = Field(default=500, ge=1)
    """Optimizer steps between checkpoints."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Checkpoints of a stage that stay on disk."""
    log_every: int = Field(default=10, ge=1)
    """Optimizer steps between log lines."""
    max_bad_share: float = Field(default=0.01, ge=0, le=1)
    """The run stops when a larger share of the samples is bad."""
    report_to: tuple[str, ...] = ()
    """Trackers of transformers: "tensorboard", "trackio", "wandb"."""
    features: str = ""
    """Folder for the features of stages with `cache_features`, which runs may share; empty for one of the run's own."""
    num_workers: int = Field(default=0, ge=0)
    """Processes that read and cut images, for each training process."""
