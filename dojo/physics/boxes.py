"""Pairs of boxes: which way they are apart, and the up to eight points where they touch.

Two convex polyhedra that are apart are so along the normal of a face, across two edges, or along
the line between their nearest points. That axis is chosen at the start of a step and moves with the
bodies then: a face with its box, two edges with theirs. Across a face the boxes touch where the
face that looks back at it lies over it: at the corners of the polygon that both cover.

The gap of a point is its distance from the plane of the other box's face, that of two edges the
distance of their lines, signed, exact at any pose. Source of the test by axes: Gottschalk, Lin,
Manocha, OBBTree, SIGGRAPH 1996.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import at_least, cross, dot, matvec, matvec_t, safe_norm, total
from dojo.model.model import Model
from dojo.model.topology import ROWS
from dojo.physics.pairs import IDLE, Bodies, Pairs, Touch, not_beyond_reach, placed, rows_of
from dojo.physics.segments import ABOUT, PARALLEL, Segment, edges_of, nearest, runs

POINTS = ROWS["boxes"]
# What other axes must be better than those of faces by, over the boxes' size: two boxes that stand
# on each other do so by their faces. Corners this near to the border of a face are on it.
_ALIKE = 1e-7
_SIGNS = np.array([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)]).T
# Corners of a face in units of its half sides, one after the other round it.
_ROUND = np.array([[1.0, -1, -1, 1], [1, 1, -1, -1]])
# The axes: three faces of the first box, three of the second, nine pairs of edges, the line between
# the nearest points.
_FACES1, _FACES2, _EDGES, _LINE = slice(0, 3), slice(3, 6), slice(6, 15), 15


class Axes(NamedTuple):
    """Directions from box 1 to box 2, (3, k, n) each: `n1 + n2 + u1 x w2` over its length.

    n1 and u1 are fixed to box 1, n2 and w2 to box 2.
    """

    n1: Array
    n2: Array
    u1: Array
    w2: Array


class Facets(NamedTuple):
    """Points where pairs of boxes may touch, with everything that is constant over a step."""

    axis: Axes  # (3, POINTS, n)
    point1: Array  # (3, POINTS, n) in the frame of the first box
    point2: Array  # (3, POINTS, n) in that of the second
    idle: Array  # (POINTS, n) bool: stands for nothing


class _Box(NamedTuple):
    """Boxes in the world."""

    pos: Array  # (3, n)
    rot: Array  # (3, 3, n)
    size: Array  # (3, n) half sides

    def reach(self, direction: Array) -> Array:
        """Half the extent along directions (3, k, n): (k, n)."""
        return dot(jnp.abs(self.inwards(direction)), self.size[:, None])

    def outwards(self, x: Array) -> Array:
        """Vectors (3, k, n) of the box's frame in the world."""
        return matvec(self.rot[:, :, None], x)

    def inwards(self, x: Array) -> Array:
        """Vectors (3, k, n) of the world in the box's frame."""
        return matvec_t(self.rot[:, :, None], x)


def touch(model: Model, pairs: Pairs, at: Facets, bodies: Bodies) -> Touch:
    """Gaps, points and normals at these link poses, the eight of a pair one after the other."""
    one, two = _boxes(model, pairs, bodies)
    normal = _turned(at.axis, one, two)
    point1 = one.pos[:, None] + one.outwards(at.point1)
    point2 = two.pos[:, None] + two.outwards(at.point2)
    gap = dot(normal, point2 - point1)
    # Where the line of the force meets box 2: under the point of box 1 on a face of box 2; where
    # two edges come nearest; else the point of box 2.
    u, w = one.outwards(at.axis.u1), two.outwards(at.axis.w2)
    _, run = runs(u, w, point2 - point1)
    on_face = (at.axis.n2 != 0).any(axis=0)
    point = jnp.where(on_face, point1 + gap * normal, point2 + run * w)
    bound = jnp.stack([safe_norm(one.size), safe_norm(two.size)])
    gap, point, normal = not_beyond_reach(bound, one.pos, two.pos, Touch(gap, point, normal))
    return rows_of(Touch(jnp.where(at.idle, IDLE, gap), point, jnp.where(at.idle, 0.0, normal)))


