"""The machine that is measured: what its cores or its GPU are called, hold and compute in."""

import os
import platform
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from opticnerve.planner.calibrate.clock import Clock
from opticnerve.planner.device import DType

TORCH_DTYPES: Mapping[DType, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
_NATIVE_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Flags of CPUs that compute in bfloat16 themselves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What torch runs on."""

    kind: str
    """ "cpu" or "cuda"."""
    title: str
    memory_bytes: int
    dtypes: tuple[DType, ...]
    """The first is what layers are measured in."""

    @property
    def clock(self) -> Clock:
        """A clock that waits for the device."""
        return Clock(finish=torch.cuda.synchronize if self.kind == "cuda" else _nothing)


def this_machine() -> Machine:
    """Describe what torch runs on here: the first GPU, or else the CPU."""
    if torch.cuda.is_available():
        facts = cast("Any", torch.cuda.get_device_properties(0))
        has_bf16 = torch.cuda.get_device_capability(0)[0] >= 8
        dtypes: tuple[DType, ...] = ("bf16", "fp16", "fp32") if has_bf16 else ("fp16", "fp32")
        return Machine(kind="cuda", title=facts.name, memory_bytes=facts.total_memory, dtypes=dtypes)
    facts = _cpu_facts()
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    name = facts.get("model name") or platform.processor() or platform.machine()
    dtypes = ("fp32", "bf16") if flags & _NATIVE_BF16 else ("fp32",)
    title = f"{name}, {torch.get_num_threads()} of {os.cpu_count()} cores"
    return Machine(kind="cpu", title=title, memory_bytes=_memory_bytes(), dtypes=dtypes)


@contextmanager
def threads(number: int) -> Generator[None]:
    """Let torch use some threads, and as many as before afterwards.

    Args:
        number: of threads; 0 leaves it as it is.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _nothing() -> None: ...


def _cpu_facts() -> Mapping[str, str]:
    """Read what Linux says of the first core; elsewhere nothing."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _memory_bytes() -> int:
    """Return the machine's memory, or what a container may take of it."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    words = limit.read_text(encoding="ascii").strip() if limit.exists() else "max"
    return min(whole, int(words)) if words.isdecimal() else whole
