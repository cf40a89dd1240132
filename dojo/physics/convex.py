"""Pairs of any two convex geoms: which features of them a step holds apart.

Two convex sets that are apart are so along the normal of a face of one of them, across two edges,
across an edge and a corner, or along the line between two corners. The axis along which they are
furthest apart is chosen at the start of a step. Where it is that of a face, what lies over the face
touches it: at the corners of the polygon that both cover. See `features` for their gaps.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dojo.math.vectors import SMALL, at_least, cross, dot, safe_norm
from dojo.model.model import Model
from dojo.model.topology import ContactGroup
from dojo.physics import gjk, manifold
from dojo.physics.features import (
    FREE,
    PARALLEL,
    Axes,
    Features,
    Held,
    Side,
    Terms,
    bend,
    furthest,
    places,
)
from dojo.physics.kinematics import Frames, geom_frames
from dojo.physics.pairs import Bodies, Pairs
from dojo.physics.planes import lowest
from dojo.physics.solids import Solid, solids

# What an axis of corners and edges must be better by than one of a face, over the geoms' size.
# That far apart, over their size, it is halved.
_ALIKE, _NEAR = 1e-7, 1e-6
# Newton steps from the direction between the nearest points of shrunk geoms.
_SEARCH = 10
# The normal follows the shapes where these determine it, by a curvature radius over the size of
# the geoms; else it stays with the first.
_CURVED = 1e-3
# A rim counts as such where a normal is further than this sine from its axis.
_FLAT = 0.9
# A cylinder whose axis is within this cosine of a face's normal stands on it, else it lies.
_STANDS = 0.7
# Edges within this sine of each other may touch along a stretch, at both of its ends; within the
# second they do so nowhere else.
_ALONG, _PARALLEL = 0.5, 0.05
_EDGES, _EDGE_CORNER, _CORNER_EDGE, _CORNERS = range(4)


class _Lines(NamedTuple):
    """An edge of each geom, in the world."""

    center: Array  # (3, n)
    half: Array  # (3, n)
    there: Array  # (n,) bool

    @property
    def unit(self) -> Array:
        """(3, n)"""
        return self.half / at_least(safe_norm(self.half), SMALL)


_Edges = tuple[_Lines, _Lines]


class _Choice(NamedTuple):
    """What parts the geoms of each pair best."""

    face: Array  # (n,) of all faces, the first geoms' first
    own: Axes  # (3, 1, n) its normal
    by_face: Array  # (n,) bool: it is better than what else there is
    corner: Array  # (n,) the best of what else there is, by `_EDGES` and the following
    last: Features  # that one: one place of each pair
    apart: Array  # (n,) bool: it parts them
    size: Array  # (n,) [m] of both geoms
    overlap: Array  # (n,) bool: they are in each other


def settle(model: Model, group: ContactGroup, pairs: Pairs, now: Bodies, ahead: Bodies) -> Held:
    """Choose axes and points for a step from these poses, to about those `ahead`."""
    one = solids(model, group.first, pairs.first, now.first)
    two = solids(model, group.second, pairs.second, now.second)
    later = tuple(
        solid._replace(pos=pose.pos, rot=pose.rot)
        for solid, pose in (
            (one, geom_frames(model, ahead.first, pairs.first)),
            (two, geom_frames(model, ahead.second, pairs.second)),
        )
    )
    size = one.bound + two.bound
    lines, corners = _corners(one, two, size)
    faces = _faces(one, two)
    axes = _joined([faces, corners.axis])
    normals = [
        jnp.concatenate([_across(faces, a, b), _normals(corners, size, a, b)], axis=1)
        for a, b in ((one, two), later)
    ]
    there = jnp.concatenate([one.has_face, two.has_face, _has(lines)])
    gaps, gaps_later = (
        jnp.where(there, _separation(n, a, b), -jnp.inf)
        for n, (a, b) in zip(normals, ((one, two), later), strict=True)
    )
    count = len(one.has_face) + len(two.has_face)
    best = _best(gaps, gaps_later, count, size)
    face = _best(gaps[:count], gaps_later[:count], count, size)
    corner = _best(gaps[count:], gaps_later[count:], 0, size)
    apart = jnp.take_along_axis(gaps[count:], corner[None], axis=0)[0] > 0
    last = _picked(corners, corner)
    overlap = gaps.max(axis=0) < -_NEAR * size
    chosen = _Choice(face, _axis(axes, face), best < count, corner, last, apart, size, overlap)
    if group.kind == "single":
        at = _where(chosen.by_face, _round(one, two, chosen), last)
    else:
        at = _manifold(group.rows, one, two, chosen, corners, lines)
    return Held(at, jnp.stack([one.bound, two.bound]))


def _normals(at: Features, size: Array, one: Solid, two: Solid) -> Array:
    """The normals (3, k, n) of features, of which any may be free."""
    pose1, pose2 = _pose(one), _pose(two)
    pairs = [jax.tree.map(lambda x, k=k: x[..., k : k + FREE, :], at) for k in range(0, 4, FREE)]
    return jnp.concatenate([places(p, size, pose1, pose2).normal for p in pairs], axis=1)


def _pose(solid: Solid) -> Frames:
    return Frames.of(solid.rot, solid.pos)


def _faces(one: Solid, two: Solid) -> Axes:
    """The normals of all faces, first those of the first geoms."""
    ours, theirs = jnp.zeros_like(one.normals), jnp.zeros_like(two.normals)
    n1 = jnp.concatenate([one.normals, theirs], axis=1)
    n2 = jnp.concatenate([ours, -two.normals], axis=1)
    return Axes(n1, n2, jnp.zeros_like(n1), jnp.zeros_like(n2))


def _across(axis: Axes, one: Solid, two: Solid) -> Array:
    return one.outwards(axis.n1) + two.outwards(axis.n2)


def _separation(n: Array, one: Solid, two: Solid) -> Array:
    """How far geoms are apart along directions (3, k, n), least where there is none: (k, n)."""
    gap = dot(n, (two.pos - one.pos)[:, None]) - one.reach(n) - two.reach(-n)
    return jnp.where(dot(n, n) > 0.5, gap, -jnp.inf)


def _best(gaps: Array, later: Array, faces: int, size: Array) -> Array:
    """The axis (n,) that keeps two geoms apart best, by the distances (k, n) along them.

    Of those along which they are apart now, the one along which they would be so most later, so
    that a body that passes another is not stopped; along none, where they overlap least.
    """
    # Bodies that stand on each other do so by faces. Far away what is nearest counts.
    alike = _alike(size) / (1 + jnp.maximum(gaps.max(axis=0), 0.0) / (_NEAR * size))
    handicap = np.maximum(0, np.arange(len(gaps)) - faces + 1)[:, None] * alike * size
    apart = gaps > 0
    score = jnp.where(apart, later, jnp.where(apart.any(axis=0), -jnp.inf, gaps))
    return jnp.argmax(score - handicap, axis=0)


def _alike(x: Array) -> float:
    """_ALIKE, or what the rounding of x asks for."""
    return max(_ALIKE, 64 * float(jnp.finfo(x.dtype).eps))


def _corners(one: Solid, two: Solid, size: Array) -> tuple[_Edges, Features]:
    """What bears between edges and corners: four places, by `_EDGES` and the following."""
    n = gjk.direction(one, two)
    c1, c2 = _corner(one, n), _corner(two, -n)
    edge1, edge2 = _edge(one, n), _edge(two, -n)
    zero, count = jnp.zeros_like(n), n.shape[-1]
    u, w = edge1.unit, edge2.unit
    # Away from the first geom.
    u = jnp.where(dot(cross(u, w), n) < 0, -1.0, 1.0) * u
    first = jnp.stack([edge1.center, edge1.center, c1, c1], axis=1)
    second = jnp.stack([edge2.center, c2, edge2.center, c2], axis=1)
    us, ws = jnp.stack([u, u, zero, zero], axis=1), jnp.stack([w, zero, w, zero], axis=1)
    at = Features(
        axis=Axes(*(jnp.zeros_like(us) for _ in range(4))),
        one=_side(one, first),
        two=_side(two, second),
        free=jnp.zeros((4, count), bool),
        start=jnp.broadcast_to(n[:, None], us.shape),
        by_first=jnp.arange(4)[:, None].repeat(count, axis=1) == _CORNER_EDGE,
        rim=jnp.zeros((4, 4, count), n.dtype),
        idle=jnp.zeros((4, count), bool),
    )
    crossing = (np.arange(4) == _EDGES)[:, None]
    line = jnp.where(crossing, 0.0, us + ws)
    terms = Terms(at, size, _pose(one), _pose(two), second - first, line)
    normal = furthest(terms, at.start, _SEARCH)
    at = at._replace(one=_pinned(one, at.one, normal, 1.0), two=_pinned(two, at.two, normal, -1.0))
    terms = terms._replace(at=at)
    shape = bend(terms, normal)
    round_once, round_twice = (r > _CURVED * size for r in (shape.most, shape.least))
    free = ~crossing & round_once
    # A rim about a corner: the normal turns with the rim, and else with the first geom.
    us = us + jnp.where(free & ~round_twice, shape.flat, 0.0)
    held = jnp.where(crossing | free, 0.0, normal)
    by_second = at.by_first
    axis = Axes(
        n1=jnp.where(by_second, 0.0, one.inwards(held)),
        n2=jnp.where(by_second, two.inwards(held), 0.0),
        u1=jnp.where(crossing | free, one.inwards(us), 0.0),
        w2=jnp.where(crossing | free, two.inwards(ws), 0.0),
    )
    at = at._replace(axis=axis, free=free, start=lax.stop_gradient(normal))
    return (edge1, edge2), at


def _side(solid: Solid, point: Array) -> Side:
    """Features at points (3, k, n) of the world, with the geoms' own ellipsoids and balls."""
    k = point.shape[1]
    spread = jnp.broadcast_to(solid.spread[:, None], point.shape)
    return Side(solid.inwards(point - solid.pos[:, None]), spread, jnp.stack([solid.radius] * k))


