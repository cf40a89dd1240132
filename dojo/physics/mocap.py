"""Mocap bodies: links that go where they are told, at a constant twist over a step.

Contacts and equality constraints feel their motion; nothing moves them.
"""

import jax.numpy as jnp
from jax import Array

from dojo.math import rotations
from dojo.math.vectors import cross, matvec
from dojo.model.layout import layout, placed, take
from dojo.model.model import Model
from dojo.physics.kinematics import Frames


def speeds(model: Model, q: Array, poses: Array) -> Array:
    """What leads from q to these poses (nmocap, 7) in a timestep: (6, nmocap).

    Linear velocities in the world, angular ones in the bodies' axes, as of free joints.
    """
    start, end = take(q, layout(model.topology).mocap_q), poses.T
    turn = rotations.multiply(rotations.conjugate(start[3:]), rotations.normalize(end[3:]))
    way = jnp.concatenate([end[:3] - start[:3], rotations.logarithm(turn)])
    return way / model.timestep


def carried(model: Model, q: Array, speed: Array | None) -> Array:
    """q with its mocap bodies moved at this speed (6, nmocap) for a timestep; None: at rest."""
    if speed is None:
        return q
    places = layout(model.topology).mocap_q
    start, way = take(q, places), model.timestep * speed
    turned = rotations.multiply(start[3:], rotations.exponential(way[3:]))
    end = jnp.concatenate([start[:3] + way[:3], turned])
    return jnp.concatenate([q[: places.min()], end.T.ravel()])


def twists(model: Model, frames: Frames, speed: Array | None) -> Array | None:
    """World twists (6, nl) of the links at this speed of mocap bodies, zero for all others."""
    if speed is None:
        return None
    links = layout(model.topology).mocap
    turn = matvec(frames.rot[:, :, links], speed[3:])
    twist = jnp.concatenate([turn, speed[:3] + cross(frames.pos[:, links], turn)])
    return jnp.stack([placed(row, links, model.topology.nl) for row in twist])
