"""Friction coefficients of contact candidates, after MuJoCo's combination rule.

The cone of a contact is elliptic: with coefficients mu_k of its components, sliding, torsional and
rolling, gamma >= |(f_1 / mu_1, f_2 / mu_2, ...)|. In units of mu_k / mu_1 it is round.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.model.model import Model
from dojo.model.topology import ContactGroup
from dojo.physics.pairs import Pairs, one_table

# A cone needs an interior: the least sliding coefficient a contact is simulated with. Coefficients
# over it must not be lost in single precision: where there are others, MuJoCo's own least one.
SMALLEST, SMALLEST_OF_SEVERAL = 1e-8, 1e-5


class Friction(NamedTuple):
    """Coefficients of the candidates with friction."""

    sliding: Array  # (nf,)
    shares: Array | None  # (d, nf) those of each component over it; None: two components alike


def friction_of(model: Model, groups: Sequence[tuple[ContactGroup, Pairs]]) -> Friction:
    """The coefficients of groups, with their entries that take part."""
    none = np.zeros(0, dtype=int)
    first, second, rule, pair = (
        one_table([none, *[getattr(pairs, field).repeat(g.rows) for g, pairs in groups]])
        for field in ("first", "second", "friction_rule", "pair")
    )

    def combined(of_geoms: Array) -> Array:
        a, b = of_geoms[first], of_geoms[second]
        return jnp.where(rule == 0, jnp.maximum(a, b), jnp.where(rule == 1, a, b))

    d, explicit = model.topology.tangents, len(model.pair_friction) > 0
    sliding = combined(model.geom_friction)
    if d == 2 and not explicit:
        return Friction(jnp.maximum(sliding, SMALLEST), None)
    torsional, rolling = (combined(x) for x in model.geom_spin_friction.T)
    every = jnp.stack([sliding, sliding, torsional, rolling, rolling])
    if explicit:
        every = jnp.where(pair >= 0, model.pair_friction[pair * (pair >= 0)].T, every)
    sliding = jnp.maximum(every[0], SMALLEST_OF_SEVERAL)
    condim = np.concatenate([none, *[np.full(len(g), g.condim) for g, _ in groups]])
    acts = np.arange(5)[:, None] < condim - 1
    return Friction(sliding, (jnp.where(acts, every, 0.0) / sliding)[:d])
