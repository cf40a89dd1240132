"""Tendons: sums of joint positions, or paths through points of links and round spheres, cylinders.

A path's length changes with what its straight pieces span: where it leaves a surface as a tangent
the arc between does not count, being the shortest one.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import contract, cross
from dojo.model.layout import scalar_positions
from dojo.model.model import Model
from dojo.physics.kinematics import Frames, attached, geom_frames
from dojo.physics.wrapping import Obstacle, Way, way_round


def tendon_lengths(model: Model, q: Array, frames: Frames) -> Array:
    """Lengths of the tendons, (nt,) [m, or rad]."""
    sums = contract(model.tendon_coefficients, scalar_positions(model.topology, q))
    paths = model.topology.tendon_paths
    if not len(paths):
        return sums
    ways, _ = _ways(model, frames)
    return sums + contract(jnp.asarray(paths.shares, model.dtype), ways.length)


def tendon_rates(model: Model, frames: Frames, axes: Array) -> Array:
    """Rates of the lengths by the degrees of freedom whose motion axes (6, nv) these are."""
    paths = model.topology.tendon_paths
    if not len(paths):
        return model.tendon_coefficients
    ways, (first, second) = _ways(model, frames)
    moves = jnp.asarray(model.topology.moves, model.dtype)
    start, end = (moves[paths.point_link[k]] for k in (paths.first, paths.second))
    # What wraps a way holds it in between.
    plain = paths.point_link[paths.first[: paths.plain]]
    held = moves[np.append(plain, model.topology.geom_link[paths.geom])]
    rates = _pulled(first, ways.start, axes) * (held - start)
    rates = rates + _pulled(second, ways.end, axes) * (end - held)
    return model.tendon_coefficients + contract(jnp.asarray(paths.shares, model.dtype), rates)


def _pulled(point: Array, direction: Array, axes: Array) -> Array:
    """Velocities of points along directions (3, k), by degree of freedom: (k, nv)."""
    screw = jnp.concatenate([cross(point, direction), direction])
    return contract(axes.T, screw).T


def _ways(model: Model, frames: Frames) -> tuple[Way, tuple[Array, Array]]:
    """The pieces of all paths, and the points (3, k) between which they lead."""
    paths = model.topology.tendon_paths
    quat = jnp.zeros((len(paths.point_link), 4), model.dtype).at[:, 0].set(1.0)
    points = attached(model, frames, paths.point_link, model.tendon_point_pos, quat).pos
    first, second = points[:, paths.first], points[:, paths.second]
    way = Way.straight(first, second)
    plain = paths.plain
    if len(paths.geom):
        obstacle = Obstacle(
            frame=geom_frames(model, frames, paths.geom),
            radius=model.geom_size[paths.geom, 0],
            round_axis=jnp.asarray(paths.cylinder),
            side=points[:, np.maximum(paths.side, 0)],
            sided=jnp.asarray(paths.side >= 0),
        )
        around = way_round(first[:, plain:], second[:, plain:], obstacle)
        joined = (
            jnp.concatenate([x[..., :plain], y], axis=-1) for x, y in zip(way, around, strict=True)
        )
        way = Way(*joined)
    return way, (first, second)