def facets(model: Model, pairs: Pairs, bodies: Bodies, ahead: Bodies) -> Facets:
    """Choose axes and points for a step from these poses, to about those `ahead`."""
    one, two = _boxes(model, pairs, bodies)
    near1, near2 = _nearest_points(one, two)
    axes = _axes(one, two, near2 - near1)
    gaps, later = _separation(axes, one, two), _separation(axes, *_boxes(model, pairs, ahead))
    gaps = gaps.at[_EDGES].add(jnp.where(_meet(axes, one, two), 0.0, -jnp.inf))
    best = _choice(gaps, later, total(one.size) + total(two.size))
    face = _choice(gaps[:6], later[:6], jnp.zeros_like(one.size[0]))
    own, other = (
        Axes(*(jnp.take_along_axis(x, k[None, None], axis=1) for x in axes)) for k in (face, best)
    )
    points1, points2, valid = _covered(one, two, _turned(own, one, two)[:, 0], face)
    edge1, edge2 = _crossing(one, two, _turned(other, one, two)[:, 0], best)
    by_face, by_line = best < _FACES2.stop, best == _LINE
    # Apart across edges or corners, what lies over a face must still not sink into it.
    last = (np.arange(POINTS) == POINTS - 1)[:, None] & ~by_face
    point1 = jnp.where(last, jnp.where(by_line, near1, edge1)[:, None], points1)
    point2 = jnp.where(last, jnp.where(by_line, near2, edge2)[:, None], points2)
    # Apart across a face that nothing lies over: by the corners of the other's.
    nearest = (np.arange(POINTS) < 4)[:, None] & by_face & ~valid.any(axis=0)
    return Facets(
        axis=Axes(*(jnp.where(last, x, y) for x, y in zip(other, own, strict=True))),
        point1=one.inwards(point1 - one.pos[:, None]),
        point2=two.inwards(point2 - two.pos[:, None]),
        idle=~(valid | last | nearest),
    )


def _boxes(model: Model, pairs: Pairs, bodies: Bodies) -> tuple[_Box, _Box]:
    one, two = placed(model, pairs, bodies)
    size1, size2 = (model.geom_size[geoms].T for geoms in pairs.sides)
    return _Box(one.pos, one.rot, size1), _Box(two.pos, two.rot, size2)


def _turned(axes: Axes, one: _Box, two: _Box) -> Array:
    """The axes in the world, (3, k, n); zero for parallel edges."""
    n = one.outwards(axes.n1) + two.outwards(axes.n2)
    n = n + cross(one.outwards(axes.u1), two.outwards(axes.w2))
    return n / at_least(safe_norm(n), 0.1 * PARALLEL)


def _axes(one: _Box, two: _Box, line: Array) -> Axes:
    """All axes (3, 16, n) of two boxes, towards box 2; `line` (3, n) between nearest points."""
    unit, none = np.eye(3), np.zeros((3, 3))
    faces = np.concatenate([unit, none, np.zeros((3, 10))], axis=1)
    edges = np.zeros((3, 6))
    u = np.concatenate([edges, np.repeat(unit, 3, axis=1), np.zeros((3, 1))], axis=1)
    w = np.concatenate([edges, np.tile(unit, 3), np.zeros((3, 1))], axis=1)
    last = (np.arange(16) == _LINE)[:, None]
    dtype, shape = line.dtype, (3, 16, line.shape[-1])
    n1, n2, u1, w2 = (
        jnp.broadcast_to(jnp.asarray(x, dtype)[..., None], shape)
        for x in (faces, np.roll(faces, 3, axis=1), u, w)
    )
    length = at_least(safe_norm(line))
    n1 = jnp.where(last, one.inwards((line / length)[:, None]), n1)
    axes = Axes(n1, n2, u1, w2)
    back = dot(_turned(axes, one, two), (two.pos - one.pos)[:, None]) < 0
    # The line between the nearest points has its direction already.
    sign = jnp.where(back & ~last, -1.0, 1.0).astype(dtype)
    return Axes(axes.n1 * sign, axes.n2 * sign, axes.u1 * sign, axes.w2)


def _choice(gaps: Array, later: Array, size: Array) -> Array:
    """The axis (n,) that keeps two boxes apart best, by the distances (k, n) along them.

    Of those along which they are apart now, the one along which they would be so most later, so
    that a box that passes another is not stopped; along none, where they overlap least.
    """
    handicap = (np.arange(len(gaps)) >= _FACES2.stop)[:, None] * _alike(size) * size
    apart = gaps > 0
    score = jnp.where(apart, later, jnp.where(apart.any(axis=0), -jnp.inf, gaps))
    return jnp.argmax(score - handicap, axis=0)


