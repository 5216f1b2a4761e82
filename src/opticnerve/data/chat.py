"""Write a conversation as its chat template has it, and know where the answers are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from opticnerve.data.samples import Message
from opticnerve.errors import BadSampleError, SpecError, first_line

_ADVICE = 'use another chat template, such as "chatml", or mark its answers with {% generation %}'
_QUESTION, _ANSWER = "question", "zanswerz"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of text."""

    start: int
    """First character."""
    stop: int
    """Character behind the last one."""


@dataclass(frozen=True, slots=True)
class _Closing:
    """What a template writes after an answer."""

    inside: str
    """Within the raw span: up to the end of the marked block, or of the whole turn."""
    end: str
    """What the model has to write: up to the first special token, so that it learns to stop."""


class ChatWriter:
    """A chat template that knows which characters of its text are answers.

    A template with {% generation %} blocks says so itself. Of another, the beginnings of the conversation are written
    one by one, and what a turn of the assistant adds is its answer. The token that ends an answer belongs to it.
    """

    def __init__(self, template: str, *, special_tokens: dict[str, Any], end_tokens: Sequence[str]) -> None:
        """Try the template on a conversation.

        Args:
            template: Jinja text.
            special_tokens: what templates call the special tokens: `tokenizer.special_tokens_map`.
            end_tokens: texts of the tokens of which one may end an answer.

        Raises:
            SpecError: the template cannot be split into prompts and answers.
        """
        self.template = template
        self.special_tokens = special_tokens
        self.is_marked = re.search(r"\{%-?\s*generation\s*-?%\}", template) is not None
        turn = (Message("user", _QUESTION), Message("assistant", _ANSWER))
        self._closing = self._probe(turn, end_tokens)
        self._rewrites = self._changes_turns((*turn, *turn))

    def write(self, messages: Sequence[Message], *, name: str) -> tuple[str, list[Span]]:
        """Write a conversation.

        Args:
            messages: the turns; the last is an answer.
            name: of the sample, for errors.

        Returns:
            The text, and where in it each answer is, the text of its end token included.

        Raises:
            SpecError: the conversation has several answers, and the template changes the earlier ones.
            BadSampleError: the template refuses or changes these messages.
        """
        num_answers = sum(message.role == "assistant" for message in messages)
        if num_answers > 1 and self._rewrites:
            raise SpecError(
                f"the chat template writes earlier turns differently once later ones follow, so the answers of a "
                f"conversation cannot be told from its prompts: {_ADVICE}"
            )
        try:
            text, spans = self._raw(messages)
        except _RewritesError as error:
            raise BadSampleError(name, f"the chat template writes its turns differently: {error}") from error
        except Exception as error:
            raise BadSampleError(name, f"the chat template refuses it: {first_line(error)}") from error
        answers = [message.content for message in messages if message.role == "assistant"]
        if len(spans) != num_answers:
            raise BadSampleError(name, f"the chat template writes {len(spans)} answers, but there are {num_answers}")
        return text, [self._answer(text, span, answer, name) for span, answer in zip(spans, answers, strict=True)]

    def _answer(self, text: str, span: Span, answer: str, name: str) -> Span:
        inside = self._closing.inside
        stop = span.stop - len(inside)
        is_whole = text[span.start : span.stop].endswith(inside)
        if not is_whole or not text[span.start : stop].strip().endswith(answer.strip()):
            raise BadSampleError(name, f"the chat template changes the answer {answer!r:.60}")
        end = self._closing.end
        return Span(span.start, stop + len(end) if text.startswith(end, stop) else span.stop)

    def _probe(self, turn: Sequence[Message], end_tokens: Sequence[str]) -> _Closing:
        try:
            text, spans = self._raw(turn)
        except Exception as error:
            raise SpecError(f"the chat template cannot write a conversation: {first_line(error)}") from error
        where = text.rfind(_ANSWER)
        if len(spans) != 1 or not spans[0].start <= where < spans[0].stop:
            raise SpecError(f"the chat template does not show where the answer begins: {_ADVICE}")
        lead = text[spans[0].start : where]
        if not self.is_marked and lead.strip() and not self._opens_answers(turn[:1]):
            raise SpecError(f"the chat template ignores add_generation_prompt, so prompts have no end: {_ADVICE}")
        after = text[where + len(_ANSWER) :]
        inside = text[where + len(_ANSWER) : spans[0].stop]
        found = [after.index(token) + len(token) for token in end_tokens if token and token in after]
        return _Closing(inside=inside, end=after[: min(found)] if found else inside)

    def _opens_answers(self, messages: Sequence[Message]) -> bool:
        return self._render(messages, opens_answer=True)[0] != self._render(messages, opens_answer=False)[0]

    def _changes_turns(self, messages: Sequence[Message]) -> bool:
        try:
            self._raw(messages)
        except _RewritesError:
            return True
        except Exception:  # it refuses several turns, and will say so of the samples that have them
            return False
        return False

    def _raw(self, messages: Sequence[Message]) -> tuple[str, list[Span]]:
        text, marks = self._render(messages, opens_answer=False)
        if self.is_marked:
            return text, [Span(*mark) for mark in marks]
        spans: list[Span] = []
        for index, message in enumerate(messages):
            if message.role == "assistant":
                prompt, _ = self._render(messages[:index], opens_answer=True)
                turn, _ = self._render(messages[: index + 1], opens_answer=False)
                if not turn.startswith(prompt) or not text.startswith(turn):
                    raise _RewritesError(f"{message.content!r:.60}")
                spans.append(Span(len(prompt), len(turn)))
        return text, spans

    def _render(self, messages: Sequence[Message], *, opens_answer: bool) -> tuple[str, list[tuple[int, int]]]:
        from transformers.utils import chat_template_utils

        conversation = [{"role": message.role, "content": message.content} for message in messages]
        render = cast("Any", chat_template_utils).render_jinja_template
        texts, marks = render(
            conversations=[conversation],
            chat_template=self.template,
            return_assistant_tokens_mask=self.is_marked,
            add_generation_prompt=opens_answer,
            **self.special_tokens,
        )
        return texts[0], cast("list[tuple[int, int]]", marks[0]) if self.is_marked else []


class _RewritesError(Exception):
    """The text of a beginning of a conversation is not the beginning of its text."""
