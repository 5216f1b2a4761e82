"""`opticnerve ask IMAGE QUESTION`: a vision-language model answers."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from torch import Tensor

    from opticnerve.evaluate import Answer


def ask(
    image: str,
    /,
    *questions: str,
    model: str = "",
    method: str = "",
    all_methods: bool = False,
    max_new_tokens: int = 64,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Ask a vision-language model about an image; the answer appears as it is made.

    Args:
        image: Image file.
        questions: One or several; each is asked on its own.
        model: Folder, name on the Hugging Face hub, or bundled model; one of the bundled models if not given.
        method: The bundled model with this method.
        all_methods: Ask the bundled models of every method, and compare them.
        max_new_tokens: Longest answer, in tokens.
        json: Print JSON instead of text.
    """
    from pathlib import Path

    from opticnerve.cli.models import bundled, choose_model
    from opticnerve.cli.quiet import quietly
    from opticnerve.data import decode_image
    from opticnerve.errors import SpecError

    if not questions:
        raise SpecError('ask what? opticnerve ask IMAGE "QUESTION" ["QUESTION" ...]')
    if all_methods and (model or method):
        raise SpecError("--all-methods asks every bundled model: leave out --model and --method")
    if max_new_tokens < 1:
        raise SpecError(f"--max-new-tokens needs at least 1, got {max_new_tokens}")
    pixels = decode_image(Path(image))
    names = [member.name for member in bundled()] if all_methods else [choose_model(model, method)]
    asked = list(questions)
    with quietly():
        if all_methods:
            return _compare(names, pixels, image=image, questions=asked, max_new_tokens=max_new_tokens, json=json)
        return _ask(names[0], pixels, image=image, questions=asked, max_new_tokens=max_new_tokens, json=json)


def _ask(name: str, pixels: "Tensor", *, image: str, questions: list[str], max_new_tokens: int, json: bool) -> int:
    import sys

    from opticnerve.cli.models import open_on_device, warn_of_unknown
    from opticnerve.cli.terminal import print_json, say
    from opticnerve.evaluate import answer

    model, processor = open_on_device(name)
    warn_of_unknown(processor, model=name, questions=questions)
    entries: list[dict[str, object]] = []

    def show(text: str) -> None:
        if not json:
            sys.stdout.write(text)
            sys.stdout.flush()

    for question in questions:
        if len(questions) > 1 and not json:
            say(f"> {question}")
        given = answer(model, processor, [pixels], question, max_new_tokens=max_new_tokens, on_text=show)
        show("\n")
        entries.append(_entry(question, given))
        if not json:
            sys.stderr.write(f"{_cost(given)}\n")
    if json:
        print_json({"image": image, "model": name, "answers": entries})
    return 0


def _compare(
    names: list[str], pixels: "Tensor", *, image: str, questions: list[str], max_new_tokens: int, json: bool
) -> int:
    from opticnerve.cli.models import bundled, open_on_device, warn_of_unknown
    from opticnerve.cli.progress import with_progress
    from opticnerve.cli.terminal import print_json, print_table, say
    from opticnerve.evaluate import answer

    known = {member.name: member for member in bundled()}
    entries: list[dict[str, object]] = []
    rows: list[list[str]] = []
    for name in with_progress(names, total=len(names), what="models"):
        model, processor = open_on_device(name)
        if name == names[0]:
            warn_of_unknown(processor, model=name, questions=questions)
        answer(model, processor, [pixels], questions[0], max_new_tokens=1)  # warms up
        answers = [answer(model, processor, [pixels], one, max_new_tokens=max_new_tokens) for one in questions]
        of = {"model": name, "method": known[name].method}
        entries.append({**of, "answers": [_entry(one, given) for one, given in zip(questions, answers, strict=True)]})
        for one, given in zip(questions, answers, strict=True):
            asked = [one] if len(questions) > 1 else []
            cost = [str(given.num_visual_tokens), f"{given.first_token_ms:.0f}"]
            rows.append([name, *asked, given.text, *cost])
    if json:
        print_json({"image": image, "models": entries})
        return 0
    words = ["method", "question", "answer"] if len(questions) > 1 else ["method", "answer"]
    title = image if len(questions) > 1 else f"{image}: {questions[0]}"
    print_table(title, [*words, "tokens", "first token\nms"], rows, num_words=len(words))
    say("Tokens are visual tokens of the image; opticnerve show METHOD tells what a method does.")
    return 0


def _entry(question: str, given: "Answer") -> dict[str, object]:
    return {"question": question, **asdict(given)}


def _cost(given: "Answer") -> str:
    return (
        f"{given.num_visual_tokens} visual tokens of {given.num_prompt_tokens} in the prompt, "
        f"{given.first_token_ms:.0f} ms to the first token, {given.total_ms:.0f} ms in all"
    )
