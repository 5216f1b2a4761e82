"""Attention over images of many grids: a loop over distinct grids, padding with a mask, or nested tensors.

Interleaved in one process, medians. `python benchmarks/ragged.py [--threads 1] [--rounds 9] [--device cpu]`.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from opticnerve import Grid

Way = Callable[[Tensor, list[Tensor], list[Tensor]], list[Tensor]]
HEADS, HEAD_DIM = 16, 72
DIM = HEADS * HEAD_DIM


def heads(tokens: Tensor) -> Tensor:
    """(tokens, dim) or (batch, tokens, dim) to heads before tokens."""
    return tokens.unflatten(-1, (HEADS, HEAD_DIM)).transpose(-3, -2)


def loop(query: Tensor, keys: list[Tensor], values: list[Tensor]) -> list[Tensor]:
    """Images of one grid are one batch."""
    out: list[Tensor] = [query] * len(keys)
    members: dict[int, list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(len(key), []).append(index)
    for own in members.values():
        k, v = (heads(torch.stack([tokens[index] for index in own])) for tokens in (keys, values))
        looked = functional.scaled_dot_product_attention(heads(query).expand(len(own), -1, -1, -1), k, v)
        for index, tokens in zip(own, looked, strict=True):
            out[index] = tokens
    return out


def padded(query: Tensor, keys: list[Tensor], values: list[Tensor]) -> list[Tensor]:
    """All images are one batch, as long as the longest."""
    k, v = (heads(torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)) for tokens in (keys, values))
    lengths = torch.tensor([len(key) for key in keys], device=query.device)
    mask = (torch.arange(k.shape[-2], device=query.device) < lengths[:, None])[:, None, None]
    mask = mask.expand(-1, 1, len(query), -1)
    return list(
        functional.scaled_dot_product_attention(heads(query).expand(len(keys), -1, -1, -1), k, v, attn_mask=mask)
    )


def nested(query: Tensor, keys: list[Tensor], values: list[Tensor]) -> list[Tensor]:
    """All images are one jagged tensor."""
    q = torch.nested.nested_tensor_from_jagged(
        query.repeat(len(keys), 1), torch.arange(len(keys) + 1, device=query.device) * len(query)
    )
    lengths = torch.tensor([0, *(len(key) for key in keys)], device=query.device)
    k, v = (torch.nested.nested_tensor_from_jagged(torch.cat(tokens), lengths.cumsum(0)) for tokens in (keys, values))
    q, k, v = (tokens.unflatten(-1, [HEADS, HEAD_DIM]).transpose(1, 2) for tokens in (q, k, v))
    return list(functional.scaled_dot_product_attention(q, k, v).unbind())


def compare(title: str, grids: Sequence[Grid], *, queries: int, rounds: int, device: str) -> None:
    """Time all ways, round after round, and print medians and quartiles."""
    torch.manual_seed(0)
    query = torch.randn(queries, DIM, device=device)
    keys, values = ([torch.randn(grid.size, DIM, device=device) for grid in grids] for _ in range(2))
    ways: dict[str, Way] = {"loop": loop, "padded": padded, "nested": nested}
    wanted = loop(query, keys, values)
    for name, way in list(ways.items()):
        try:
            given = way(query, keys, values)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            print(f"  {name} cannot: {str(error).splitlines()[0][:100]}")
            del ways[name]
            continue
        for one, other in zip(given, wanted, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way(query, keys, values)
            if device == "cuda":
                torch.cuda.synchronize()
            times[name].append(1000 * (time.perf_counter() - start))
    lines = {name: statistics.quantiles(each, n=4) for name, each in times.items()}
    shown = ", ".join(f"{name} {q[1]:.1f} ms ({q[0]:.1f}-{q[2]:.1f})" for name, q in lines.items())
    ratios = ", ".join(f"{name} {lines['loop'][1] / q[1]:.2f}x" for name, q in lines.items() if name != "loop")
    print(f"{title}: {shown}; against the loop: {ratios}", flush=True)


@torch.inference_mode()
def main() -> None:
    """Compare on batches of images whose grids differ."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    slices = [Grid(32, 32), Grid(28, 36), Grid(36, 28), Grid(24, 42), Grid(42, 24)]
    batches = {
        "16 slices of 5 shapes alike (MiniCPM)": [slices[i % 5] for i in range(16)],
        "16 images, all different, 400-1000 keys": [Grid(20, 20 + 2 * i) for i in range(16)],
        "32 small images, all different, 64-312 keys": [Grid(8, 8 + i) for i in range(32)],
        "64 tiny images, all different, 16-79 keys": [Grid(1, 16 + i) for i in range(64)],
    }
    for title, grids in batches.items():
        for queries in (32, 64):
            compare(f"{title}, {queries} queries", grids, queries=queries, rounds=args.rounds, device=args.device)


if __name__ == "__main__":
    main()
