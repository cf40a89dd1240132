"""What parts two convex geoms between edges and corners.

An edge may be round: the axis of a capsule, and that of a cylinder for its side. The rim of a
cylinder counts by the point where it is nearest, and there as an edge along its tangent.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from dojo.math.vectors import SMALL, at_least, cross, dot, safe_norm
from dojo.physics import gjk
from dojo.physics.features import PARALLEL, Features, Normals, Side, beside
from dojo.physics.solids import Solid

# A ball about a corner or an edge that is larger, over the geoms' size, gives a normal of its own.
_CURVED = 1e-6
# Round edges within this sine of each other touch at both ends of where they lie along each other.
_ALONG = 0.05
# A tangent stands for a rim as far as this share of its radius, and where it is not within this
# sine of what it crosses.
_TANGENT, _OBLIQUE = 0.3, 0.2
# Where `between` lists edges along each other.
LENGTHWISE = slice(-2, None)

_Point = tuple[Array, Array]  # (3, n) world, and the radius (n,) of a ball about it
_Found = tuple[Features, Array]  # one place of each pair, and whether it is there, (n,)


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


class _Nearest(NamedTuple):
    """What of each geom lies furthest in a direction."""

    corner: _Point  # of a rim the point
    edge: _Edge
    tangent: _Edge  # of a rim


class _Pair(NamedTuple):
    """Two geoms, with what is known of where they are nearest."""

    one: Solid
    two: Solid
    way: Array  # (3, n) from the first to the second
    size: Array  # (n,) [m]

    def place(self, first: _Point, second: _Point, along: Normals) -> Features:
        """A place of each pair, by points and directions (3, n) of the world."""
        one, two = self.one, self.two

        def side(solid: Solid, point: _Point) -> Side:
            local = solid.inwards((point[0] - solid.pose.pos)[:, None])
            return Side(local, jnp.zeros_like(local), point[1][None])

        n1, n2, u1, w2 = (x[:, None] for x in along)
        normals = Normals(one.inwards(n1), two.inwards(n2), one.inwards(u1), two.inwards(w2))
        no = jnp.zeros((1, n1.shape[-1]), bool)
        return Features(normals, no, side(one, first), side(two, second), no, no)


def between(one: Solid, two: Solid, size: Array) -> tuple[Features, Array]:
    """What may part geoms of these sizes other than faces, and whether it is there: (k, n)."""
    n = lax.stop_gradient(gjk.direction(one, two))
    a, b = _nearest(one, n), _nearest(two, -n)
    pair, none = _Pair(one, two, n, size), jnp.zeros_like(n)
    edges = tuple((x.edge.center, x.edge.radius) for x in (a, b))
    corners = _distance(pair, a.corner, b.corner, none, none)
    found = [
        _across(pair, a.edge, b.edge),
        (_distance(pair, edges[0], b.corner, a.edge.unit, none), a.edge.there),
        (_distance(pair, a.corner, edges[1], none, b.edge.unit), b.edge.there),
        _across_rim(pair, a.tangent, b.edge, on_second=True),
        _across_rim(pair, a.edge, b.tangent),
        _across_rim(pair, a.tangent, b.tangent),
        (corners, jnp.ones_like(a.edge.there)),
        *_lengthwise(pair, a.edge, b.edge),
    ]
    return beside(*(at for at, _ in found)), jnp.stack([there for _, there in found])


def _nearest(solid: Solid, direction: Array) -> _Nearest:
    m = solid.inwards(direction[:, None])
    best = jnp.argmax(dot(m, solid.core), axis=0)
    core = jnp.take_along_axis(solid.core, best[None, None], axis=1)[:, 0]
    stretched = solid.spread * m[:, 0]
    reach = solid.spread * stretched / at_least(safe_norm(stretched), SMALL)
    a, b = solid.ends
    score = jnp.where(solid.has_edge, dot(m, a) + dot(m, b), -jnp.inf)
    furthest = jnp.argmax(score, axis=0)[None, None]
    a, b = (jnp.take_along_axis(x, furthest, axis=1)[:, 0] for x in (a, b))
    tangent = _TANGENT * jnp.stack([-reach[1], reach[0], jnp.zeros_like(reach[0])])
    corner, center = (
        solid.pose.pos + solid.outwards(x[:, None])[:, 0] for x in (core + reach, 0.5 * (a + b))
    )
    half, tangent = (solid.outwards(x[:, None])[:, 0] for x in (0.5 * (b - a), tangent))
    disc = solid.spread[0]
    return _Nearest(
        (corner, solid.radius),
        _Edge(center, half, solid.radius + disc, solid.has_edge.any(axis=0)),
        _Edge(corner, tangent, jnp.zeros_like(disc), disc > 0),
    )


def _across(pair: _Pair, e: _Edge, f: _Edge) -> _Found:
    """Edges that cross each other: the normal stays across both."""
    u, w, none = e.unit, f.unit, jnp.zeros_like(e.half)
    normal = cross(u, w)
    # Away from the first geom.
    u = jnp.where(dot(normal, pair.way) < 0, -u, u)
    along = Normals(none, none, u, w)
    at = pair.place((e.center, e.radius), (f.center, f.radius), along)
    return at, e.there & f.there & (safe_norm(normal) > PARALLEL)


def _across_rim(pair: _Pair, e: _Edge, f: _Edge, on_second: bool = False) -> _Found:
    """The tangent of a rim across an edge or another tangent: the points where they cross now.

    The normal stays with one of them: a line that turns with a rim is soon far from it.
    """
    u, w, off, none = e.unit, f.unit, f.center - e.center, jnp.zeros_like(e.half)
    normal, along = cross(u, w), dot(u, w)
    sine = safe_norm(normal)
    normal = jnp.where(dot(normal, pair.way) < 0, -normal, normal) / at_least(sine, SMALL)
    s, t = dot(u, off) - along * dot(w, off), along * dot(u, off) - dot(w, off)
    s, t = (x / at_least(sine * sine, _OBLIQUE**2) for x in (s, t))
    first, second = (e.center + s * u, e.radius), (f.center + t * w, f.radius)
    held = (none, normal) if on_second else (normal, none)
    at = pair.place(first, second, Normals(*held, none, none))
    on_both = (jnp.abs(s) <= safe_norm(e.half)) & (jnp.abs(t) <= safe_norm(f.half))
    return at, e.there & f.there & (sine > _OBLIQUE) & on_both


def _distance(pair: _Pair, first: _Point, second: _Point, u: Array, w: Array) -> Features:
    """Points, of which one may be any on its edge, along u or w.

    The normal turns with them where balls keep them apart, else it stays with that edge.
    """
    none, off = jnp.zeros_like(u), second[0] - first[0]
    ways = [x - u * dot(u, x) - w * dot(w, x) for x in (off, pair.way)]
    touching = dot(ways[0], ways[0]) <= (_CURVED * pair.size) ** 2
    way = jnp.where(touching, ways[1], ways[0])
    way = way / at_least(safe_norm(way), SMALL)
    free = first[1] + second[1] > _CURVED * pair.size
    on_second = (w != 0).any(axis=0)
    along = Normals(
        jnp.where(free | on_second, none, way),
        jnp.where(free | ~on_second, none, way),
        jnp.where(free, u, none),
        jnp.where(free, w, none),
    )
    # Of an edge the point that is nearest.
    first = first[0] + jnp.where(free, 0.0, u * dot(u, off)), first[1]
    second = second[0] - jnp.where(free, 0.0, w * dot(w, off)), second[1]
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
    points = [(f.center + t * f.half, f.radius) for t in ends]
    return [(_distance(pair, (e.center, e.radius), p, u, none), there) for p in points]
