"""Rows of contacts: generalized impulses of unit contact impulses.

A contact moves the degrees of freedom of two links and of their ancestors. In a model of one robot
those are a good part of all: rows are dense, and products with them a few large kernels. Among many
bodies they are few: rows hold these alone, and cost as much as there are contacts.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import contract, total
from dojo.model.layout import entries
from dojo.model.model import Model
from dojo.model.topology import Topology
from dojo.physics.collision import Candidates, contact_links, contact_moves
from dojo.physics.pairs import Table

# Rows are dense unless a model has this many times the degrees of freedom that a contact moves.
_MANY = 4


class ContactRows(NamedTuple):
    """A row for each candidate (nc), then for each component of friction of those that have it."""

    values: Array  # (s, nc + d nf)
    # (s, nc + d nf) degrees of freedom they belong to, nv: none; None: all of them, s = nv
    dofs: Table | None
    drift: Array | None = None  # (nc + d nf,) velocity along the rows by mocap bodies, None: none
    # (nc + d nf, nv) `values` transposed, None: not kept. What several impulses at once pull is
    # the product of matrices whose rows are read in order: a tenth of the time on a CPU.
    across: Array | None = None

    def speed(self, v: Array) -> Array:
        """Velocity along the rows at v (nv,), (nc + d nf,)."""
        return self.along(v) if self.drift is None else self.along(v) + self.drift

    def along(self, v: Array) -> Array:
        """Products with v (nv,), (nc + d nf,)."""
        if self.dofs is None:
            return contract(v, self.values)
        return total(self.values * jnp.append(v, 0.0)[self.dofs])

    def pulled(self, impulse: Array, nv: int) -> Array:
        """The generalized impulse (nv,) of impulses (nc + d nf,)."""
        if self.across is not None:
            return contract(impulse, self.across)
        if self.dofs is None:
            return contract(self.values, impulse)
        return _sums(self.values * impulse, self.dofs, nv + 1)[:-1]

    def products(self, answer: Array, model: Model) -> Array:
        """The sum of the rows times those of `answer`, (s, nc + d nf) like them: (nv, nv)."""
        if self.dofs is None:
            return contract(self.values, answer.T)
        nc, nf, n = model.topology.nc, model.topology.nc_friction, model.nv + 1
        blocks = self.values[:, None, :nc] * answer[None, :, :nc]
        # The components of friction first: they share their places.
        shape = (len(answer), model.topology.tangents, nf)
        sides, answers = (x[:, nc:].reshape(shape) for x in (self.values, answer))
        friction = total(sides[:, None] * answers[None], axis=2)
        blocks = jnp.concatenate([blocks[..., :nf] + friction, blocks[..., nf:]], axis=-1)
        dofs = self.dofs[:, :nc]
        return _sums(blocks, dofs[:, None] * n + dofs[None], n * n).reshape(n, n)[:-1, :-1]

    def dense(self, nv: int) -> Array:
        """All of the rows, (nv, nc + d nf)."""
        if self.dofs is None:
            return self.values
        count = self.values.shape[1]
        places = self.dofs * count + np.arange(count)
        return _sums(self.values, places, (nv + 1) * count).reshape(nv + 1, count)[:-1]


def drifts(model: Model, c: Candidates, screws: Array, twists: Array | None) -> Array | None:
    """Velocity along the screws of rows (6, nc + d nf) when links have these twists (6, nl)."""
    if twists is None:
        return None
    nc, nf = model.topology.nc, model.topology.nc_friction
    first, second = contact_links(model, c)
    of_links = jnp.append(twists, jnp.zeros_like(twists[:, :1]), axis=1)
    apart = of_links[:, second] - of_links[:, first]
    components = (screws.shape[1] - nc) // max(nf, 1)
    return total(screws * jnp.concatenate([apart, *components * [apart[:, :nf]]], axis=1))


def _sums(values: Array, places: Table, count: int) -> Array:
    """What the values add up to in each of `count` places."""
    return jnp.zeros(count, values.dtype).at[places.ravel()].add(values.ravel())


def contact_rows(model: Model, c: Candidates, screws: Array, axes: Array) -> ContactRows:
    """Rows of world wrenches (6, nc + d nf) on the second bodies, with motion axes (6, nv)."""
    nc, nf = model.topology.nc, model.topology.nc_friction
    components = (screws.shape[1] - nc) // max(nf, 1)
    table = _dofs_of_links(model.topology)
    if table is None:
        moves = contact_moves(model, c)
        moves = jnp.concatenate([moves, *components * [moves[:, :nf]]], axis=1)
        return ContactRows(contract(axes.T, screws) * moves, None)
    first, second = (entries(table, link).T for link in contact_links(model, c))
    joined = np.concatenate if isinstance(first, np.ndarray) else jnp.concatenate
    dofs = joined([first, second])
    every = joined([dofs, *components * [dofs[:, :nf]]], axis=1)
    moved = jnp.concatenate([axes, jnp.zeros_like(axes[:, :1])], axis=1)[:, every]
    sign = np.repeat([-1.0, 1.0], len(first))[:, None]
    return ContactRows(total(moved * screws[:, None]) * jnp.asarray(sign, axes.dtype), every)


@functools.lru_cache(maxsize=64)
def _dofs_of_links(topology: Topology) -> np.ndarray | None:
    """Degrees of freedom that move each link, nv where there are no more: (nl + 1, k).

    None where rows are better dense.
    """
    moves = topology.moves.astype(bool)
    most = int(moves.sum(axis=1).max(initial=0))
    nv = moves.shape[1]
    if nv < _MANY * 2 * most or not most:
        return None
    table = np.full((len(moves), most), nv)
    for row, which in zip(table, moves, strict=True):
        row[: which.sum()] = np.flatnonzero(which)
    return table
