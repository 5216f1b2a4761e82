"""Which of an encoder's layers to take."""

from typing import Literal

from opticnerve.errors import EncoderError

Layers = tuple[int, ...] | Literal["last"]
"""The finished output, or indices into the hidden states (before the final norm)."""


def resolve_levels(layers: Layers, *, num_layers: int, name: str) -> tuple[int, ...]:
    """Turn a choice of layers into numbers of hidden states, counted from the front.

    >>> resolve_levels((-2, 4), num_layers=24, name="clip")
    (23, 4)

    Args:
        layers: "last", or indices into the `num_layers + 1` hidden states.
        num_layers: transformer layers of the encoder.
        name: the encoder, as it stands in the message.

    Returns:
        Numbers from 0 (what enters the first layer) to `num_layers`; empty for "last".

    Raises:
        EncoderError: there is no such hidden state.
    """
    if layers == "last":
        return ()
    known = range(-num_layers - 1, num_layers + 1)
    if isinstance(layers, str) or not layers or any(index not in known for index in layers):
        raise EncoderError(
            f'encoder "{name}" has no layers={layers!r}: it has {num_layers} layers, so pass "last", or a tuple of '
            f"indices from 0 (what enters the first layer) to {num_layers}, or from -1 (what leaves the last) to "
            f"{-num_layers - 1}"
        )
    return tuple(index % (num_layers + 1) for index in layers)
