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
from dojo.math.vectors import contract, cross, total
from dojo.model.model import Model
from dojo.physics.collision import screws
from dojo.physics.inertia import joint_space, work_of
from dojo.physics.kinematics import link_twists, turning


def joint_forces_rate(model: Model, axes: Array, wrench: Array, blocks: Array) -> Array:
    """Rate of sum_i J_i^T w_i, (nv, nv); `blocks` (6, 6, nl): how w_i answers its link's twist."""
    topology = model.topology
    moves = jnp.asarray(topology.moves, model.dtype)
    carried = contract(wrench, moves[:-1])
    turned = contract(force_cross(axes, carried).T, axes) * moves[topology.dof_link]
    turned = turned * turning(model)[:, None]
    return turned + joint_space(model, blocks, axes, axes)


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
    links: np.ndarray,
    axes: Array,
    v: Array,
    at: tuple[Array, Array, Array],
) -> Array:
    """Rate of the velocity of points on links along fixed directions, at a fixed v: (nv, k).

    at: points and directions (3, k), and how a point moves with the twist of its link (6, 3, k).
    """
    point, direction, answer = at
    moving, above = _twists(model, axes, v)
    spin = link_twists(model, axes, v)[:3, links]
    screw = screws(point, direction)
    by_twist = total(answer * cross(direction, spin), axis=1) + force_cross(moving[:, links], screw)
    lag = work_of(model, links, screw, motion_cross(axes, above))
    return work_of(model, links, by_twist, axes) - lag


def _twists(model: Model, axes: Array, v: Array) -> tuple[Array, Array]:
    """Twist of each link, (6, nl), and above each degree of freedom, (6, nv), by turning axes."""
    twist = link_twists(model, axes * turning(model), v)
    padded = jnp.concatenate([twist, jnp.zeros_like(twist[:, :1])], axis=1)
    return twist, padded[:, model.topology.parent[model.topology.dof_link]]
