"""Features of two convex geoms that may touch, and their gaps at any pose.

A feature is a point that moves with its geom, with an ellipsoid and a ball about it: a corner of a
mesh, a point on the axis of a cylinder or a capsule. A point on a rim stands for the arc about it
(`rims`). The gap of two features is how far they are apart along a normal. Which one, is a matter
of what bears:

- the normal of a face, fixed to its geom;
- across two edges, fixed to one geom each;
- from the first to the second, across the edge if one of them is on an edge: their distance;
- of two round edges that cross, their distance as segments. The normal across both would swing
  round where they turn through parallel, and know no ends.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import SMALL, at_least, cross, dot, safe_norm
from dojo.physics import rims
from dojo.physics.kinematics import Frames
from dojo.physics.pairs import IDLE, Touch, inwards, not_beyond_reach, outwards, rows_of
from dojo.physics.segments import PARALLEL, Segment, nearest, runs


class Side(NamedTuple):
    """Features of the geoms on one side, in their frames."""

    point: Array  # (3, k, n)
    spread: Array  # (3, k, n) half axes of the ellipsoid, along the geom's
    radius: Array  # (k, n) of the ball
    rim: Array  # (2, k, n) [m] of points on a rim: from its centre; zero for others
    half: Array  # (3, k, n) [m] half of a segment about the point; zero for others


class Normals(NamedTuple):
    """What a normal is made of, (3, k, n) each: `n1 + n2 + u1 x w2` over its length.

    n1 and the direction u1 of an edge are fixed to geom 1, n2 and w2 to geom 2. Zero, or of unit
    length. Of segments, n1 tells on which side of the first the second one is.
    """

    n1: Array
    n2: Array
    u1: Array
    w2: Array


class Features(NamedTuple):
    """Where pairs may touch, with everything that is constant over a step; k places each."""

    along: Normals
    free: Array  # (k, n) bool: the normal is that of the distance, across u1 or w2
    one: Side
    two: Side
    by_first: Array  # (k, n) bool: the first geom's point is where they touch
    idle: Array  # (k, n) bool: stands for nothing


class Held(NamedTuple):
    """What a step holds apart of pairs of geoms."""

    features: Features
    bound: Array  # (2, n) radii of spheres round the geoms


class Places(NamedTuple):
    """Features in the world."""

    normal: Array  # (3, k, n)
    gap: Array  # (k, n)
    first: Array  # (3, k, n) what of the first geom is extreme along the normal
    second: Array  # (3, k, n) what of the second one is against it


def where(condition: Array, a: Features, b: Features) -> Features:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def beside(*parts: Features) -> Features:
    return jax.tree.map(lambda *x: jnp.concatenate(x, axis=-2), *parts)


def touch(held: Held, one: Frames, two: Frames) -> Touch:
    """Gaps, points and normals with the geoms here; the places of a pair follow each other."""
    at = held.features
    there = places(at, one, two)
    from_first = there.first + there.gap * there.normal
    point = jnp.where(at.by_first, from_first, there.second)
    found = not_beyond_reach(held.bound, one.pos, two.pos, Touch(there.gap, point, there.normal))
    found = Touch(
        jnp.where(at.idle, IDLE, found.gap), found.point, jnp.where(at.idle, 0.0, found.normal)
    )
    return rows_of(found)


def places(at: Features, one: Frames, two: Frames) -> Places:
    """The features with the geoms here."""
    first = one.pos[:, None] + outwards(one, at.one.point)
    second = two.pos[:, None] + outwards(two, at.two.point)
    u, w = outwards(one, at.along.u1), outwards(two, at.along.w2)
    halves = outwards(one, at.one.half), outwards(two, at.two.half)
    first, second = _nearest(Segment(first, halves[0]), Segment(second, halves[1]))
    off = second - first
    side = outwards(one, at.along.n1)
    across = cross(u, w)
    normal = side + outwards(two, at.along.n2) + across
    normal = jnp.where(at.free, _apart(at, off, u, w, across, side), normal)
    normal = normal / jnp.maximum(safe_norm(normal), jnp.where(at.free, SMALL, 0.1 * PARALLEL))
    first = first + _reach(one, at.one, normal)
    second = second + _reach(two, at.two, -normal)
    gap = dot(normal, second - first)
    # Where two edges cross, it is there that they touch.
    crossing = ~at.free & (u != 0).any(axis=0) & (w != 0).any(axis=0)
    _, run = runs(u, w, off)
    return Places(normal, gap, first, second + jnp.where(crossing, run, 0.0) * w)


def _nearest(one: Segment, two: Segment) -> tuple[Array, Array]:
    """The points (3, k, n) of segments that are nearest to each other; else their centres."""
    is_one = (one.half != 0).any(axis=0)
    # Where there is none, any will do: the derivatives of nothing are not numbers.
    stand_ins = (jnp.asarray(np.eye(3)[k], one.half.dtype)[:, None, None] for k in (0, 1))
    halves = (jnp.where(is_one, x.half, y) for x, y in zip((one, two), stand_ins, strict=True))
    runs = nearest(*(x._replace(half=half) for x, half in zip((one, two), halves, strict=True)))
    first, second = (x.center + run * x.half for x, run in zip((one, two), runs, strict=True))
    return first, second


def _apart(at: Features, off: Array, u: Array, w: Array, across: Array, side: Array) -> Array:
    """The way (3, k, n) from the first to the second; of segments, from one side to the other."""
    segments = (at.one.half != 0).any(axis=0)
    way = jnp.where(dot(off, off) > SMALL, off, across)
    way = jnp.where(dot(way, side) < 0, -way, way)
    return jnp.where(segments, way, off - u * dot(u, off) - w * dot(w, off))


def _reach(pose: Frames, side: Side, n: Array) -> Array:
    """Extreme points of arcs, ellipsoids and balls along n, from the features, world."""
    m = inwards(pose, n)
    stretched = side.spread * m
    ellipsoid = side.spread * stretched / at_least(safe_norm(stretched), SMALL)
    arc = rims.on_arc(side.rim, m) - rims.on_rim(side.rim)
    return outwards(pose, ellipsoid + arc) + side.radius * n
