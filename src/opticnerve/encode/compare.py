"""Several methods on the same images: the encoder runs once, every connector reads the same features."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor

from opticnerve.connectors import method
from opticnerve.encode.compressor import Compressed, Compressor
from opticnerve.errors import OpticNerveError
from opticnerve.views import Features, TiledEncoder, ViewSettings, fitting_method


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodRow:
    """What one method makes of all images together."""

    method: str
    """Its name."""
    reason: str = ""
    """Why it cannot take these images, in one line; empty where it can, and then the rest is filled."""
    num_params: int = 0
    """Learned numbers of the connector."""
    num_tiles: int = 0
    """Tiles that the encoder saw."""
    num_features: int = 0
    """Features that reached the connector."""
    num_tokens: int = 0
    """Visual tokens."""
    encoder_flops: int = 0
    """Operations of the encoder."""
    connector_flops: int = 0
    """Operations of the connector."""
    encode_ms: float = 0.0
    """Milliseconds for tiling and encoder; the methods share one run, so that it is the same for all."""
    connect_ms: float = 0.0
    """Milliseconds for the connector."""

    @property
    def ratio(self) -> float:
        """Features for each visual token."""
        return self.num_features / self.num_tokens if self.num_tokens else 0.0


def compare(
    images: Sequence[UInt8[Tensor, "3 _ _"]],
    names: Iterable[str],
    settings: ViewSettings,
    *,
    llm_dim: int = 2048,
    seed: int = 0,
) -> Iterator[MethodRow]:
    """Compress the same images by several methods, with random weights.

    The features of all images are held in memory, once for each number of levels that a method reads.

    Args:
        images: pixels, 0 to 255; at least one.
        names: keys of `METHODS`; every method has its own defaults.
        settings: how images are seen.
        llm_dim: width of the LLM's embeddings.
        seed: of the weights.

    Returns:
        One row for each method, in order, as they are finished.

    Raises:
        OpticNerveError: the settings fit no method at all, for example because there is no such encoder.
    """
    views: dict[int, tuple[TiledEncoder, list[Features]]] = {}
    for name in names:
        spec = method(name)
        try:
            if spec.num_levels not in views:
                tiled = settings.load(num_levels=spec.num_levels)
                views[spec.num_levels] = tiled, [tiled.encode(image) for image in images]
            tiled, features = views[spec.num_levels]
            spec = fitting_method(name, tiled.sight, {})
            compressor = Compressor.with_random_weights(tiled, spec, llm_dim=llm_dim, seed=seed)
            yield _row(name, compressor, features)
        except OpticNerveError as error:
            if not views:
                raise
            yield MethodRow(method=name, reason=str(error))


def _row(name: str, compressor: Compressor, features: Iterable[Features]) -> MethodRow:
    results: list[Compressed] = [compressor.connect(one) for one in features]
    counts = [result.counts for result in results]
    return MethodRow(
        method=name,
        num_params=compressor.num_params,
        num_tiles=sum(one.num_tiles for one in counts),
        num_features=sum(one.num_features for one in counts),
        num_tokens=sum(one.num_tokens for one in counts),
        encoder_flops=sum(one.encoder_flops for one in counts),
        connector_flops=sum(one.connector_flops for one in counts),
        encode_ms=sum(result.stage_ms["tile"] + result.stage_ms["encode"] for result in results),
        connect_ms=sum(result.stage_ms["connect"] for result in results),
    )
