"""Where the parts of q and v lie: static index tables by joint kind."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.model.topology import Topology


class Layout(NamedTuple):
    """Joints by kind, and their places in q and v."""

    scalar: np.ndarray  # hinge and slide joints
    ball: np.ndarray
    free: np.ndarray
    mocap: np.ndarray
    scalar_q: np.ndarray  # (k,)
    scalar_v: np.ndarray  # (k,)
    quat_q: np.ndarray  # (4, nball + nfree), balls first
    spin_v: np.ndarray  # (3, nball + nfree)
    place_q: np.ndarray  # (3, nfree)
    place_v: np.ndarray  # (3, nfree)
    mocap_q: np.ndarray  # (7, nmocap) place and quaternion

    @property
    def spinning(self) -> np.ndarray:
        """Joints with a quaternion: balls, then free ones."""
        return np.concatenate([self.ball, self.free])


@functools.lru_cache(maxsize=64)
def layout(topology: Topology) -> Layout:
    """The index tables of a topology."""
    scalar = topology.joints_of("hinge", "slide")
    ball, free, mocap = (topology.joints_of(kind) for kind in ("ball", "free", "mocap"))
    q, v = topology.q_start, topology.v_start
    three, four = np.arange(3)[:, None], np.arange(4)[:, None]
    return Layout(
        scalar=scalar,
        ball=ball,
        free=free,
        mocap=mocap,
        scalar_q=q[scalar],
        scalar_v=v[scalar],
        quat_q=four + np.concatenate([q[ball], q[free] + 3])[None],
        spin_v=three + np.concatenate([v[ball], v[free] + 3])[None],
        place_q=three + q[free][None],
        place_v=three + v[free][None],
        mocap_q=np.arange(7)[:, None] + q[mocap][None],
    )


def entries(table: np.ndarray, index: np.ndarray | Array) -> np.ndarray | Array:
    """Rows of a constant table, themselves constant where the index is."""
    return table[index] if isinstance(index, np.ndarray) else jnp.asarray(table)[index]


def take(x: Array, index: np.ndarray) -> Array:
    """x[..., index], as a slice where the indices follow each other: (..., *index.shape)."""
    flat = index.ravel()
    if not _consecutive(flat):
        return x[..., index]
    part = jax.lax.slice_in_dim(x, int(flat[0]), int(flat[-1]) + 1, axis=-1)
    return part.reshape(*x.shape[:-1], *index.shape)


def scalar_positions(topology: Topology, q: Array) -> Array:
    """Positions of the hinges and slides by degree of freedom, zero for others: (nv,)."""
    table = layout(topology)
    return placed(take(q, table.scalar_q), table.scalar_v, int(topology.v_start[-1]))


def placed(values: Array, index: np.ndarray, size: int) -> Array:
    """Values (k,) at their indices of a vector of `size`, zero elsewhere."""
    if not len(index):
        return jnp.zeros(size, values.dtype)
    if _consecutive(index):
        return jnp.pad(values, (int(index[0]), size - 1 - int(index[-1])))
    padded = jnp.concatenate([values, jnp.zeros(1, values.dtype)])
    # A gather: scattered additions are slow on every backend.
    place = np.full(size, len(index))
    place[index] = np.arange(len(index))
    return jnp.take(padded, jnp.asarray(place))


def assemble(parts: Sequence[tuple[np.ndarray, Array]], size: int) -> Array:
    """Put blocks (..., k) at their indices (k,) of a last axis of `size`; every index once."""
    parts = sorted((part for part in parts if part[0].size), key=lambda part: part[0].flat[0])
    index = np.concatenate([i.ravel() for i, _ in parts])
    blocks = [a.reshape(*a.shape[: a.ndim - i.ndim], -1) for i, a in parts]
    order = np.argsort(index)
    assert np.array_equal(index[order], np.arange(size))
    joined = jnp.concatenate(blocks, axis=-1)
    # Mostly in order already: spare the gather.
    return joined if (order == np.arange(size)).all() else joined[..., order]


def _consecutive(index: np.ndarray) -> bool:
    return index.size > 0 and bool((np.diff(index) == 1).all())
