"""Where convex geoms touch: over a face, along edges, or in the one place that is nearest."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import SMALL, at_least, cross, dot, safe_norm
from dojo.physics import manifold
from dojo.physics.corners import CORNER_EDGE, EDGE_CORNER, Edges, corner_of, picked
from dojo.physics.features import FREE, Axes, Features, Side, beside, where
from dojo.physics.planes import REACH, lowest
from dojo.physics.solids import Solid

# What an axis of corners and edges must be better by than one of a face, over the geoms' size.
# That far apart, over their size, it is halved.
ALIKE, NEAR = 1e-7, 1e-6
# A cylinder whose axis is within this cosine of a face's normal stands on it, else it lies.
_STANDS = 0.7
# Half width of the arc of a rim [rad]: this times the sine of its tilt, up to a quarter circle.
_GROWTH, _WIDE = 5.0, 1.4
# Edges within this sine of each other may touch along a stretch, at both of its ends; within the
# second they do so nowhere else.
_ALONG, _PARALLEL = 0.5, 0.05


class Choice(NamedTuple):
    """What parts the geoms of each pair best."""

    face: Array  # (n,) of all faces, the first geoms' first
    own: Axes  # (3, 1, n) its normal
    by_face: Array  # (n,) bool: it is better than what else there is
    corner: Array  # (n,) the best of what else there is, by `EDGES` and the following
    last: Features  # that one: one place of each pair
    apart: Array  # (n,) bool: it parts them
    size: Array  # (n,) [m] of both geoms
    overlap: Array  # (n,) bool: they are in each other


def face_normal(axis: Axes, one: Solid, two: Solid) -> Array:
    return one.outwards(axis.n1) + two.outwards(axis.n2)


def alike(x: Array) -> float:
    """ALIKE, or what the rounding of x asks for."""
    return max(ALIKE, 64 * float(jnp.finfo(x.dtype).eps))


def _on_face(
    one: Solid, two: Solid, own: Axes, of_first: Array, below: Array, over: Side
) -> Features:
    """Places over faces of the first geoms or the second, and points (3, k, n) of these."""
    point = over.point
    spread, radius = jnp.broadcast_to(over.spread, point.shape), over.radius
    radius = jnp.broadcast_to(radius, point.shape[1:])
    firsts, seconds = jnp.where(of_first, below, point), jnp.where(of_first, point, below)

    def side(solid: Solid, points: Array, is_face: Array) -> Side:
        return Side(
            solid.inwards(points - solid.pos[:, None]),
            jnp.where(is_face, 0.0, spread),
            jnp.where(is_face, 0.0, radius),
        )

    shape = point.shape
    return Features(
        axis=Axes(*(jnp.broadcast_to(x, shape) for x in own)),
        one=side(one, firsts, of_first),
        two=side(two, seconds, ~of_first),
        free=jnp.zeros(shape[1:], bool),
        start=jnp.zeros_like(point),
        by_first=jnp.broadcast_to(~of_first, shape[1:]),
        rim=jnp.zeros((3, *shape[1:]), point.dtype),
        idle=jnp.zeros(shape[1:], bool),
    )


def on_point(one: Solid, two: Solid, chosen: Choice) -> Features:
    """Geoms that are round all over, on a face."""
    own, face = chosen.own, chosen.face
    of_first = face < len(one.has_face)
    normal = face_normal(own, one, two)[:, 0]
    way = jnp.where(of_first, normal, -normal)
    ring1, ring2 = _ring(one, face, 1), _ring(two, face - len(one.has_face), 1)
    point = jnp.where(of_first, corner_of(two, -normal), corner_of(one, normal))[:, None]
    face_point = jnp.where(of_first, ring1, ring2)
    below = point - dot(way[:, None], point - face_point) * way[:, None]
    over = Side(
        point,
        jnp.where(of_first, two.spread, one.spread)[:, None],
        jnp.where(of_first, two.radius, one.radius)[None],
    )
    return _on_face(one, two, own, of_first, below, over)


def _ring(solid: Solid, face: Array, most: int) -> Array:
    """Corners of faces by index (n,), world: (3, `most`, n)."""
    index = jnp.clip(face, 0, len(solid.has_face) - 1)
    places = jnp.take_along_axis(jnp.asarray(solid.faces), index[None, None], axis=1)[:, 0]
    places = places[np.minimum(np.arange(most), len(places) - 1)]
    corners = jnp.take_along_axis(solid.corners, places[None], axis=1)
    return solid.pos[:, None] + solid.outwards(corners)


class _Back(NamedTuple):
    """What of a geom looks back at a face."""

    ring: Array  # (3, K, n) world
    shift: Array  # (3, n) from there to the points that stand for it
    flat: Array  # (n,) bool: a face, else a segment
    rim: Array  # (n,) bool: a face that is round
    center: Array  # (3, n) the corner that lies lowest, or the centre of that rim
    low: Array  # (3, n) what is lowest about it
    arc: Array  # (3, n) of the rim there, see `Features.rim`


def _back(solid: Solid, direction: Array, normal: Array, most: int) -> _Back:
    """What looks in a direction; `normal` is that or its opposite, as features want it."""
    facing = jnp.where(solid.has_face, dot(solid.normals, solid.inwards(direction[:, None])), -2.0)
    best, cosine = jnp.argmax(facing, axis=0), facing.max(axis=0)
    is_round = (solid.spread > 0).any(axis=0)
    flat = solid.has_face.any(axis=0) & ~(is_round & (cosine < _STANDS))
    a, b = (solid.pos + solid.outwards(x[:, :1])[:, 0] for x in solid.ends)
    # A rim stands on every other of its corners: as many as a pair may have.
    pairwise = np.arange(most) // 2 * 2
    face = _ring(solid, best, most)
    face = jnp.where(is_round, face[:, pairwise], face)
    m = solid.inwards(direction[:, None])[:, 0]
    stretched = solid.spread * m
    shift = -solid.spread * stretched / at_least(safe_norm(stretched), SMALL)
    shift = jnp.where(flat, 0.0, solid.outwards(shift[:, None])[:, 0])
    segment = jnp.stack([a, *[b] * (most - 1)], axis=1) - shift[:, None]
    center = corner_of(solid, direction)
    tilt = solid.inwards(normal[:, None])[:, 0]
    # The more it tilts, the less a step leads through flat.
    width = jnp.clip(_GROWTH * safe_norm(tilt[:2]), REACH, _WIDE)
    arc = jnp.concatenate([solid.spread[:1] * lowest(tilt), width[None]])
    arc = jnp.where(flat & is_round, arc, 0.0)
    arm = jnp.concatenate([arc[:2], jnp.zeros_like(arc[:1])])
    arm = solid.outwards(arm[:, None])[:, 0]
    arm = jnp.where(dot(direction, normal) < 0, -arm, arm)
    return _Back(
        ring=jnp.where(flat, face, segment),
        shift=shift,
        flat=flat,
        rim=flat & is_round,
        center=center,
        low=center - shift + arm,
        arc=arc,
    )


def on_polygon(
    rows: int, one: Solid, two: Solid, chosen: Choice, corners: Features, lines: Edges
) -> Features:
    """What lies over a face, then the one place that is nearest, then edges along each other."""
    own, face, by_face = chosen.own, chosen.face, chosen.by_face
    most = max(len(one.faces), len(two.faces), 2)
    of_first = face < len(one.has_face)
    normal = face_normal(own, one, two)[:, 0]
    way = jnp.where(of_first, normal, -normal)
    ring = jnp.where(of_first, _ring(one, face, most), _ring(two, face - len(one.has_face), most))
    backs = _back(one, normal, normal, most), _back(two, -normal, normal, most)
    back = _Back(*(jnp.where(of_first, b, a) for a, b in zip(*backs, strict=True)))
    plane = manifold.Plane.of(ring, way, back.ring[:, 1] - back.ring[:, 0])
    own_place = plane.inwards(jnp.where(of_first, one.pos, two.pos)[:, None])[:2, 0]
    disc = jnp.where(of_first, one.spread[0], two.spread[0])
    near = alike(normal) * chosen.size
    shape = manifold.Face(plane.inwards(ring), own_place, disc, near)
    found = manifold.overlap(plane, shape, back.ring, back.flat, by_face, rows - FREE)
    whole = ~back.flat
    spread = jnp.where(whole, jnp.where(of_first, two.spread, one.spread), 0.0)[:, None]
    radius = jnp.where(whole, jnp.where(of_first, two.radius, one.radius), 0.0)[None]
    below = found.point - found.height * way[:, None]
    over = Side(found.point + back.shift[:, None], spread, radius)
    # Bodies that are apart otherwise have nothing below the face.
    there = found.there & (by_face | (found.height > -NEAR * chosen.size))
    at = _on_face(one, two, own, of_first, below, over)._replace(idle=~there)
    # What lies lowest: an arc of the rim that tilts, or a corner that is not among the others.
    off = found.point - back.low[:, None]
    twice = (there & (dot(off, off) < near**2)).any(axis=0) & ~back.rim
    over_face = shape.has(plane.inwards(back.low[:, None])[:2])[0]
    meets = (over_face | chosen.overlap) & ~twice
    center = back.center[:, None]
    below = center - plane.inwards(center)[2] * way[:, None]
    lowest = _on_face(one, two, own, of_first, below, Side(center, spread, radius))
    lowest = lowest._replace(rim=jnp.where(meets, back.arc[:, None], 0.0), idle=~meets[None])
    along = _along(two, lines, picked(corners, jnp.full_like(face, EDGE_CORNER)))
    along = along._replace(idle=along.idle | by_face | there.any(axis=0))
    crossing = cross(lines[0].unit, lines[1].unit)
    parallel = dot(crossing, crossing) < _PARALLEL**2
    between = (chosen.corner == EDGE_CORNER) | (chosen.corner == CORNER_EDGE)
    same = ~along.idle.any(axis=0) & parallel & between
    last = chosen.last._replace(idle=chosen.last.idle | same)
    # Discs cover each other in more than polygons do: there the border bears as well.
    is_disc = (disc > 0) & back.rim
    by_border = by_face & is_disc & ~over_face & chosen.apart
    return beside(beside(at, where(by_face & ~by_border, lowest, last)), along)


def _along(two: Solid, lines: Edges, edge_corner: Features) -> Features:
    """Round edges that lie along each other touch at both ends of where they do: two places.

    Each is that of the first geom's edge and a point of the second's.
    """
    a, b = lines
    u = a.unit
    # Where the ends of a are along b, which runs from t = -1 to 1.
    length, run = safe_norm(a.half), dot(u, b.half)
    middle = dot(u, b.center - a.center)
    parallel = safe_norm(cross(u, b.unit)) < _ALONG
    there = a.there & b.there & parallel & edge_corner.free[0]
    ends = [
        jnp.clip((side * length - middle) / jnp.where(there, run, 1.0), -1.0, 1.0)
        for side in (-1.0, 1.0)
    ]
    there = there & (jnp.abs(ends[1] - ends[0]) > _PARALLEL)
    point = jnp.stack([b.center + t * b.half for t in ends], axis=1)
    both = beside(edge_corner, edge_corner)
    return both._replace(
        two=both.two._replace(point=two.inwards(point - two.pos[:, None])),
        idle=jnp.stack([~there, ~there]),
    )
