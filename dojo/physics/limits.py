"""Joint limits: two inequality rows for each limited joint, lower rows first."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.model.model import Model
from dojo.physics.layout import placed


class LimitTable(NamedTuple):
    """Where the limited joints lie and which way their rows point."""

    q: np.ndarray  # (2 nlimit,) index in q
    dof: np.ndarray  # (2 nlimit,) index in v
    sign: np.ndarray  # (2 nlimit,) +1 lower, -1 upper


def limit_table(model: Model) -> LimitTable:
    """The rows of a model's joint limits."""
    t = model.topology
    both = np.concatenate([t.limited, t.limited])
    sign = np.repeat([1.0, -1.0], len(t.limited))
    return LimitTable(t.q_start[both], t.v_start[both], sign)


def on_joints(model: Model, rows: Array) -> Array:
    """Sum of row values (2 nlimit,) on the degrees of freedom they act on, (nv,)."""
    t = model.topology
    n = len(t.limited)
    return placed(rows[:n] + rows[n:], t.v_start[t.limited], model.nv)


def limit_gap(model: Model, q: Array) -> Array:
    """Distances to the limits, (2 nlimit,) [rad or m]."""
    table = limit_table(model)
    bound = jnp.concatenate([model.joint_range[:, 0], model.joint_range[:, 1]])
    return jnp.asarray(table.sign, q.dtype) * (q[table.q] - bound)
