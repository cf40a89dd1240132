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
from dojo.physics.kinematics import Frames
from dojo.physics.tendons import tendon_lengths, tendon_rates


class LimitTable(NamedTuple):
    """Where the limited joints lie, (k,) each."""

    q: np.ndarray
    dof: np.ndarray


def limit_table(model: Model) -> LimitTable:
    """The places of a model's limited joints."""
    t = model.topology
    return LimitTable(t.q_start[t.limited], t.v_start[t.limited])


def tendon_rows(model: Model, frames: Frames, axes: Array) -> Array:
    """Rates of the limited tendons' lengths, (ntlimit, nv)."""
    limited = model.topology.limited_tendons
    if not len(limited):
        return jnp.zeros((0, model.nv), model.dtype)
    return tendon_rates(model, frames, axes)[limited]


def limit_gap(model: Model, q: Array, frames: Frames) -> Array:
    """Distances to the limits, (2 nlimit,) [rad or m]."""
    at, bound = take(q, limit_table(model).q), model.joint_range
    joints = [at - bound[:, 0], bound[:, 1] - at]
    limited = model.topology.limited_tendons
    if not len(limited):
        return jnp.concatenate(joints)
    length, bound = tendon_lengths(model, q, frames)[limited], model.tendon_range
    return jnp.concatenate([*joints, length - bound[:, 0], bound[:, 1] - length])


def limit_rate(model: Model, tendons: Array, v: Array) -> Array:
    """Rates of the distances, (2 nlimit,) [rad/s or m/s]; `tendons` are `tendon_rows`."""
    speed = take(v, limit_table(model).dof)
    along = contract(tendons, v)
    return jnp.concatenate([speed, -speed, along, -along])


def limit_impulse(model: Model, tendons: Array, rows: Array) -> Array:
    """Generalized impulse (nv,) of impulses (2 nlimit,) that keep from the limits."""
    joints, along = _split(model, rows)
    on_joints = placed(joints[0] - joints[1], limit_table(model).dof, model.nv)
    if not len(tendons):
        return on_joints
    return on_joints + contract(along[0] - along[1], tendons)


def add_limits(matrix: Array, model: Model, tendons: Array, ends: Array, rows: Array) -> Array:
    """The matrix (nv, nv) and what impulses that answer the distances, by (2 nlimit,), add to it.

    `tendons` (ntlimit, nv): rows that the impulses act along, `ends` those that they answer.
    """
    joints, along = _split(model, rows)
    on_joints = placed(joints[0] + joints[1], limit_table(model).dof, model.nv)
    matrix = add_diagonal(matrix, on_joints)
    if not len(tendons):
        return matrix
    return matrix + contract(tendons.T, (along[0] + along[1])[:, None] * ends)


def _split(model: Model, rows: Array) -> tuple[Array, Array]:
    """Rows of lower and upper limits: of joints (2, k), of tendons (2, ntlimit)."""
    joints = 2 * len(model.topology.limited)
    return rows[:joints].reshape(2, -1), rows[joints:].reshape(2, -1)
