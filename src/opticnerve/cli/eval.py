"""`opticnerve eval MODEL`: how many questions a model answers right."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal, cast

from cyclopts import Parameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opticnerve.data.good_samples import Source
    from opticnerve.evaluate import AskedImage, Evaluation
    from opticnerve.train.recipe import Data

_Paths = Annotated[tuple[str, ...], Parameter(name="--data", negative=())]


def evaluate_model(
    model: str,
    /,
    *,
    data: _Paths = (),
    images: str = ".",
    samples: int = 200,
    split: Literal["train", "validation", "test"] = "test",
    level: float = 1.0,
    max_new_tokens: int = 32,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Count exact matches, by kind of question, with 95 % bootstrap intervals over images.

    Without --data, the questions are those of the reading task, which is rendered here. Answers are greedy. They match
    if they are the same text, runs of blanks and a full stop at the end aside.

    Args:
        model: Folder, name on the Hugging Face hub, or bundled model.
        data: LLaVA-format JSON or JSON Lines, a folder of a Hugging Face data set, or tar shards; once for each.
        images: Folder that the image names of LLaVA-format data are relative to.
        samples: Most images of the reading task, or samples of each --data.
        split: Of the reading task.
        level: Of the reading task, from 0, easy, to 1, glyphs of a few pixels.
        max_new_tokens: Longest answer, in tokens.
        json: Print JSON, every answer included, instead of a table.
    """
    from opticnerve.cli.models import open_on_device
    from opticnerve.cli.progress import with_progress
    from opticnerve.cli.quiet import quietly
    from opticnerve.cli.terminal import print_json
    from opticnerve.errors import SpecError
    from opticnerve.evaluate import evaluate, reading_questions

    if samples < 1 or max_new_tokens < 1:
        raise SpecError(f"--samples and --max-new-tokens need at least 1, got {samples} and {max_new_tokens}")
    failed: list[str] = []
    if data:
        asked, total = _of_data(data, images=images, samples=samples, failed=failed)
    else:
        asked, total = reading_questions(num_samples=samples, split=split, level=level), samples
    with quietly():
        opened, processor = open_on_device(model)
        shown = with_progress(asked, total=total)
        found = evaluate(opened, processor, shown, max_new_tokens=max_new_tokens)
    source = f"reading task, {split} split, level {level:g}"
    if json:
        scores = [{**asdict(one), "share": one.share} for one in found.scores]
        facts = {"model": model, "data": list(data) or source, "device": str(opened.device), "failed": failed}
        print_json({**facts, **asdict(found), "scores": scores})
    else:
        _print(found, model=model, source=", ".join(data) or source, device=str(opened.device))
    return 1 if failed else 0


def _of_data(
    paths: tuple[str, ...], *, images: str, samples: int, failed: list[str]
) -> "tuple[Iterator[AskedImage], int]":
    """Open data sets, and take the first samples of each.

    Returns:
        Their questions, and the number of samples.

    Raises:
        DataError: a source cannot be read.
    """
    from opticnerve.train.sources import open_source

    sources = [cast("Source", open_source(_settings(path, images=images))) for path in paths]
    wanted = [(source, index) for source in sources for index in range(min(samples, len(source)))]
    return _good(wanted, failed), len(wanted)


def _good(wanted: "list[tuple[Source, int]]", failed: list[str]) -> "Iterator[AskedImage]":
    """Read samples; name those that cannot be read on stderr, and note them."""
    from opticnerve.cli.terminal import complain
    from opticnerve.errors import BadSampleError, ImageError
    from opticnerve.evaluate import sample_questions

    for source, index in wanted:
        try:
            yield from sample_questions([source[index]])
        except (BadSampleError, ImageError) as error:
            complain(f"skipped {error}")
            failed.append(str(error))


def _settings(path: str, *, images: str) -> "Data":
    from opticnerve.train.recipe import HuggingFaceData, LlavaData, WebDatasetData

    if path.endswith((".json", ".jsonl")):
        return LlavaData(kind="llava", path=path, images=images)
    if path.endswith(".tar"):
        return WebDatasetData(kind="webdataset", shards=path)
    return HuggingFaceData(kind="huggingface", path=path)


def _print(found: "Evaluation", *, model: str, source: str, device: str) -> None:
    from opticnerve.cli.terminal import print_table, say

    rows = [
        [
            one.kind,
            str(one.num_questions),
            str(one.num_right),
            f"{100 * one.share:.1f}",
            f"{100 * one.low:.1f} to {100 * one.high:.1f}",
        ]
        for one in found.scores
    ]
    columns = ["question", "asked", "right", "exact match\n%", "95 % interval\n%"]
    print_table(f"{model} on {source}", columns, rows)
    fewest, mean, most = found.visual_tokens
    tokens = f"{fewest}" if fewest == most else f"{fewest} to {most} (mean {mean:.0f})"
    say(
        f"{found.num_images} images; {tokens} visual tokens; {found.first_token_ms:.0f} ms to the first token "
        f"(median of {found.num_timed}, {device})."
    )