def _pinned(solid: Solid, side: Side, normal: Array, sign: float) -> Side:
    """Features with a point of a rim in place of the rim where the normal is nearly its axis.

    There the rim's extreme point runs round faster than Newton's method follows.
    """
    m = solid.inwards(normal)
    flat = (solid.spread[2] == 0) & (solid.spread[0] > 0) & (safe_norm(m[:2]) < _FLAT)
    stretched = side.spread * m
    reach = side.spread * stretched / at_least(safe_norm(stretched), SMALL)
    return side._replace(
        point=jnp.where(flat, side.point + sign * reach, side.point),
        spread=jnp.where(flat, 0.0, side.spread),
    )


def _corner(solid: Solid, n: Array) -> Array:
    """The corner (3, n) of geoms' cores that lies furthest along n, world."""
    best = jnp.argmax(dot(solid.inwards(n[:, None]), solid.core), axis=0)
    point = jnp.take_along_axis(solid.core, best[None, None], axis=1)
    return solid.pos + solid.outwards(point)[:, 0]


def _edge(solid: Solid, n: Array) -> _Lines:
    """The edge of geoms' cores of which both ends lie furthest along n."""
    m = solid.inwards(n[:, None])
    a, b = solid.ends
    score = jnp.where(solid.has_edge, dot(m, a) + dot(m, b), -jnp.inf)
    best = jnp.argmax(score, axis=0)[None, None]
    a, b = (solid.outwards(jnp.take_along_axis(x, best, axis=1))[:, 0] for x in (a, b))
    return _Lines(solid.pos + 0.5 * (a + b), 0.5 * (b - a), solid.has_edge.any(axis=0))


