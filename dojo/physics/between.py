"""What parts two convex geoms between edges and corners.

An edge may be round: the axis of a capsule, and that of a cylinder for its side. The rim of a
cylinder counts by the point where it is nearest at the start of a step.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from dojo.math.vectors import SMALL, at_least, cross, dot, safe_norm
from dojo.physics import gjk
from dojo.physics.distance import Terms, furthest, reach
from dojo.physics.features import PARALLEL, Features, Normals, Side, beside
from dojo.physics.solids import Solid

# A ball about a corner or an edge that is larger, over the geoms' size, gives a normal of its own.
_CURVED = 1e-6
# Round edges within this sine of each other touch at both ends of where they lie along each other.
_ALONG = 0.05
# Over the middle of a face all its edges lie as far as each other; this share of their distances
# from what is there tells which one counts.
_TIE = 1e-3
# Which sides of the places about rims are rims.
_ROUND = ([1, 0, 1, 1, 0], [0, 1, 1, 0, 1])
# Newton steps for where a rim is nearest.
_STEPS = 8
# Where `between` lists edges along each other.
LENGTHWISE = slice(-2, None)

_Found = tuple[Features, Array]  # one place of each pair, and whether it is there, (n,)


class _Point(NamedTuple):
    """A point of each geom."""

    at: Array  # (3, n) world
    radius: Array  # (n,) of a ball about it
    rim: Array  # (3, n) world, of points on a rim: from its centre; zero for others


class _Edge(NamedTuple):
    """An edge of each geom, in the world."""

    center: Array  # (3, n)
    half: Array  # (3, n)
    radius: Array  # (n,) of what is round about it
    there: Array  # (n,) bool

    @property
    def unit(self) -> Array:
        """(3, n)"""
        return self.half / at_least(safe_norm(self.half), SMALL)

    @property
    def point(self) -> _Point:
        """Its middle."""
        return _Point(self.center, self.radius, jnp.zeros_like(self.center))


class _Nearest(NamedTuple):
    """What of each geom lies furthest in a direction."""

    corner: _Point  # or the middle of a cap
    edge: _Edge
    rim: Array  # (n,) bool: a cap


class _Pair(NamedTuple):
    """Two geoms, with what is known of where they are nearest."""

    one: Solid
    two: Solid
    way: Array  # (3, n) from the first to the second
    size: Array  # (n,) [m]
    by_second: Array  # (n,) bool: the second geom turns less in the step

    def place(self, first: _Point, second: _Point, along: Normals) -> Features:
        """A place of each pair, by points and directions (3, n) of the world."""
        one, two = self.one, self.two

        def side(solid: Solid, point: _Point) -> Side:
            local = solid.inwards((point.at - solid.pose.pos)[:, None])
            rim = solid.inwards(point.rim[:, None])[:2]
            return Side(local, jnp.zeros_like(local), point.radius[None], rim)

        n1, n2, u1, w2 = (x[:, None] for x in along)
        normals = Normals(one.inwards(n1), two.inwards(n2), one.inwards(u1), two.inwards(w2))
        no = jnp.zeros((1, n1.shape[-1]), bool)
        return Features(normals, no, side(one, first), side(two, second), no, no)


def between(one: Solid, two: Solid, size: Array, by_second: Array) -> tuple[Features, Array]:
    """What may part geoms of these sizes other than faces, and whether it is there: (k, n).

    Normals that either may hold are fixed to the second geom where `by_second` (n,).
    """
    n = lax.stop_gradient(gjk.direction(one, two))
    a, b = _nearest(one, n, _corner(two, -n)), _nearest(two, -n, _corner(one, n))
    pair, none = _Pair(one, two, n, size, by_second), jnp.zeros_like(n)
    u, w = a.edge.unit, b.edge.unit
    found = [
        _across(pair, a.edge, b.edge),
        (_distance(pair, a.edge.point, b.corner, u, none), a.edge.there & ~b.rim),
        (_distance(pair, a.corner, b.edge.point, none, w), b.edge.there & ~a.rim),
        (_distance(pair, a.corner, b.corner, none, none), ~(a.rim | b.rim)),
        *_about_rims(pair, a, b),
        *_lengthwise(pair, a.edge, b.edge),
    ]
    return beside(*(at for at, _ in found)), jnp.stack([there for _, there in found])


def _about_rims(pair: _Pair, a: _Nearest, b: _Nearest) -> list[_Found]:
    """Rims against edges, corners and rims: the points where they are nearest now."""
    one, two, none = pair.one, pair.two, jnp.zeros_like(pair.way)
    u, w = a.edge.unit, b.edge.unit
    firsts = (a.corner, a.edge.point, a.corner, a.corner, a.corner)
    seconds = (b.edge.point, b.corner, b.corner, b.corner, b.corner)
    lines = ((none, w), (u, none), (none, none), (none, none), (none, none))
    there = (
        a.rim & b.edge.there,
        b.rim & a.edge.there,
        a.rim & b.rim,
        a.rim & ~b.rim,
        b.rim & ~a.rim,
    )
    on_one, on_two = (jnp.asarray(x, none.dtype)[:, None] for x in _ROUND)
    terms = Terms(
        off=jnp.stack([q.at - p.at for p, q in zip(firsts, seconds, strict=True)], axis=1),
        line=jnp.stack([x + y for x, y in lines], axis=1),
        one=one.pose,
        two=two.pose,
        spread1=on_one * one.spread[:, None],
        spread2=on_two * two.spread[:, None],
        size=pair.size,
    )
    n = furthest(terms, jnp.broadcast_to(pair.way[:, None], terms.off.shape), _STEPS)
    reach1, reach2 = reach(one.pose, terms.spread1, n), reach(two.pose, terms.spread2, -n)
    return [
        (
            _distance(
                pair._replace(way=n[:, k]),
                _Point(firsts[k].at + reach1[:, k], firsts[k].radius, reach1[:, k]),
                _Point(seconds[k].at + reach2[:, k], seconds[k].radius, reach2[:, k]),
                *lines[k],
            ),
            there[k],
        )
        for k in range(len(there))
    ]


def _nearest(solid: Solid, direction: Array, other: Array) -> _Nearest:
    """What lies furthest in a direction; of edges alike the one nearest to a point (3, n)."""
    m, place = (solid.inwards(x[:, None]) for x in (direction, other - solid.pose.pos))
    a, b = solid.ends
    half = 0.5 * (b - a)
    off = place - 0.5 * (a + b)
    share = jnp.clip(dot(half, off) / at_least(dot(half, half), SMALL**2), -1.0, 1.0)
    score = dot(m, a) + dot(m, b) - _TIE * safe_norm(off - share * half)
    score = jnp.where(solid.has_edge, score, -jnp.inf)
    furthest = jnp.argmax(score, axis=0)[None, None]
    a, b = (jnp.take_along_axis(x, furthest, axis=1)[:, 0] for x in (a, b))
    center, half = (solid.outwards(x[:, None])[:, 0] for x in (0.5 * (a + b), 0.5 * (b - a)))
    disc = solid.spread[0]
    edge = _Edge(solid.pose.pos + center, half, solid.radius + disc, solid.has_edge.any(axis=0))
    corner = _corner(solid, direction)
    return _Nearest(_Point(corner, solid.radius, jnp.zeros_like(corner)), edge, disc > 0)


def _corner(solid: Solid, direction: Array) -> Array:
    """The corner of the cores that lies furthest in a direction, world: (3, n)."""
    best = jnp.argmax(dot(solid.inwards(direction[:, None]), solid.core), axis=0)
    core = jnp.take_along_axis(solid.core, best[None, None], axis=1)
    return solid.pose.pos + solid.outwards(core)[:, 0]


def _across(pair: _Pair, e: _Edge, f: _Edge) -> _Found:
    """Edges that cross each other: the normal stays across both."""
    u, w, none = e.unit, f.unit, jnp.zeros_like(e.half)
    normal = cross(u, w)
    # Away from the first geom.
    u = jnp.where(dot(normal, pair.way) < 0, -u, u)
    along = Normals(none, none, u, w)
    at = pair.place(e.point, f.point, along)
    return at, e.there & f.there & (safe_norm(normal) > PARALLEL)


def _distance(pair: _Pair, first: _Point, second: _Point, u: Array, w: Array) -> Features:
    """Points, of which one may be any on its edge, along u or w.

    The normal turns with them where balls keep them apart, else it stays with that edge.
    """
    none, off = jnp.zeros_like(u), second.at - first.at
    ways = [x - u * dot(u, x) - w * dot(w, x) for x in (off, pair.way)]
    touching = dot(ways[0], ways[0]) <= (_CURVED * pair.size) ** 2
    way = jnp.where(touching, ways[1], ways[0])
    way = way / at_least(safe_norm(way), SMALL)
    # The normal of an arc is not that of the distance from its middle.
    on_rim = ((first.rim != 0) | (second.rim != 0)).any(axis=0)
    free = (first.radius + second.radius > _CURVED * pair.size) & ~on_rim
    on_first, on_second = ((x != 0).any(axis=0) for x in (u, w))
    on_second = on_second | (pair.by_second & ~on_first)
    along = Normals(
        jnp.where(free | on_second, none, way),
        jnp.where(free | ~on_second, none, way),
        jnp.where(free, u, none),
        jnp.where(free, w, none),
    )
    # Of an edge the point that is nearest.
    first = first._replace(at=first.at + jnp.where(free, 0.0, u * dot(u, off)))
    second = second._replace(at=second.at - jnp.where(free, 0.0, w * dot(w, off)))
    at = pair.place(first, second, along)
    return at._replace(free=free[None], by_first=on_second[None])


def _lengthwise(pair: _Pair, e: _Edge, f: _Edge) -> list[_Found]:
    """Round edges that lie along each other touch at both ends of where they do.

    Each is the edge of the first geom and a point of that of the second.
    """
    u, w, none = e.unit, f.unit, jnp.zeros_like(e.half)
    there = e.there & f.there & (safe_norm(cross(u, w)) < _ALONG)
    there = there & (e.radius + f.radius > _CURVED * pair.size)
    # Where the ends of the first are along the second, which runs from -1 to 1.
    run, middle, length = dot(u, f.half), dot(u, f.center - e.center), safe_norm(e.half)
    ends = [
        jnp.clip((side * length - middle) / jnp.where(there, run, 1.0), -1.0, 1.0)
        for side in (-1.0, 1.0)
    ]
    there = there & (jnp.abs(ends[1] - ends[0]) > _ALONG)
    points = [f.point._replace(at=f.center + t * f.half) for t in ends]
    return [(_distance(pair, e.point, p, u, none), there) for p in points]
