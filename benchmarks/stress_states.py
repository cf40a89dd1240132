"""Random states, masses and controls that are hard on a contact solver."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import dojo
from dojo.math import rotations
from dojo.model.layout import layout
from dojo.model.state import normalize_configuration
from dojo.physics import mechanics
from dojo.physics.kinematics import link_twists

DEEPEST = 0.05  # [m] penetration
HIGHEST = 0.3  # [m] above the ground
BARELY = 1e-3  # [m] of room, or of way that a joint turning by a radian moves a point up
FASTEST = 30.0  # [rad/s], and a sixth of it in m/s
CALM_TURN = 0.5  # [rad] a link of a slowed-down state may turn within the step


class Drawn(NamedTuple):
    """A random case."""

    model: dojo.Model
    state: dojo.State
    u: Array


def draw(model: dojo.Model, key: Array) -> Drawn:
    """A random case of a model: states as people reach them, and worse."""
    keys = iter(jax.random.split(key, 16))
    uneven = jax.random.bernoulli(next(keys), 0.25)
    factor = 10.0 ** jax.random.uniform(next(keys), (model.topology.nl,), minval=-2, maxval=2)
    factor = jnp.where(uneven, factor, 1.0).astype(model.dtype)
    model = model.replace(
        link_mass=model.link_mass * factor, link_inertia=model.link_inertia * factor[:, None, None]
    )
    aligned = jax.random.bernoulli(next(keys), 0.3)
    q = jnp.where(aligned, _aligned(model, next(keys)), _scattered(model, next(keys)))
    q = normalize_configuration(model, q)
    model, q = _on_the_ground(model, q, _gap(next(keys)))
    v = _velocity(model, q, next(keys))
    u = _control(model, next(keys))
    act = jax.random.uniform(next(keys), (model.na,), model.dtype, -1.0, 1.0)
    return Drawn(model, dojo.State(q=q, v=v, act=act if model.na else None), u)


def _aligned(model: dojo.Model, key: Array) -> Array:
    """The rest pose, free bodies turned by quarter turns."""
    table = layout(model.topology)
    first, second = jax.random.randint(key, (2, table.quat_q.shape[1]), 0, 4) * (jnp.pi / 2)
    zero = jnp.zeros_like(first)
    x = jnp.stack([jnp.cos(first / 2), jnp.sin(first / 2), zero, zero])
    z = jnp.stack([jnp.cos(second / 2), zero, zero, jnp.sin(second / 2)])
    turned = rotations.multiply(x, z).astype(model.dtype)
    return model.q_rest.at[table.quat_q].set(turned)


def _scattered(model: dojo.Model, key: Array) -> Array:
    """Joints anywhere, up to a tenth of their range beyond their limits."""
    t, table = model.topology, layout(model.topology)
    joints, turned = jax.random.split(key)
    low, high = np.full(model.nq, -np.pi), np.full(model.nq, np.pi)
    slides = t.q_start[t.joints_of("slide")]
    low[slides], high[slides] = -0.5, 0.5
    limited = t.q_start[t.limited]
    reach = 0.1 * (model.joint_range[:, 1] - model.joint_range[:, 0])
    low = jnp.asarray(low).at[limited].set(model.joint_range[:, 0] - reach)
    high = jnp.asarray(high).at[limited].set(model.joint_range[:, 1] + reach)
    q = low + (high - low) * jax.random.uniform(joints, (model.nq,))
    quats = jax.random.normal(turned, (4, table.quat_q.shape[1]))
    return q.at[table.quat_q].set(quats).astype(model.dtype)


def _gap(key: Array) -> Array:
    """Smallest gap asked for: touching, inside, or above."""
    kind, depth = jax.random.split(key)
    share = jax.random.uniform(depth)
    choices = jnp.stack([0.0 * share, -DEEPEST * share, HIGHEST * share**2])
    return choices[jax.random.randint(kind, (), 0, 3)]


def _on_the_ground(model: dojo.Model, q: Array, gap: Array) -> tuple[dojo.Model, Array]:
    """Free bodies, or vertical slides, moved until the smallest gap is `gap`; else the planes.

    The planes stay below what no joint can lift, as the first link of an arm.
    """
    t, table = model.topology, layout(model.topology)
    if not t.nc:
        return model, q
    node = mechanics.prepare(model, q, jnp.zeros(model.nv, q.dtype), jnp.zeros(model.nu), None)
    lifted = jnp.abs(node.rows.values[:, : t.nc]).max(axis=0) > BARELY
    asked = jnp.where(lifted, gap, BARELY)
    lift = (asked - mechanics.move(model, node, node.v).touch.gap).max()
    axis = np.asarray(model.joint_axis)
    roots = [i for i in t.joints_of("slide") if abs(axis[i, 2]) > 0.9]
    heights = np.concatenate([table.place_q[2], t.q_start[roots[:1]]]).astype(int)
    if len(heights):
        return model, q.at[heights].add(lift.astype(q.dtype))
    planes = np.unique([int(i) for g in t.contacts if g.with_plane for i in g.first])
    normals = rotations.to_matrix(rotations.normalize(model.geom_quat[planes].T))[:, 2].T
    return model.replace(geom_pos=model.geom_pos.at[planes].add(-lift * normals)), q


def _velocity(model: dojo.Model, q: Array, key: Array) -> Array:
    """At rest, slow or fast; half of them slowed down to a turn the step can follow."""
    kind, speed, direction, calm = jax.random.split(key, 4)
    t, table = model.topology, layout(model.topology)
    unit = np.ones(model.nv)
    unit[table.place_v] = 1 / 6
    unit[t.v_start[t.joints_of("slide")]] = 1 / 6
    size = FASTEST * 10.0 ** jax.random.uniform(speed, minval=-3, maxval=0)
    v = size * unit * jax.random.uniform(direction, (model.nv,), minval=-1, maxval=1)
    v = jnp.where(jax.random.bernoulli(kind, 0.2), 0.0, v).astype(model.dtype)
    node = mechanics.prepare(model, q, v, jnp.zeros(model.nu, q.dtype), None)
    spin = link_twists(model, node.axes, v)[:3]
    turn = model.timestep * jnp.sqrt((spin * spin).sum(0)).max()
    calmed = jnp.minimum(1.0, CALM_TURN / jnp.maximum(turn, 1e-6))
    factor = jnp.where(jax.random.bernoulli(calm), calmed, 1.0)
    return v * factor


def _control(model: dojo.Model, key: Array) -> Array:
    """Zero, or at the ends of the control ranges."""
    on, side = jax.random.split(key)
    limits = model.actuator_ctrl_range
    limited = jnp.asarray(model.topology.actuators.ctrl_limited)
    low, high = jnp.where(limited, limits.T, jnp.array([[-1.0], [1.0]]))
    u = jnp.where(jax.random.bernoulli(side, shape=(model.nu,)), low, high)
    return jnp.where(jax.random.bernoulli(on, 0.8), u, 0.0).astype(model.dtype)