def _has(lines: _Edges) -> Array:
    """Which of the four places of `_corners` there are, (4, n)."""
    a, b = (line.there for line in lines)
    sine = safe_norm(cross(lines[0].unit, lines[1].unit))
    return jnp.stack([a & b & (sine > PARALLEL), a, b, jnp.ones_like(a)])


def _joined(axes: list[Axes]) -> Axes:
    return Axes(*(jnp.concatenate(parts, axis=1) for parts in zip(*axes, strict=True)))


def _axis(axes: Axes, index: Array) -> Axes:
    """One axis of each pair, by index (n,): (3, 1, n)."""
    return Axes(*(jnp.take_along_axis(x, index[None, None], axis=1) for x in axes))


def _picked(at: Features, index: Array) -> Features:
    """One place of each pair, by index (n,)."""

    def pick(x: Array) -> Array:
        shape = index.reshape(*[1] * (x.ndim - 1), -1)
        return jnp.take_along_axis(x, shape, axis=x.ndim - 2)

    return jax.tree.map(pick, at)


def _where(condition: Array, a: Features, b: Features) -> Features:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


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
        rim=jnp.zeros((4, *shape[1:]), point.dtype),
        idle=jnp.zeros(shape[1:], bool),
    )


def _round(one: Solid, two: Solid, chosen: _Choice) -> Features:
    """Geoms that are round all over, on a face."""
    own, face = chosen.own, chosen.face
    of_first = face < len(one.has_face)
    normal = _across(own, one, two)[:, 0]
    way = jnp.where(of_first, normal, -normal)
    ring1, ring2 = _ring(one, face, 1), _ring(two, face - len(one.has_face), 1)
    point = jnp.where(of_first, _corner(two, -normal), _corner(one, normal))[:, None]
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
    arc: Array  # (4, n) radius and arc of the rim there, see `features`


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
    center = _corner(solid, direction)
    arc = jnp.concatenate([solid.spread[:1], lowest(solid.inwards(normal[:, None])[:, 0])])
    arc = jnp.where(flat & is_round, arc, 0.0)
    arm = jnp.stack([arc[0] * arc[1], arc[0] * arc[2], jnp.zeros_like(arc[0])])
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


