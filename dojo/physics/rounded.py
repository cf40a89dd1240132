"""Spheres, capsules and boxes by the points and segments at their cores.

A rounded body is all that lies within a radius of its core: a point, a segment, a box. Kinds of
candidates, all with exact gaps at any pose:

- "closest": a point of the second core against the whole of the first; both ends of capsules;
- "capsules": two segments where they cross;
- "edges": a capsule's segment against the two edges of a box that it crosses nearest at the start.

Between them they hold the bodies apart, and bodies that lie along each other touch at both ends.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import at_least, cross, dot, matvec, matvec_t, safe_norm
from dojo.model.layout import entries
from dojo.model.model import Model
from dojo.physics.kinematics import Frames, geom_frames
from dojo.physics.pairs import IDLE, Bodies, Pairs, Table, Touch, rows_of
from dojo.physics.planes import feature_points
from dojo.physics.segments import Segment, edges_of, nearest

# What the core and the radius of a kind of geom are of its size.
_CORE = {"capsule": np.array([[0.0, 0, 0], [0, 0, 0], [0, 1, 0]]), "box": np.eye(3)}
_ROUNDED = {"sphere": 1.0, "capsule": 1.0}
# The second edge that a capsule crosses is this share of its length away from the first.
_APART = 0.02


class Edges(NamedTuple):
    """The edges that capsules may touch, two each: fixed to the boxes, in their frames."""

    center: Array  # (3, 2, n) [m]
    half: Array  # (3, 2, n) [m] from the centre to an end
    # (2, n) -1 where the capsule's axis runs through the box there; 0: stands for nothing
    sign: Array


def closest(model: Model, pairs: Pairs, bodies: Bodies) -> Touch:
    """Points of the second geoms against the cores of the first."""
    pose = geom_frames(model, bodies.first, pairs.first)
    other = geom_frames(model, bodies.second, pairs.second)
    local, radius = feature_points(model, pairs.second, pairs.center_map, pairs.radius_map)
    point = other.pos + matvec(other.rot, local)
    extent, rounding = cores(model, pairs.first)
    inside, out = _outwards(matvec_t(pose.rot, point - pose.pos), extent)
    normal = matvec(pose.rot, out)
    return Touch(inside - rounding - radius, point - radius * normal, normal)


def cores(model: Model, geoms: Table) -> tuple[Array, Array]:
    """Half sides (3, n) of the cores of geoms as boxes, and their radii (n,)."""
    kinds = model.topology.geom_kind
    size = model.geom_size[geoms].T
    core = entries(np.array([_CORE.get(kind, np.zeros((3, 3))) for kind in kinds]), geoms)
    rounding = entries(np.array([_ROUNDED.get(kind, 0.0) for kind in kinds]), geoms)
    extent = matvec(jnp.moveaxis(jnp.asarray(core, model.dtype), 0, -1), size)
    return extent, size[0] * jnp.asarray(rounding, model.dtype)


def _outwards(x: Array, extent: Array) -> tuple[Array, Array]:
    """Distances (n,) of points (3, n) from boxes about the origin, and the ways out (3, n).

    Inside the distance is that to the nearest face, negative.
    """
    off = x - jnp.clip(x, -extent, extent)
    distance = safe_norm(off)
    depth = extent - jnp.abs(x)
    least = jnp.argmin(depth, axis=0)
    face = (jnp.arange(3)[:, None] == least) * jnp.where(x < 0, -1.0, 1.0).astype(x.dtype)
    outside = distance > 0
    way = jnp.where(outside, off / at_least(distance), face)
    return jnp.where(outside, distance, -dot(jnp.abs(face), depth)), way


def capsules(model: Model, pairs: Pairs, bodies: Bodies) -> Touch:
    """The axes of two capsules."""
    sides = zip(pairs.sides, bodies, strict=True)
    a, b = (axis_of(model, geoms, frames) for geoms, frames in sides)
    radius_a, radius_b = (model.geom_size[geoms, 0] for geoms in pairs.sides)
    return _apart(a, b, radius_a, radius_b, jnp.ones_like(radius_a))


def edges(model: Model, pairs: Pairs, bodies: Bodies) -> Edges:
    """Choose the two edges of each box that its capsule crosses nearest."""
    axis, box = _in_box(model, pairs, bodies)
    away, along = _approach(axis, box)  # (12, n)
    best = jnp.argmin(away, axis=0)
    there = jnp.take_along_axis(along, best[None], axis=0)
    other = jnp.abs(along - there) > 2 * _APART
    second = jnp.argmin(jnp.where(other, away, jnp.inf), axis=0)
    chosen = jnp.stack([best, second])
    center, half = (jnp.take_along_axis(x, chosen[None], axis=1) for x in box)
    on_axis = axis.center + axis.half * jnp.take_along_axis(along, chosen, axis=0)
    size = model.geom_size[pairs.first].T
    inside = (jnp.abs(on_axis) < size[:, None]).all(axis=0)
    # A second edge that is behind the first tells nothing of the way out.
    sign = jnp.where(inside, jnp.asarray([[-1.0], [0.0]], model.dtype), 1.0)
    return Edges(center, half, sign)


def _in_box(model: Model, pairs: Pairs, bodies: Bodies) -> tuple[Segment, Segment]:
    """Axes of the capsules (3, 1, n) and edges of the boxes (3, 12, n), in the boxes' frames."""
    pose = geom_frames(model, bodies.first, pairs.first)
    axis = axis_of(model, pairs.second, bodies.second)
    center = matvec_t(pose.rot, axis.center - pose.pos)
    half = matvec_t(pose.rot, axis.half)
    return Segment(center[:, None], half[:, None]), edges_of(model.geom_size[pairs.first].T)


