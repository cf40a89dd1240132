"""Limits of joints and tendons: two inequality rows each.

Lower limits of the joints, upper ones, then likewise of the spans: 2 nlimit rows. A span is the
length of a tendon, or how far a ball joint is turned.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.rotations import normalize
from dojo.math.vectors import add_diagonal, contract, matvec
from dojo.model.layout import placed, take
from dojo.model.model import Model
from dojo.physics.kinematics import Frames, integrate
from dojo.physics.tendons import tendon_lengths, tendon_rates

# Lower limit of how far a ball joint is turned [rad], which is never negative: it has none.
_FREE_TO_RETURN = -10.0


class LimitTable(NamedTuple):
    """Where the limited joints lie, (k,) each."""

    q: np.ndarray
    dof: np.ndarray


def limit_table(model: Model) -> LimitTable:
    """The places of a model's limited joints."""
    t = model.topology
    return LimitTable(t.q_start[t.limited], t.v_start[t.limited])


def span_rows(model: Model, q: Array, frames: Frames, axes: Array) -> Array:
    """Rates of the limited spans by the degrees of freedom with these motion axes, (nspan, nv)."""
    t, tendons = model.topology, tendon_pull(model, frames, axes)
    if not len(t.limited_balls):
        return tendons
    world = matvec(frames.rot[:, :, t.limited_balls], _turned(model, q)[1])
    own = jnp.asarray(t.dof_link == t.limited_balls[:, None], model.dtype)
    return jnp.concatenate([tendons, contract(world.T, axes[:3]) * own])


def span_pull(model: Model, q: Array, v: Array, frames: Frames, axes: Array) -> Array:
    """Rows (nspan, nv) that the impulses of a step from q and v act along.

    Those of tendons are the rates at its start. A ball pulls about the axis that it is turned about
    where v leads: that of the start adds energy when a light body swings along its limit.
    """
    t, tendons = model.topology, tendon_pull(model, frames, axes)
    if not len(t.limited_balls):
        return tendons
    _, axis = _turned(model, integrate(model, q, model.timestep * v))
    dofs = (t.v_start[t.limited_balls][None] + np.arange(3)[:, None]).T
    rows = jnp.zeros((len(t.limited_balls), model.nv), model.dtype)
    own = rows.at[np.arange(len(rows))[:, None], dofs].set(axis.T)
    return jnp.concatenate([tendons, own])


def tendon_pull(model: Model, frames: Frames, axes: Array) -> Array:
    """Rates of the limited tendons' lengths, (ntlimit, nv)."""
    limited = model.topology.limited_tendons
    if not len(limited):
        return jnp.zeros((0, model.nv), model.dtype)
    return tendon_rates(model, frames, axes)[limited]


def _spans(model: Model, q: Array, frames: Frames) -> tuple[Array, Array]:
    """The limited spans (nspan,), and their limits (nspan, 2)."""
    t, found = model.topology, []
    if len(t.limited_tendons):
        found.append((tendon_lengths(model, q, frames)[t.limited_tendons], model.tendon_range))
    if len(t.limited_balls):
        most = 2.0 * jnp.tan(model.ball_range / 4.0)
        low = jnp.full_like(most, _FREE_TO_RETURN)
        found.append((_turned(model, q)[0], jnp.stack([low, most], axis=1)))
    spans, limits = zip(*found, strict=True)
    return jnp.concatenate(spans), jnp.concatenate(limits)


def _turned(model: Model, q: Array) -> tuple[Array, Array]:
    """How far the limited balls are turned (k,), and the gradient by their rotation (3, k).

    Of an angle a with the limit b it is 2 (1 - cos(a/2)) / sin(b/2): smooth where the angle has a
    kink, at rest, and growing as the angle does at its limit. The gradient is in the joint's frame.
    """
    t = model.topology
    places = t.q_start[t.limited_balls][None] + np.arange(4)[:, None]
    quat = normalize(q[places])
    quat = jnp.where(quat[0] < 0, -quat, quat)
    scale = 1.0 / jnp.sin(model.ball_range / 2.0)
    return 2.0 * scale * (1.0 - quat[0]), scale * quat[1:]


def limit_gap(model: Model, q: Array, frames: Frames) -> Array:
    """Distances to the limits, (2 nlimit,) [rad or m]."""
    at, bound = take(q, limit_table(model).q), model.joint_range
    joints = [at - bound[:, 0], bound[:, 1] - at]
    if not model.topology.nspan:
        return jnp.concatenate(joints)
    span, bound = _spans(model, q, frames)
    return jnp.concatenate([*joints, span - bound[:, 0], bound[:, 1] - span])


def limit_rate(model: Model, spans: Array, v: Array) -> Array:
    """Rates of the distances, (2 nlimit,) [rad/s or m/s]; `spans` are `span_rows`."""
    speed = take(v, limit_table(model).dof)
    along = contract(spans, v)
    return jnp.concatenate([speed, -speed, along, -along])


def limit_impulse(model: Model, spans: Array, rows: Array) -> Array:
    """Generalized impulse (nv,) of impulses (2 nlimit,) that keep from the limits."""
    joints, along = _split(model, rows)
    on_joints = placed(joints[0] - joints[1], limit_table(model).dof, model.nv)
    if not len(spans):
        return on_joints
    return on_joints + contract(along[0] - along[1], spans)


def add_limits(matrix: Array, model: Model, spans: Array, ends: Array, rows: Array) -> Array:
    """The matrix (nv, nv) and what impulses that answer the distances, by (2 nlimit,), add to it.

    `spans` (nspan, nv): rows that the impulses act along, `ends` those that they answer.
    """
    joints, along = _split(model, rows)
    on_joints = placed(joints[0] + joints[1], limit_table(model).dof, model.nv)
    matrix = add_diagonal(matrix, on_joints)
    if not len(spans):
        return matrix
    return matrix + contract(spans.T, (along[0] + along[1])[:, None] * ends)


def _split(model: Model, rows: Array) -> tuple[Array, Array]:
    """Rows of lower and upper limits: of joints (2, k), of spans (2, nspan)."""
    joints = 2 * len(model.topology.limited)
    return rows[:joints].reshape(2, -1), rows[joints:].reshape(2, -1)