def _manifold(
    rows: int, one: Solid, two: Solid, chosen: _Choice, corners: Features, lines: _Edges
) -> Features:
    """What lies over a face, then the one place that is nearest, then edges along each other."""
    own, face, by_face = chosen.own, chosen.face, chosen.by_face
    most = max(len(one.faces), len(two.faces), 2)
    of_first = face < len(one.has_face)
    normal = _across(own, one, two)[:, 0]
    way = jnp.where(of_first, normal, -normal)
    ring = jnp.where(of_first, _ring(one, face, most), _ring(two, face - len(one.has_face), most))
    backs = _back(one, normal, normal, most), _back(two, -normal, normal, most)
    back = _Back(*(jnp.where(of_first, b, a) for a, b in zip(*backs, strict=True)))
    plane = manifold.Plane.of(ring, way, back.ring[:, 1] - back.ring[:, 0])
    own_place = plane.inwards(jnp.where(of_first, one.pos, two.pos)[:, None])[:2, 0]
    disc = jnp.where(of_first, one.spread[0], two.spread[0])
    alike = _alike(normal) * chosen.size
    shape = manifold.Face(plane.inwards(ring), own_place, disc, alike)
    found = manifold.overlap(plane, shape, back.ring, back.flat, by_face, rows - FREE)
    whole = ~back.flat
    spread = jnp.where(whole, jnp.where(of_first, two.spread, one.spread), 0.0)[:, None]
    radius = jnp.where(whole, jnp.where(of_first, two.radius, one.radius), 0.0)[None]
    below = found.point - found.height * way[:, None]
    over = Side(found.point + back.shift[:, None], spread, radius)
    # Bodies that are apart otherwise have nothing below the face.
    there = found.there & (by_face | (found.height > -_NEAR * chosen.size))
    at = _on_face(one, two, own, of_first, below, over)._replace(idle=~there)
    # What lies lowest: an arc of the rim that tilts, or a corner that is not among the others.
    off = found.point - back.low[:, None]
    twice = (there & (dot(off, off) < alike**2)).any(axis=0) & ~back.rim
    over_face = shape.has(plane.inwards(back.low[:, None])[:2])[0]
    meets = (over_face | chosen.overlap) & ~twice
    center = back.center[:, None]
    below = center - plane.inwards(center)[2] * way[:, None]
    lowest = _on_face(one, two, own, of_first, below, Side(center, spread, radius))
    lowest = lowest._replace(rim=jnp.where(meets, back.arc[:, None], 0.0), idle=~meets[None])
    along = _along(two, lines, _picked(corners, jnp.full_like(face, _EDGE_CORNER)))
    along = along._replace(idle=along.idle | by_face | there.any(axis=0))
    crossing = cross(lines[0].unit, lines[1].unit)
    parallel = dot(crossing, crossing) < _PARALLEL**2
    between = (chosen.corner == _EDGE_CORNER) | (chosen.corner == _CORNER_EDGE)
    same = ~along.idle.any(axis=0) & parallel & between
    last = chosen.last._replace(idle=chosen.last.idle | same)
    # Discs cover each other in more than polygons do: there the border bears as well.
    is_disc = (disc > 0) & back.rim
    by_border = by_face & is_disc & ~over_face & chosen.apart
    return _beside(_beside(at, _where(by_face & ~by_border, lowest, last)), along)


def _beside(a: Features, b: Features) -> Features:
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y], axis=-2), a, b)


def _along(two: Solid, lines: _Edges, edge_corner: Features) -> Features:
    """Edges that lie along each other touch at both ends of where they do: two places.

    Each is that of the first geom's edge and a point of the second's.
    """
    a, b = lines
    u = a.unit
    # Where the ends of a are along b, which runs from t = -1 to 1.
    length, run = safe_norm(a.half), dot(u, b.half)
    middle = dot(u, b.center - a.center)
    parallel = safe_norm(cross(u, b.unit)) < _ALONG
    there = a.there & b.there & parallel
    ends = [
        jnp.clip((side * length - middle) / jnp.where(there, run, 1.0), -1.0, 1.0)
        for side in (-1.0, 1.0)
    ]
    there = there & (jnp.abs(ends[1] - ends[0]) > _PARALLEL)
    point = jnp.stack([b.center + t * b.half for t in ends], axis=1)
    both = _beside(edge_corner, edge_corner)
    return both._replace(
        two=both.two._replace(point=two.inwards(point - two.pos[:, None])),
        idle=jnp.stack([~there, ~there]),
    )
