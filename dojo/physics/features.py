"""Features of two convex geoms that may touch, and their gaps at any pose.

A feature is a point that moves with its geom, with an ellipsoid and a ball about it: a corner, the
centre of an ellipsoid, any point on the axis of a cylinder. The gap of two of them is how far apart
they are along a normal. Which one, is a matter of what bears:

- the normal of a face, fixed to its geom;
- across two edges, fixed to one geom each;
- else the normal along which they are furthest apart: their distance. Where one of them is an edge
  the normal stays across it. It is found by Newton's method from that at the start of the step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from dojo.math.vectors import SMALL, at_least, cross, dot, matvec, matvec_t, safe_norm, total
from dojo.physics.kinematics import Frames
from dojo.physics.pairs import IDLE, Touch
from dojo.physics.planes import arc

# Edges this near to parallel [sine] have no axis of their own.
PARALLEL = 1e-3
# Newton steps for the normal from that at the start of the step. They double the digits each.
STEPS = 5
FREE = 3
# A normal turns by this much in a Newton step at most [rad].
_TURN = 0.5


class Axes(NamedTuple):
    """Directions from geom 1 to geom 2, (3, k, n) each: `n1 + n2 + u1 x w2` over its length.

    n1 and u1 are fixed to geom 1, n2 and w2 to geom 2. Zero, or of unit length.
    """

    n1: Array
    n2: Array
    u1: Array
    w2: Array


class Side(NamedTuple):
    """Features of the geoms on one side, in their frames."""

    point: Array  # (3, k, n)
    spread: Array  # (3, k, n) half axes of the ellipsoid, along the geom's
    radius: Array  # (k, n) of the ball


class Features(NamedTuple):
    """Where pairs may touch, with everything that is constant over a step; k places each.

    Only the last FREE of them may be `free`.
    """

    axis: Axes
    one: Side
    two: Side
    free: Array  # (k, n) bool: the normal is that of the distance
    start: Array  # (3, k, n) that normal at the start, world
    by_first: Array  # (k, n) bool: the first geom's point is where they touch
    # (3, k, n) middle [m] and half width [rad] of the arc of a rim on a face; zero: none
    rim: Array
    idle: Array  # (k, n) bool: stands for nothing


class Held(NamedTuple):
    """What a step holds apart of pairs of geoms."""

    features: Features
    bound: Array  # (2, n) radii of spheres round the geoms


def where(condition: Array, a: Features, b: Features) -> Features:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def beside(a: Features, b: Features) -> Features:
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y], axis=-2), a, b)


class Places(NamedTuple):
    """Features in the world."""

    normal: Array  # (3, k, n)
    first: Array  # (3, k, n) points
    second: Array  # (3, k, n)
    reach1: Array  # (3, k, n) from the point to the extreme one of its ellipsoid or arc
    reach2: Array


def touch(held: Held, one: Frames, two: Frames) -> Touch:
    """Gaps, points and normals with the geoms here; the places of a pair follow each other."""
    at = held.features
    there = places(at, held.bound[0] + held.bound[1], one, two)
    normal, off = there.normal, there.second - there.first
    gap = dot(normal, off - there.reach1 - there.reach2) - at.one.radius - at.two.radius
    # Where the line of the force meets geom 2.
    u, w = _turned(one, at.axis.u1), _turned(two, at.axis.w2)
    along = dot(u, w)
    run = (along * dot(u, off) - dot(w, off)) / at_least(1 - along * along, 0.1 * PARALLEL**2)
    crossing = ~at.free & (u != 0).any(axis=0)
    on_second = there.second + jnp.where(crossing, run, 0.0) * w - there.reach2
    on_second = on_second - at.two.radius * normal
    from_first = there.first + there.reach1 + (gap + at.one.radius) * normal
    point = jnp.where(at.by_first, from_first, on_second)
    found = _not_beyond_reach(held.bound, one, two, Touch(gap, point, normal))
    found = Touch(
        jnp.where(at.idle, IDLE, found.gap), found.point, jnp.where(at.idle, 0.0, found.normal)
    )
    return Touch(*(jnp.moveaxis(x, -2, -1).reshape(*x.shape[:-2], -1) for x in found))


def places(at: Features, size: Array, one: Frames, two: Frames) -> Places:
    """The features with the geoms here, which have sizes (n,) [m]."""
    first = one.pos[:, None] + _turned(one, at.one.point)
    second = two.pos[:, None] + _turned(two, at.two.point)
    normal = _normalized(across(at.axis, one, two), 0.1 * PARALLEL)
    last = jax.tree.map(lambda x: x[..., -FREE:, :], at)
    line = _turned(one, last.axis.u1) + _turned(two, last.axis.w2)
    off = (second - first)[:, -FREE:]
    free = furthest(Terms(last, size, one, two, off, line), last.start, STEPS)
    free = jnp.where(last.free, free, normal[:, -FREE:])
    normal = jnp.concatenate([normal[:, :-FREE], free], axis=1)
    reach1, reach2 = _reach(one, at.one, normal), _reach(two, at.two, normal)
    # Of a rim that meets a face only an arc counts.
    by_first = at.by_first
    has_arc = at.rim[2] > 0
    m = jnp.where(by_first, _back(one, normal), _back(two, normal))
    _, low = arc(at.rim[:2], at.rim[2], m)
    reach1 = jnp.where(has_arc & by_first, _turned(one, low), reach1)
    reach2 = jnp.where(has_arc & ~by_first, _turned(two, low), reach2)
    return Places(normal, first, second, reach1, reach2)


def across(axis: Axes, one: Frames, two: Frames) -> Array:
    """The axes in the world, (3, k, n), not normalized."""
    edges = cross(_turned(one, axis.u1), _turned(two, axis.w2))
    return _turned(one, axis.n1) + _turned(two, axis.n2) + edges


class Terms(NamedTuple):
    """What the distance of features depends on."""

    at: Features
    size: Array  # (n,) [m] of both geoms
    one: Frames
    two: Frames
    off: Array  # (3, k, n) from the first point to the second
    line: Array  # (3, k, n) that the normal stays across; zero: none


def furthest(terms: Terms, n: Array, steps: int) -> Array:
    """Normals (3, k, n) along which features are furthest apart, from n on.

    The distance of two sets is the largest of those along a direction. With g what lies between the
    extreme points along n, H the curvature of both supports, and P across n and the line, Newton's
    step is (P H P + (n . g) P) dn = P g.
    """
    held = lax.stop_gradient(terms)
    n = lax.fori_loop(0, steps - 2, lambda _, n: _further(held, n), lax.stop_gradient(n))
    # Two steps carry all derivatives: quadratic convergence forgets the rest.
    return _further(terms, _further(terms, n))


def _further(terms: Terms, n: Array) -> Array:
    n = _normalized(n - dot(n, terms.line) * terms.line)
    t1, t2 = _tangents(n, terms.line)
    a, b, c = _curvature(terms, n)
    at, one, two = terms.at, terms.one, terms.two
    g = terms.off - _reach(one, at.one, n) - _reach(two, at.two, n)
    apart, flat = dot(n, g), dot(t2, t2)
    # No second direction across an edge.
    a, c = a + apart, jnp.where(flat > 0, c + apart, 1.0)
    lift = jnp.maximum(0.0, 1e-6 * terms.size - _least(a, b, c))
    a, c, slope1, slope2 = a + lift, c + lift, dot(t1, g), dot(t2, g)
    dn = t1 * (c * slope1 - b * slope2) + t2 * (a * slope2 - b * slope1)
    dn = dn / at_least(a * c - b * b)
    return _normalized(n + dn * jnp.minimum(1.0, _TURN / at_least(safe_norm(dn), SMALL)))


def _curvature(terms: Terms, n: Array) -> tuple[Array, Array, Array]:
    """Curvature (a, b; b, c) of the supports in the plane of `_tangents`, balls aside."""
    t1, t2 = _tangents(n, terms.line)
    sides = (terms.one, terms.at.one), (terms.two, terms.at.two)
    bent1, bent2 = (total(jnp.stack([_bend(*side, n, t) for side in sides])) for t in (t1, t2))
    return dot(t1, bent1), dot(t1, bent2), dot(t2, bent2)


def _least(a: Array, b: Array, c: Array) -> Array:
    """The smaller eigenvalue of (a, b; b, c)."""
    return 0.5 * (a + c) - safe_norm(jnp.stack([0.5 * (a - c), b]))


class Bend(NamedTuple):
    """How much shapes determine a normal: the larger and the smaller curvature radius [m]."""

    most: Array  # (k, n)
    least: Array  # (k, n) the same across an edge
    flat: Array  # (3, k, n) the direction in which the normal turns with the smaller one


def bend(terms: Terms, n: Array) -> Bend:
    """Curvature radii of the supports about normals (3, k, n).

    Both are zero for two corners, or across an edge for a corner; one for a corner and a rim.
    """
    t1, t2 = _tangents(n, terms.line)
    a, b, c = _curvature(terms, n)
    balls = terms.at.one.radius + terms.at.two.radius
    on_line = (terms.line != 0).any(axis=0)
    least = _least(a, b, c)
    first = jnp.abs(a - least) > jnp.abs(c - least)
    x, y = jnp.where(first, b, least - c), jnp.where(first, least - a, b)
    flat = _normalized(t1 * x + t2 * y)
    return Bend(
        balls + jnp.where(on_line, a, a + c - least), balls + jnp.where(on_line, a, least), flat
    )


def _tangents(n: Array, line: Array) -> tuple[Array, Array]:
    """Two unit vectors across n; one and zero where there is a line, also across that."""
    on_line = (line != 0).any(axis=0)
    least = jnp.abs(n[0]) < 0.6
    guide = jnp.where(least, jnp.asarray([1.0, 0, 0], n.dtype)[:, None, None], 0.0)
    guide = guide + jnp.where(least, 0.0, jnp.asarray([0, 1.0, 0], n.dtype)[:, None, None])
    t1 = _normalized(cross(n, jnp.where(on_line, line, guide)))
    return t1, jnp.where(on_line, 0.0, cross(n, t1))


def _reach(pose: Frames, side: Side, n: Array) -> Array:
    """Extreme points of the ellipsoids along n, from their centres, world."""
    stretched = side.spread * _back(pose, n)
    return _turned(pose, side.spread * stretched / at_least(safe_norm(stretched), SMALL))


def _bend(pose: Frames, side: Side, n: Array, t: Array) -> Array:
    """How `_reach` changes as n turns along t."""
    m, way = side.spread * _back(pose, n), side.spread * _back(pose, t)
    length = at_least(safe_norm(m), SMALL)
    unit = m / length
    return _turned(pose, side.spread * (way - unit * dot(unit, way)) / length)


def _not_beyond_reach(bound: Array, one: Frames, two: Frames, found: Touch) -> Touch:
    """The gap of the spheres round both geoms, where these are further apart.

    The axis of two geoms far from each other sweeps through the space between them as one of them
    turns. No turn can make them touch while the spheres round them do not.
    """
    off = two.pos - one.pos
    distance = safe_norm(off)
    least = distance - bound[0] - bound[1]
    apart = least > found.gap
    way = (off / at_least(distance, SMALL))[:, None]
    on_sphere = (two.pos - bound[1] * way[:, 0])[:, None]
    return Touch(
        jnp.where(apart, least, found.gap),
        jnp.where(apart, on_sphere, found.point),
        jnp.where(apart, way, found.normal),
    )


def _turned(pose: Frames, x: Array) -> Array:
    """Vectors (3, k, n) of the geoms' frames in the world."""
    return matvec(pose.rot[:, :, None], x)


def _back(pose: Frames, x: Array) -> Array:
    """Vectors (3, k, n) of the world in the geoms' frames."""
    return matvec_t(pose.rot[:, :, None], x)


def _normalized(x: Array, floor: float = SMALL) -> Array:
    """Of unit length; shorter where there is no direction but that of rounding."""
    return x / at_least(safe_norm(x), floor)
