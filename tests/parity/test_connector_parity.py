"""Our connectors give the numbers of the reference implementations, on every case of the golden folder."""

import pytest
import torch

from parity import attention_cases, conv_cases, sequential_cases
from parity.golden import Case, assert_close, tensor_cases

ADAPTERS = {**sequential_cases.ADAPTERS, **attention_cases.ADAPTERS, **conv_cases.ADAPTERS}
ELSEWHERE = {"s2wrapper", "vila_dynamic_s2", "llava_anyres_pack"}  # test_multiscale_parity, test_geometry_parity

CASES = [case for case in tensor_cases() if case.method not in ELSEWHERE]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file.removesuffix(".safetensors"))
@torch.no_grad()
def test_the_connector_gives_the_reference_output(case: Case) -> None:
    got = ADAPTERS[case.method](case)
    assert got.keys() == case.outputs.keys()
    for name, want in case.outputs.items():
        assert_close(got[name], want)


def test_every_method_of_the_folder_is_checked_somewhere() -> None:
    assert {case.method for case in tensor_cases()} <= ADAPTERS.keys() | ELSEWHERE
