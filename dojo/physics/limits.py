"""Joint limits: two inequality rows for each limited joint, lower rows first."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.model.layout import placed, take
from dojo.model.model import Model


class LimitTable(NamedTuple):
    """Where the limited joints lie, (nlimit,) each."""

    q: np.ndarray
    dof: np.ndarray


def limit_table(model: Model) -> LimitTable:
    """The places of a model's limited joints."""
    t = model.topology
    return LimitTable(t.q_start[t.limited], t.v_start[t.limited])


def limit_gap(model: Model, q: Array) -> Array:
    """Distances to the limits, (2 nlimit,) [rad or m]."""
    at, bound = take(q, limit_table(model).q), model.joint_range
    return jnp.concatenate([at - bound[:, 0], bound[:, 1] - at])


def limit_rate(model: Model, v: Array) -> Array:
    """Rates of the distances, (2 nlimit,) [rad/s or m/s]."""
    speed = take(v, limit_table(model).dof)
    return jnp.concatenate([speed, -speed])


def limit_impulse(model: Model, rows: Array) -> Array:
    """Generalized impulse (nv,) of impulses (2 nlimit,) that keep the joints off their limits."""
    n = len(model.topology.limited)
    return placed(rows[:n] - rows[n:], limit_table(model).dof, model.nv)


def limit_weight(model: Model, rows: Array) -> Array:
    """Sum of what both rows of each limited joint (2 nlimit,) weigh on its dof, (nv,)."""
    n = len(model.topology.limited)
    return placed(rows[:n] + rows[n:], limit_table(model).dof, model.nv)
