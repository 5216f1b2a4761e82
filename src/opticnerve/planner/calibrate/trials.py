"""Predictions against measurements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from opticnerve.planner.calibrate.clock import Spread
from opticnerve.planner.costs import Workload
from opticnerve.planner.demand import Demand
from opticnerve.planner.device import Device, DType
from opticnerve.planner.model import VisionLanguageModel
from opticnerve.planner.ranges import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One stage of one model: what was predicted, and what it took."""

    model: str
    stage: str
    """One of `plan.STAGES`."""
    predicted: Range
    """Milliseconds."""
    measured: Spread
    """Milliseconds."""

    @property
    def error(self) -> float:
        """The middle of the prediction over the median of the measurement, less 1."""
        return self.predicted.middle / self.measured.median - 1

    @property
    def is_within(self) -> bool:
        """The median lies in the predicted range."""
        return self.predicted.low <= self.measured.median <= self.predicted.high


def median_error(trials: Sequence[Trial]) -> float:
    """Return the median size of the errors.

    Args:
        trials: at least one.
    """
    return median(abs(trial.error) for trial in trials)


def predict(
    model: VisionLanguageModel, device: Device, *, size: tuple[int, int], text_tokens: int, dtype: DType
) -> Mapping[str, Range]:
    """Say how long each stage of one prompt with one image takes, as a plan does.

    Args:
        model: what runs.
        device: where.
        size: height and width of the image, in pixels.
        text_tokens: of the prompt, besides the image.
        dtype: of weights and activations.
    """
    look = model.look(*size)
    demand = Demand(text_tokens=text_tokens, dtype=dtype)
    work = Workload(model=model, device=device, demand=demand, look=look)
    return work.time(visual=look.num_tokens).stages
