"""From a recipe's data to a feed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from opticnerve.data import Collator, ExampleMaker, Packer
from opticnerve.data.good_samples import GoodSamples, Source
from opticnerve.data.mixture import Mixture
from opticnerve.data.order import GroupedOrder, ShuffledOrder, measure
from opticnerve.data.reading import ReadingSource
from opticnerve.data.sources import (
    HuggingFaceSource,
    HuggingFaceStream,
    LlavaSource,
    WebDatasetSource,
    WebDatasetStream,
)
from opticnerve.data.streams import AsStream, GoodOfStream, Stream, StreamMixture
from opticnerve.train.errors import TrainingError
from opticnerve.train.feature_store import FeatureStore
from opticnerve.train.feed import Feed, Indexed, Streamed
from opticnerve.train.recipe import Data, HuggingFaceData, LlavaData, ReadingData, Recipe, Stage
from opticnerve.vlm import OpticNerveProcessor


def open_source(data: Data) -> Source | Stream:
    """Open one source.

    Args:
        data: names it.

    Raises:
        DataError: it cannot be opened.
    """
    if isinstance(data, ReadingData):
        return ReadingSource(**data.model_dump(exclude={"kind"}))
    if isinstance(data, LlavaData):
        return LlavaSource(data.path, images=data.images)
    if isinstance(data, HuggingFaceData):
        kind = HuggingFaceStream if data.streaming else HuggingFaceSource
        return kind(data.path, name=data.name, split=data.split)
    return WebDatasetStream(data.shards) if data.streaming else WebDatasetSource(data.shards)


def open_feed(
    recipe: Recipe,
    stage: Stage,
    processor: OpticNerveProcessor,
    *,
    log: Path,
    stores: Callable[[Data, Source], FeatureStore] | None = None,
) -> Feed:
    """Open the data of a stage.

    Args:
        recipe: seed, and how many bad samples are put up with.
        stage: names the data.
        processor: the model's, as it is in this stage.
        log: where bad samples are named.
        stores: from a source to its stored features, which take the place of its images; None where images are seen
            anew each time.

    Raises:
        DataError: a source cannot be opened.
        TrainingError: streams are to be grouped by length, or stored.
    """
    maker = ExampleMaker(processor, max_tokens=stage.max_tokens)
    collate: Any = Packer(processor, max_tokens=stage.max_tokens) if stage.packing else Collator(processor)
    sources = [open_source(data) for data in stage.data]
    if any(not isinstance(source, Source) for source in sources):
        if stores is not None:
            raise TrainingError(f'stage "{stage.name}" reads a stream, whose features cannot be stored by number.')
        if stage.group_by_length:
            raise TrainingError(f'stage "{stage.name}" reads a stream, whose samples cannot be grouped by length.')
        stream = _stream(sources)
        make = GoodOfStream(maker.make, log=log, max_bad_share=recipe.max_bad_share)
        return Streamed(stream=lambda: stream, make=cast(Any, make), collate=collate)
    if stores is not None:
        sources = [stores(data, cast(Source, each)) for data, each in zip(stage.data, sources, strict=True)]
    source = Mixture(cast(Sequence[Source], sources))
    examples = GoodSamples(source, maker.make, log=log, max_bad_share=recipe.max_bad_share)
    order = (
        GroupedOrder(lengths=measure(source, maker), batch_size=stage.batch_size, seed=recipe.seed)
        if stage.group_by_length
        else ShuffledOrder(size=len(source), seed=recipe.seed)
    )
    return Indexed(dataset=examples, order=order, collate=collate, num_samples=len(source))


def _stream(sources: Sequence[Source | Stream]) -> Stream:
    streams = [AsStream(len(each), each.__getitem__) if isinstance(each, Source) else each for each in sources]
    return streams[0] if len(streams) == 1 else StreamMixture(streams)
