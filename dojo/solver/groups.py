"""Large batches in groups of lanes, one group after the other, on a CPU.

The lanes of a batch iterate in step: all of them wait for the slowest, and their data leaves the
cache. In groups each waits for the slowest of its own.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_batching import custom_vmap

# Lanes of a group: smaller ones cost more calls than they save iterations.
_LANES = 64


def in_groups(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` of pytrees of arrays, whose `vmap` takes large batches group by group."""

    @custom_vmap
    def grouped(*args: Any) -> Any:
        return f(*args)

    @grouped.def_vmap
    def rule(size: int, batched: list[Any], *args: Any) -> tuple[Any, Any]:
        count = 1 if jax.default_backend() != "cpu" else -(-size // _LANES)
        axes = jax.tree.map(lambda b: 0 if b else None, batched)
        lanes = jax.vmap(f, in_axes=tuple(axes))
        out = lanes(*args) if count == 1 else _one_by_one(lanes, count, size, batched, args)
        return out, jax.tree.map(lambda _: True, out)

    return grouped


def _one_by_one(
    lanes: Callable[..., Any], count: int, size: int, batched: list[Any], args: tuple[Any, ...]
) -> Any:
    """`lanes` of every group; the last lane fills up what is missing to whole groups."""
    leaves, tree = jax.tree.flatten(args)
    own = jax.tree.leaves(batched)
    rows = -(-size // count)

    def split(x: Array) -> Array:
        filled = jnp.concatenate([x, jnp.repeat(x[-1:], count * rows - size, axis=0)])
        # Neighbours go to different groups: a batch that lies on several devices stays there.
        return jnp.moveaxis(filled.reshape(rows, count, *x.shape[1:]), 1, 0)

    def joined(x: Array) -> Array:
        return jnp.moveaxis(x, 0, 1).reshape(count * rows, *x.shape[2:])[:size]

    def group(some: list[Array]) -> Any:
        rest = iter(some)
        every = [next(rest) if b else x for x, b in zip(leaves, own, strict=True)]
        return lanes(*jax.tree.unflatten(tree, every))

    groups = [split(x) for x, b in zip(leaves, own, strict=True) if b]
    return jax.tree.map(joined, lax.map(group, groups))
