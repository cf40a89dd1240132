"""Rates of what the tree of links carries, as the configuration moves.

A degree of freedom m takes all links below it along as one rigid body, with the twist axes[:, m];
so an axis l below it, or of the same joint, changes by axes[:, m] x axes[:, l]. The places of free
joints alone have axes fixed in the world. Rates are by the tangent vector of the configuration,
that of `displace`.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.spatial import force_cross, force_matrix, motion_cross, motion_matrix
from dojo.math.vectors import contract, total
from dojo.model.model import Model
from dojo.physics.inertia import joint_space
from dojo.physics.kinematics import link_twists, turning


def joint_forces_rate(model: Model, axes: Array, wrench: Array, blocks: Array) -> Array:
    """Rate of sum_i J_i^T w_i, (nv, nv); `blocks` (6, 6, nl): how w_i answers its link's twist."""
    return joint_axes_rate(model, axes, wrench) + joint_space(model, blocks, axes, axes)


def joint_axes_rate(model: Model, axes: Array, wrench: Array) -> Array:
    """The same for wrenches (6, nl) that stay as they are."""
    topology = model.topology
    moves = jnp.asarray(topology.moves, model.dtype)
    carried = contract(wrench, moves[:-1])
    turned = contract(force_cross(axes, carried).T, axes) * moves[topology.dof_link]
    return turned * turning(model)[:, None]


def momentum_rate(model: Model, axes: Array, inertia: Array, v: Array) -> Array:
    """Rate of M(q) v at a fixed v, (nv, nv); inertia: (6, 6, nl) about the world origin."""
    moving, above = _twists(model, axes, v)
    twist = link_twists(model, axes, v)
    momentum = total(inertia * twist, axis=1)
    # The links' inertia turns with them, and so do the axes that v is measured along.
    fixed = motion_matrix(twist - moving)
    blocks = force_matrix(momentum) - total(inertia[:, :, None] * fixed[None], axis=1)
    lag = joint_space(model, inertia, axes, motion_cross(axes, above))
    return joint_forces_rate(model, axes, momentum, blocks) - lag


def velocity_rate(
    model: Model,
    links: np.ndarray | Array,
    axes: Array,
    twist: Array,
    v: Array,
    at: tuple[Array, Array],
) -> Array:
    """Rate of the velocity of second bodies against first ones along screws, at a fixed v: (nv, k).

    links: of the first and second bodies, (2, k), -1 the world; twist: (6, nl) of links, at v and
    by mocap bodies; at: screws (6, k) that move along
    with the first bodies, and how they answer the twist of the second against them (6, 6, k).
    """
    screw, answer = at
    moving, above = _twists(model, axes, v)
    moves = jnp.asarray(model.topology.moves, axes.dtype)
    past = [_with_world(twist)[:, link] for link in links]
    relative = past[1] - past[0]
    turning_past = [force_cross(_with_world(moving)[:, link], screw) for link in links]
    first = -turning_past[0] - force_cross(relative, screw)
    second = turning_past[1]
    together = total(answer * relative, axis=1)
    lag = contract(axes.T, together) - contract(motion_cross(axes, above).T, screw)
    return (
        contract(axes.T, first) * moves[links[0]].T
        + contract(axes.T, second) * moves[links[1]].T
        + lag * (moves[links[1]] - moves[links[0]]).T
    )


def _with_world(x: Array) -> Array:
    """What links have (6, nl), and zero for the world at the end."""
    return jnp.concatenate([x, jnp.zeros_like(x[:, :1])], axis=1)


def _twists(model: Model, axes: Array, v: Array) -> tuple[Array, Array]:
    """Twist of each link, (6, nl), and above each degree of freedom, (6, nv), by turning axes."""
    twist = link_twists(model, axes * turning(model), v)
    return twist, _with_world(twist)[:, model.topology.parent[model.topology.dof_link]]
