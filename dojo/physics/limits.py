"""Limits of joints and tendons: two inequality rows each.

Lower limits of the joints, upper ones, then likewise of the tendons: 2 nlimit rows.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import add_diagonal, contract
from dojo.model.layout import placed, take
from dojo.model.model import Model
from dojo.physics.transmission import tendon_lengths


class LimitTable(NamedTuple):
    """Where the limited joints lie, (k,) each."""

    q: np.ndarray
    dof: np.ndarray


def limit_table(model: Model) -> LimitTable:
    """The places of a model's limited joints."""
    t = model.topology
    return LimitTable(t.q_start[t.limited], t.v_start[t.limited])


def tendon_rows(model: Model) -> Array:
    """Rates of the limited tendons' lengths, (ntlimit, nv)."""
    return model.tendon_coefficients[model.topology.limited_tendons]


def limit_gap(model: Model, q: Array) -> Array:
    """Distances to the limits, (2 nlimit,) [rad or m]."""
    at, bound = take(q, limit_table(model).q), model.joint_range
    joints = [at - bound[:, 0], bound[:, 1] - at]
    if not len(model.topology.limited_tendons):
        return jnp.concatenate(joints)
    length, bound = tendon_lengths(model, q)[model.topology.limited_tendons], model.tendon_range
    return jnp.concatenate([*joints, length - bound[:, 0], bound[:, 1] - length])


def limit_rate(model: Model, v: Array) -> Array:
    """Rates of the distances, (2 nlimit,) [rad/s or m/s]."""
    speed = take(v, limit_table(model).dof)
    if not len(model.topology.limited_tendons):
        return jnp.concatenate([speed, -speed])
    tendons = contract(tendon_rows(model), v)
    return jnp.concatenate([speed, -speed, tendons, -tendons])


def limit_impulse(model: Model, rows: Array) -> Array:
    """Generalized impulse (nv,) of impulses (2 nlimit,) that keep from the limits."""
    joints, tendons = _split(model, rows)
    on_joints = placed(joints[0] - joints[1], limit_table(model).dof, model.nv)
    if not len(model.topology.limited_tendons):
        return on_joints
    return on_joints + contract(tendons[0] - tendons[1], tendon_rows(model))


def add_limits(matrix: Array, model: Model, rows: Array) -> Array:
    """The matrix (nv, nv) and what the rows, weighed by (2 nlimit,), add to it."""
    joints, tendons = _split(model, rows)
    on_joints = placed(joints[0] + joints[1], limit_table(model).dof, model.nv)
    matrix = add_diagonal(matrix, on_joints)
    if not len(model.topology.limited_tendons):
        return matrix
    row = tendon_rows(model)
    return matrix + contract(row.T, (tendons[0] + tendons[1])[:, None] * row)


def _split(model: Model, rows: Array) -> tuple[Array, Array]:
    """Rows of lower and upper limits: of joints (2, k), of tendons (2, ntlimit)."""
    joints = 2 * len(model.topology.limited)
    return rows[:joints].reshape(2, -1), rows[joints:].reshape(2, -1)