def on_edges(model: Model, pairs: Pairs, chosen: Edges, bodies: Bodies) -> Touch:
    """Axes of capsules against edges of boxes, the two of a box one after the other."""
    pose = geom_frames(model, bodies.first, pairs.first)
    axis = axis_of(model, pairs.second, bodies.second)
    turned = pose.rot[:, :, None]
    edge = Segment(pose.pos[:, None] + matvec(turned, chosen.center), matvec(turned, chosen.half))
    radius = model.geom_size[pairs.second, 0]
    at = _apart(edge, Segment(*(x[:, None] for x in axis)), 0.0, radius, chosen.sign)
    return rows_of(at)


def axis_of(model: Model, geoms: Table, frames: Frames) -> Segment:
    """The axes of capsules, world."""
    pose = geom_frames(model, frames, geoms)
    return Segment(pose.pos, pose.rot[:, 2] * model.geom_size[geoms, 1])


def _apart(a: Segment, b: Segment, radius_a: Array | float, radius_b: Array, sign: Array) -> Touch:
    """Two rounded segments; `sign` -1 where one has passed through the other."""
    s, t = nearest(a, b)
    on_b = b.center + t * b.half
    off = on_b - (a.center + s * a.half)
    distance = safe_norm(off)
    # Where they cross: out of both.
    across = cross(a.half, b.half)
    across = across / at_least(safe_norm(across))
    apart = distance > 0
    normal = jnp.where(apart | (sign == 0), sign * off / at_least(distance), across)
    gap = jnp.where(sign == 0, IDLE, sign * distance - radius_a - radius_b)
    return Touch(gap, on_b - radius_b * normal, normal)


def _approach(a: Segment, b: Segment) -> tuple[Array, Array]:
    """Distance of segments, and where along the first (-1 to 1)."""
    s, t = nearest(a, b)
    off = b.center + t * b.half - (a.center + s * a.half)
    return safe_norm(off), s


# Kinds whose gaps need no decision at the start of a step.
AT_ANY_POSE = {"closest": closest, "capsules": capsules}