def _alike(x: Array) -> float:
    """_ALIKE, or what the rounding of x asks for."""
    return max(_ALIKE, 64 * float(jnp.finfo(x.dtype).eps))


def _separation(axes: Axes, one: _Box, two: _Box) -> Array:
    """How far two boxes are apart along their axes, (16, n); least for axes that are none."""
    n = _turned(axes, one, two)
    gap = dot(n, (two.pos - one.pos)[:, None]) - one.reach(n) - two.reach(n)
    return jnp.where(dot(n, n) > 0.5, gap, -jnp.inf)


def _meet(axes: Axes, one: _Box, two: _Box) -> Array:
    """Whether the edges that an axis is across come nearest about where they are, (9, n).

    Where they do not, corners or faces are nearer than they.
    """
    normal = _turned(axes, one, two)[:, _EDGES]
    pair = np.arange(9)
    a, b = _edges_towards(one, normal, pair // 3), _edges_towards(two, -normal, pair % 3)
    size1, size2 = safe_norm(a.half), safe_norm(b.half)
    run1, run2 = runs(a.half / size1, b.half / size2, b.center - a.center)
    return (jnp.abs(run1) < ABOUT * size1) & (jnp.abs(run2) < ABOUT * size2)


def _nearest_points(one: _Box, two: _Box) -> tuple[Array, Array]:
    """The nearest points of two boxes that are apart, world, (3, n) each."""
    corners1, corners2 = (
        box.pos[:, None]
        + box.outwards(jnp.asarray(_SIGNS, box.size.dtype)[..., None] * box.size[:, None])
        for box in (one, two)
    )
    edges1, edges2 = (_edges(box) for box in (one, two))
    a = Segment(*(x[:, :, None] for x in edges1))
    b = Segment(*(x[:, None] for x in edges2))
    s, t = nearest(a, b)
    crossing = (a.center + s * a.half, b.center + t * b.half)
    flat = [x.reshape(3, -1, x.shape[-1]) for x in jnp.broadcast_arrays(*crossing)]
    first = jnp.concatenate([_within(one, corners2), corners1, flat[0]], axis=1)
    second = jnp.concatenate([corners2, _within(two, corners1), flat[1]], axis=1)
    off = second - first
    best = jnp.argmin(dot(off, off), axis=0)[None, None]
    near = [jnp.take_along_axis(x, best, axis=1)[:, 0] for x in (first, second)]
    return near[0], near[1]


def _edges(box: _Box) -> Segment:
    """The edges of boxes in the world, (3, 12, n)."""
    edges = edges_of(box.size)
    return Segment(box.pos[:, None] + box.outwards(edges.center), box.outwards(edges.half))


def _within(box: _Box, points: Array) -> Array:
    """The points of the boxes nearest to points (3, k, n)."""
    local = box.inwards(points - box.pos[:, None])
    size = box.size[:, None]
    return box.pos[:, None] + box.outwards(jnp.clip(local, -size, size))


def _crossing(one: _Box, two: _Box, normal: Array, choice: Array) -> tuple[Array, Array]:
    """The nearest points of the two edges that an axis is across, world, (3, n) each."""
    pair, normal = jnp.clip(choice - _EDGES.start, 0, 8)[None], normal[:, None]
    a, b = _edges_towards(one, normal, pair // 3), _edges_towards(two, -normal, pair % 3)
    s, t = nearest(a, b)
    first, second = a.center + s * a.half, b.center + t * b.half
    return first[:, 0], second[:, 0]


def _edges_towards(box: _Box, direction: Array, along: Array | np.ndarray) -> Segment:
    """The edges of a box along axes of its own that lie furthest in directions (3, k, n).

    along: (k, n), or (k,) for all boxes.
    """
    along = along if along.ndim == 2 else along[:, None]
    size, is_along = box.size[:, None], jnp.arange(3)[:, None, None] == along
    center = jnp.where(is_along, 0.0, jnp.where(box.inwards(direction) < 0, -size, size))
    half = jnp.where(is_along, size, 0.0)
    return Segment(box.pos[:, None] + box.outwards(center), box.outwards(half))


class _Face(NamedTuple):
    """Faces of boxes in the world."""

    center: Array  # (3, n)
    side1: Array  # (3, n) half side, from the centre
    side2: Array  # (3, n)

    def corners(self) -> Array:
        """(3, 4, n)"""
        a, b = jnp.asarray(_ROUND, self.center.dtype)[..., None]
        return self.center[:, None] + a * self.side1[:, None] + b * self.side2[:, None]


def _face_towards(box: _Box, direction: Array) -> _Face:
    """The face of a box that looks most in a direction (3, n)."""
    local = box.inwards(direction[:, None])[:, 0]
    most = jnp.argmax(jnp.abs(local), axis=0)
    sides = []
    for k in range(3):
        hot = jnp.arange(3)[:, None] == (most + k) % 3
        side = jnp.where(hot, box.size, 0.0)
        if k == 0:
            side = jnp.where(local < 0, -side, side)
        sides.append(box.outwards(side[:, None])[:, 0])
    return _Face(box.pos + sides[0], sides[1], sides[2])


def _covered(one: _Box, two: _Box, normal: Array, choice: Array) -> tuple[Array, Array, Array]:
    """Where boxes touch across a face, by its index of the six: the corners of what both cover.

    Points of box 1 and of box 2, (3, POINTS, n), and which of them there are, (POINTS, n). Where
    the faces do not overlap the first four are those of the corners of the one that looks back.
    """
    of_first = choice < _FACES1.stop
    outwards = jnp.where(of_first, normal, -normal)
    own = _Box(*(jnp.where(of_first, a, b) for a, b in zip(one, two, strict=True)))
    other = _Box(*(jnp.where(of_first, b, a) for a, b in zip(one, two, strict=True)))
    face, back = _face_towards(own, outwards), _face_towards(other, -outwards)
    points, valid = _polygon(face, back)
    order = jnp.argsort(~valid, axis=0, stable=True)[:POINTS]
    points = jnp.take_along_axis(points, order[None], axis=1)
    height = dot(outwards[:, None], points - face.center[:, None])
    below = points - height * outwards[:, None]
    valid = jnp.take_along_axis(valid, order, axis=0)
    return jnp.where(of_first, below, points), jnp.where(of_first, points, below), valid


def _polygon(face: _Face, back: _Face) -> tuple[Array, Array]:
    """Points (3, 24, n) of one face that may be corners of its overlap with another; which are."""
    alike = _alike(face.center)
    corners = back.corners()
    # In units of the face's half sides.
    flat = _coordinates(face, corners)
    inside = (jnp.abs(flat) <= 1 + alike).all(axis=0)
    # Corners of the face, in units of the other's half sides as they appear from here.
    center = _coordinates(face, back.center[:, None])
    a, b = (_coordinates(face, (face.center + side)[:, None]) for side in (back.side1, back.side2))
    area = a[0] * b[1] - a[1] * b[0]
    own = jnp.asarray(_ROUND, face.center.dtype)[..., None] - center
    s, t = (own[0] * b[1] - own[1] * b[0]) / area, (a[0] * own[1] - a[1] * own[0]) / area
    over = (jnp.abs(s) <= 1 + alike) & (jnp.abs(t) <= 1 + alike)
    opposite = back.center[:, None] + s * back.side1[:, None] + t * back.side2[:, None]
    # Where edges of one pass over those of the other.
    run, far_run = jnp.roll(flat, -1, axis=1) - flat, jnp.roll(corners, -1, axis=1) - corners
    cuts, passes = [], []
    for k, border in ((0, -1.0), (0, 1.0), (1, -1.0), (1, 1.0)):
        still = jnp.abs(run[k]) <= alike
        share = (border - flat[k]) / jnp.where(still, 1.0, run[k])
        across = flat[1 - k] + share * run[1 - k]
        within = (share > alike) & (share < 1 - alike) & (jnp.abs(across) < 1 - alike)
        passes.append(within & ~still)
        cuts.append(corners + jnp.where(still, 0.0, share) * far_run)
    return (
        jnp.concatenate([corners, opposite, *cuts], axis=1),
        jnp.concatenate([inside, over, *passes]),
    )


def _coordinates(face: _Face, points: Array) -> Array:
    """Coordinates (2, k, n) of points (3, k, n) in a face, in units of its half sides."""
    off = points - face.center[:, None]
    sides = [side[:, None] for side in (face.side1, face.side2)]
    return jnp.stack([dot(side, off) / at_least(dot(side, side)) for side in sides])
