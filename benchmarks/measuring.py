"""Time, memory and floor of a computation: rounds in turns, the allocator's peak, the matrix products on their own."""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from typing_extensions import override

Run = Callable[[], object]

aten = torch.ops.aten


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A median and the quartiles around it."""

    low: float
    median: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """Take the quartiles of at least one value."""
        low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
        return Spread(low=low, median=median, high=high)


def time_in_turns(runs: Mapping[str, Run], *, rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Run each once, then the next: A B A B.

    Args:
        runs: what to run, by name; warmed up by the caller.
        rounds: turns.
        device: what to wait for.

    Returns:
        Milliseconds of every round.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            _wait(device)
            start = time.perf_counter()
            run()
            _wait(device)
            times[name].append(1000 * (time.perf_counter() - start))
    return times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def often(run: Run, calls: int) -> Run:
    """Return what runs it so many times in a row."""

    def runs() -> None:
        for _ in range(calls):
            run()

    return runs


def ratios(first: Sequence[float], second: Sequence[float]) -> Spread:
    """Divide round by round, so that what slows the machine down for a while weighs on both."""
    return Spread.of([a / b for a, b in zip(first, second, strict=True)])


def peak_bytes(run: Run, *, inputs: Iterable[Tensor], device: torch.device) -> int:
    """Count the bytes that are alive at the widest moment, inputs included and weights not.

    Args:
        run: what to run; what it frees at the end is freed.
        inputs: tensors that are alive all the time.
        device: where they are.
    """
    alive = sum(tensor.nbytes for tensor in inputs)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return alive + torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return alive + max(accumulate(changes), default=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """Matrix products of a shape: (rows, inner) by (inner, cols), each of them `batch` times."""

    batch: int
    rows: int
    inner: int
    cols: int
    left_is_transposed: bool = False
    right_is_transposed: bool = False

    @property
    def flops(self) -> int:
        """2 for each multiply-add."""
        return 2 * self.batch * self.rows * self.inner * self.cols

    def prepare(self, *, dtype: torch.dtype, device: torch.device) -> Run:
        """Make operands that lie in memory as those of the real product did, and return what multiplies them."""
        left = _operand(self.batch, self.rows, self.inner, self.left_is_transposed, dtype=dtype, device=device)
        right = _operand(self.batch, self.inner, self.cols, self.right_is_transposed, dtype=dtype, device=device)
        out = torch.empty(self.batch, self.rows, self.cols, dtype=dtype, device=device)
        if self.batch == 1:
            left, right, out = left[0], right[0], out[0]
            return lambda: torch.mm(left, right, out=out)
        return lambda: torch.bmm(left, right, out=out)


def _operand(
    batch: int, rows: int, cols: int, is_transposed: bool, *, dtype: torch.dtype, device: torch.device
) -> Tensor:
    shape = (batch, cols, rows) if is_transposed else (batch, rows, cols)
    tensor = torch.randn(shape, dtype=dtype, device=device)
    return tensor.transpose(1, 2) if is_transposed else tensor


class Products(TorchDispatchMode):
    """Writes down the matrix products that run inside, those of attention and of dense convolutions included."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Product] = Counter()

    @override
    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Look at an operation, and do it."""
        out = func(*args, **(kwargs or {}))
        packet, name = func.overloadpacket, func.overloadpacket.__name__
        if packet in (aten.mm, aten.bmm):
            self._add(args[0], args[1])
        elif packet in (aten.addmm, aten.baddbmm):
            self._add(args[1], args[2])
        elif packet is aten.convolution and args[8] == 1:
            self._add_convolution(args[0], args[1], out)
        elif name.startswith("_scaled_dot_product"):
            self._add_attention(name, args)
        return out

    def _add(self, left: Tensor, right: Tensor) -> None:
        batch = left.shape[0] if left.ndim == 3 else 1
        rows, inner, cols = left.shape[-2], left.shape[-1], right.shape[-1]
        self.counts[
            Product(
                batch=batch,
                rows=rows,
                inner=inner,
                cols=cols,
                left_is_transposed=_is_transposed(left),
                right_is_transposed=_is_transposed(right),
            )
        ] += 1

    def _add_convolution(self, image: Tensor, weight: Tensor, out: Tensor) -> None:
        rows, cols = out.shape[0] * out.shape[2:].numel(), weight.shape[0]
        product = Product(batch=1, rows=rows, inner=weight[0].numel(), cols=cols, right_is_transposed=True)
        self.counts[product] += 1

    def _add_attention(self, name: str, args: tuple[Any, ...]) -> None:
        is_backward = name.endswith("backward")
        query, key = args[1:3] if is_backward else args[:2]
        batch, queries, keys, dim = query.shape[:2].numel(), query.shape[2], key.shape[2], query.shape[3]
        # weights and their mean going forward; gradients of values, weights, queries and keys coming back
        times = 2 if is_backward else 1
        look = Product(batch=batch, rows=queries, inner=dim, cols=keys, right_is_transposed=True)
        mix = Product(batch=batch, rows=queries, inner=keys, cols=dim)
        self.counts[look] += times
        self.counts[mix] += times


def _is_transposed(matrix: Tensor) -> bool:
    return matrix.stride(-2) == 1 and matrix.shape[-2] > 1 and matrix.stride(-1) != 1


def list_products(run: Run) -> Counter[Product]:
    """Say which matrix products a computation is made of."""
    with Products() as products:
        run()
    return products.counts


class Floor:
    """The least that a computation could take: its matrix products alone, or its bytes if they take longer.

    Args:
        products: what it multiplies.
        moved_bytes: inputs, weights and outputs, each once.
        bandwidth: bytes a millisecond.
        dtype: of the products.
        device: where they run.
    """

    def __init__(
        self,
        products: Mapping[Product, int],
        *,
        moved_bytes: int,
        bandwidth: float,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._products = dict(products)
        self._least_ms = moved_bytes / bandwidth
        self._dtype = dtype
        self._device = device

    def measure(self, *, rounds: int, calls: int = 1) -> float:
        """Time every shape on its own, and add the medians up; in milliseconds.

        Args:
            rounds: looks at the clock.
            calls: products between two looks.
        """
        total = 0.0
        for product, count in self._products.items():
            run = often(product.prepare(dtype=self._dtype, device=self._device), calls)
            run()
            times = time_in_turns({"": run}, rounds=rounds, device=self._device)[""]
            total += count * Spread.of(times).median / calls
        return max(total, self._least_ms)


def measure_bandwidth(device: torch.device, *, rounds: int = 7) -> float:
    """Copy a quarter of a gigabyte, and return bytes read and written a millisecond."""
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    copy = {"copy": lambda: target.copy_(source)}
    time_in_turns(copy, rounds=1, device=device)
    times = time_in_turns(copy, rounds=rounds, device=device)["copy"]
    return 2 * source.nbytes / Spread.of(times).median


def tensors_in(value: object) -> list[Tensor]:
    """List the tensors of nested tuples."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
