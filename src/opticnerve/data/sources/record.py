"""One record of a data set, in any of the usual shapes, to a conversation."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from opticnerve.data.samples import IMAGE, ImageSource, Message, Role, Sample
from opticnerve.errors import BadSampleError

ROLES: Mapping[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}
"""What the speakers are called in data sets, and here."""


def read_record(record: object, images: Sequence[ImageSource], *, name: str) -> Sample:
    """Turn a record with `conversations` (LLaVA) or `messages` (chat format) into a sample.

    LLaVA records: a message with one image mark that does not stand first gets it moved to its start, on a line of
    its own, and an answer that comes before the first question is left out, as LLaVA does when it trains.

    Chat records: the content of a message is text, or a list of text and image parts, which are joined by line
    breaks, as the model's processor does; where no message marks the images, they stand at the start of the first
    user message, as in TRL.

    Args:
        record: what the data set holds for one sample.
        images: its images, in order.
        name: of the sample, for logs.

    Raises:
        BadSampleError: the record has neither of the two, or one that is not made as it should.
    """
    if not isinstance(record, Mapping):
        raise BadSampleError(name, f"the record is not an object with keys, but {type(record).__name__}")
    fields = cast("Mapping[str, Any]", record)
    if fields.get("conversations") is not None:
        turns = _turns(fields["conversations"], "conversations", name)
        messages = _from_user(tuple(_image_first(_message(turn, "from", "value", name)) for turn in turns))
    elif fields.get("messages") is not None:
        turns = _turns(fields["messages"], "messages", name)
        messages = _marked(tuple(_message(turn, "role", "content", name) for turn in turns), len(images))
    else:
        known = ", ".join(map(str, fields)) or "none"
        raise BadSampleError(name, f'the record has neither "conversations" nor "messages"; its keys: {known}')
    return Sample(id=name, messages=messages, images=tuple(images))


def image_names(record: object, *, name: str) -> list[Any]:
    """List what a record says about its images: `images`, or else `image`; one, a list, or nothing.

    Args:
        record: what the data set holds for one sample.
        name: of the sample, for logs.

    Raises:
        BadSampleError: the record is not an object with keys.
    """
    if not isinstance(record, Mapping):
        raise BadSampleError(name, f"the record is not an object with keys, but {type(record).__name__}")
    fields = cast("Mapping[str, Any]", record)
    given = fields["images"] if fields.get("images") is not None else fields.get("image")
    if given is None:
        return []
    return list(cast("list[Any]", given)) if isinstance(given, list | tuple) else [given]


def _turns(turns: object, key: str, name: str) -> list[Mapping[str, Any]]:
    if not isinstance(turns, list | tuple) or not all(isinstance(turn, Mapping) for turn in cast("list[Any]", turns)):
        raise BadSampleError(name, f'"{key}" is not a list of messages')
    return list(cast("list[Mapping[str, Any]]", turns))


def _message(turn: Mapping[str, Any], role_key: str, content_key: str, name: str) -> Message:
    speaker: object = turn.get(role_key)
    if not isinstance(speaker, str) or speaker not in ROLES:
        raise BadSampleError(name, f'"{role_key}": "{speaker}" is not a known role: {", ".join(ROLES)}')
    content = turn.get(content_key)
    if isinstance(content, list | tuple):
        content = "\n".join(_part(part, name) for part in cast("list[Any]", content))
    if not isinstance(content, str):
        raise BadSampleError(name, f'"{content_key}" of the {speaker} is not text, but {type(content).__name__}')
    return Message(role=ROLES[speaker], content=content)


def _part(part: object, name: str) -> str:
    fields = cast("Mapping[str, Any]", part if isinstance(part, Mapping) else {})
    if fields.get("type") == "image":
        return IMAGE
    text = fields.get("text")
    if fields.get("type") != "text" or not isinstance(text, str):
        raise BadSampleError(name, f'a part of a message is neither "text" nor "image", but {part!r:.80}')
    return text


def _image_first(message: Message) -> Message:
    content = message.content
    if content.count(IMAGE) != 1 or content.startswith(IMAGE):
        return message
    return Message(role=message.role, content=f"{IMAGE}\n{content.replace(IMAGE, '').strip()}")


def _from_user(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    first = next((index for index, message in enumerate(messages) if message.role != "system"), 0)
    is_answer = first < len(messages) and messages[first].role == "assistant"
    return (*messages[:first], *messages[first + 1 :]) if is_answer else messages


def _marked(messages: tuple[Message, ...], num_images: int) -> tuple[Message, ...]:
    if any(IMAGE in message.content for message in messages):
        return messages
    first = next((index for index, message in enumerate(messages) if message.role == "user"), None)
    if first is None or not num_images:
        return messages
    marked = Message(role="user", content=f"{IMAGE}\n" * num_images + messages[first].content)
    return (*messages[:first], marked, *messages[first + 1 :])
