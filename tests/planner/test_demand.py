import pytest

from opticnerve.errors import PlanError
from opticnerve.planner.demand import Demand, read_size


def test_sizes_are_written_width_first_and_returned_height_first() -> None:
    assert read_size("2000x1500") == (1500, 2000)
    assert read_size("640 X 480") == (480, 640)


@pytest.mark.parametrize("text", ["2000", "2000x", "0x5", "axb", "1x2x3", "-3x4", ""])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match=f'an image size is WIDTHxHEIGHT in pixels, such as 2000x1500.*got "{text}"'):
        read_size(text)


def test_nothing_cannot_be_asked_for() -> None:
    with pytest.raises(PlanError, match="a plan needs batch of at least 1, got 0"):
        Demand(batch=0)
    with pytest.raises(PlanError, match="a plan needs text_tokens of at least 0, got -1"):
        Demand(text_tokens=-1)


def test_quantised_weights_have_activations_of_16_bits() -> None:
    assert (Demand(dtype="int4").weight_bytes, Demand(dtype="int4").value_bytes) == (0.5, 2)
    assert (Demand(dtype="fp32").weight_bytes, Demand(dtype="fp32").value_bytes) == (4, 4)
