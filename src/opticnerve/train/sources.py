"""From a recipe's data to a feed."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
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
from opticnerve.data.stored.folder import StoredFolder
from opticnerve.data.stored.lookup import Lookup, StoredSource, StoredStream
from opticnerve.data.streams import AsStream, GoodOfStream, Stream, StreamMixture
from opticnerve.errors import DataError
from opticnerve.train.errors import TrainingError
from opticnerve.train.feature_store import FeatureStore
from opticnerve.train.feed import Feed, Indexed, Streamed
from opticnerve.train.recipe import Data, HuggingFaceData, LlavaData, ReadingData, Recipe, Stage
from opticnerve.train.stored import stored_of
from opticnerve.train.turns import TurnDataset
from opticnerve.vlm import OpticNerveProcessor


def open_source(data: Data) -> Source | Stream:
    """Open one source of pictures.

    Args:
        data: names it.

    Raises:
        DataError: it cannot be opened, or its images are to be stored ones, which only stages read.
    """
    if stored_of(data):
        raise DataError(f'stored "{stored_of(data)}" is for the data of stages: here pictures are read, leave it out')
    return _pictures(data)


def _pictures(data: Data) -> Source | Stream:
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
    folders: Mapping[str, StoredFolder] = MappingProxyType({}),
    turns: Sequence[OpticNerveProcessor] = (),
) -> Feed:
    """Open the data of a stage.

    Args:
        recipe: seed, and how many bad samples are put up with.
        stage: names the data.
        processor: the model's, as it is in this stage.
        log: where bad samples are named.
        stores: from a source to its stored features, which take the place of its images; None where images are seen
            anew each time.
        folders: opened folders of stored images, by the names that the data give them.
        turns: the processor at each budget that the stage takes turns with; none where there is one budget.

    Raises:
        DataError: a source cannot be opened.
        TrainingError: streams are to be grouped by length, or stored, or made for several budgets.
    """
    maker = ExampleMaker(processor, max_tokens=stage.max_tokens)
    collate: Any = Packer(processor, max_tokens=stage.max_tokens) if stage.packing else Collator(processor)
    sources = [_looked_up(data, _pictures(data), folders) for data in stage.data]
    if any(not isinstance(source, Source) for source in sources):
        if stores is not None:
            raise TrainingError(f'stage "{stage.name}" reads a stream, whose features cannot be stored by number.')
        if stage.group_by_length:
            raise TrainingError(f'stage "{stage.name}" reads a stream, whose samples cannot be grouped by length.')
        if turns:
            raise TrainingError(f'stage "{stage.name}" reads a stream, which cannot be elastic: budgets go by number.')
        stream = _stream(sources)
        make = GoodOfStream(maker.make, log=log, max_bad_share=recipe.max_bad_share)
        return Streamed(stream=lambda: stream, make=cast(Any, make), collate=collate)
    if stores is not None:
        pairs = zip(stage.data, cast("list[Source]", sources), strict=True)
        sources = [each if stored_of(data) else stores(data, each) for data, each in pairs]
    source = Mixture(cast(Sequence[Source], sources))
    makers = [ExampleMaker(each, max_tokens=stage.max_tokens) for each in turns] or [maker]
    examples = [GoodSamples(source, each.make, log=log, max_bad_share=recipe.max_bad_share) for each in makers]
    order = (
        GroupedOrder(lengths=measure(source, maker), batch_size=stage.batch_size, seed=recipe.seed)
        if stage.group_by_length
        else ShuffledOrder(size=len(source), seed=recipe.seed)
    )
    dataset = TurnDataset(examples) if turns else examples[0]
    return Indexed(dataset=dataset, order=order, collate=collate, num_samples=len(source))


def _looked_up(data: Data, source: Source | Stream, folders: Mapping[str, StoredFolder]) -> Source | Stream:
    """Take the images of a source from the folder of stored ones that its data name."""
    if not stored_of(data):
        return source
    images = data.images if isinstance(data, LlavaData) else data.path if isinstance(data, HuggingFaceData) else "."
    lookup = Lookup(folder=folders[stored_of(data)], images=Path(images))
    return StoredSource(source, lookup) if isinstance(source, Source) else StoredStream(source, lookup)


def _stream(sources: Sequence[Source | Stream]) -> Stream:
    streams = [AsStream(len(each), each.__getitem__) if isinstance(each, Source) else each for each in sources]
    return streams[0] if len(streams) == 1 else StreamMixture(streams)
