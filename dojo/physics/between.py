"""What parts two convex geoms between edges and corners.

An edge may be round: the axis of a capsule, and that of a cylinder for its side. The rim of a
cylinder counts by the point where it is nearest at the start of a step. `spots` tells which edges,
corners and rims; here are their features, which follow the geoms' poses smoothly.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from dojo.math.vectors import SMALL, at_least, cross, dot, safe_norm
from dojo.physics.distance import Terms, furthest, reach, settled
from dojo.physics.features import Features, Normals, Side
from dojo.physics.solids import Solid
from dojo.physics.spots import CURVED, Spot, Spots, share, unit

# Newton steps for where a rim is nearest.
_SEARCH = 6


class Pair(NamedTuple):
    """Two geoms."""

    one: Solid
    two: Solid
    size: Array  # (n,) [m]
    by_second: Array  # (n,) bool: normals that either may hold are fixed to the second geom


class _Lines(NamedTuple):
    """Directions (3, k, n) of the edges that may touch anywhere, and whether they are across."""

    u: Array
    w: Array
    across: Array  # (k, n) bool

    @property
    def one(self) -> tuple[Array, Array]:
        """The edge that the normal stays across; across two there is no choice."""
        return jnp.where(self.across, 0.0, self.u), jnp.where(self.across, 0.0, self.w)


def turned(pair: Pair, at: Spots) -> Spots:
    """The spots, with ways between rims that lead to where those are nearest."""
    # What is found has no derivatives; the spots themselves keep theirs, by the geoms' shapes.
    pair, still = lax.stop_gradient((pair, at))
    lines, first, second = _middles(pair, still)
    terms = _terms(pair, still, lines, second - first)
    way = settled(terms, still.way, _SEARCH)
    return at._replace(way=jnp.where(_on_rim(still), way, still.way))


def between(pair: Pair, at: Spots) -> Features:
    """What parts geoms at spots that have been `turned`."""
    lines, first, second = _middles(pair, at)
    way = furthest(_terms(pair, at, lines, second - first), at.way)
    way = jnp.where(_on_rim(at), way, at.way)
    rims = reach(pair.one.pose, at.one.disc, way), reach(pair.two.pose, at.two.disc, -way)
    first, second = first + rims[0], second + rims[1]
    u, w = lines.one
    off = second - first
    held, free = _held(pair, at, way, off, (u, w))
    across = _across(lines, way)
    n1, n2, u1, w2 = (jnp.where(lines.across, *x) for x in zip(across, held, strict=True))
    segments = lines.across & free
    n1 = jnp.where(segments, way, n1)
    one, two = pair.one, pair.two
    along = Normals(one.inwards(n1), two.inwards(n2), one.inwards(u1), two.inwards(w2))
    # Of an edge the point that is nearest.
    first = first + jnp.where(free, 0.0, u * dot(u, off))
    second = second - jnp.where(free, 0.0, w * dot(w, off))
    return Features(
        along=along,
        free=free,
        one=_side(one, at.one, first, rims[0], segments),
        two=_side(two, _leaning(two, at, off - u * dot(u, off)), second, rims[1], segments),
        by_first=_by_second(pair, u, w) & ~lines.across,
        idle=jnp.zeros_like(free),
    )


def _middles(pair: Pair, at: Spots) -> tuple[_Lines, Array, Array]:
    """The edges and the spots' points (3, k, n), in the world."""
    (a, e), (b, f) = (
        (solid.pose.pos[:, None] + solid.outwards(spot.point), solid.outwards(spot.half))
        for solid, spot in ((pair.one, at.one), (pair.two, at.two))
    )
    # Of edges along each other, the first and a point of the second.
    lengthwise = at.end != 0
    b = b + jnp.where(lengthwise, share(at.end, e, f, b - a), 0.0) * f
    u, w = unit(e), jnp.where(lengthwise, 0.0, unit(f))
    return _Lines(u, w, (u != 0).any(axis=0) & (w != 0).any(axis=0)), a, b


def _terms(pair: Pair, at: Spots, lines: _Lines, off: Array) -> Terms:
    u, w = lines.one
    return Terms(off, u + w, pair.one.pose, pair.two.pose, at.one.disc, at.two.disc, pair.size)


def _leaning(two: Solid, at: Spots, off: Array) -> Spot:
    """The second geoms' spots; of a cylinder's side lengthwise, as far as it reaches along `off`.

    That is across the edge that it lies along, and not quite across its own axis.
    """
    run, axis = off / at_least(safe_norm(off), SMALL), unit(two.outwards(at.two.half))
    along = jnp.where(at.end != 0, dot(run, axis), 0.0)
    less = two.spread[0] * (1 - jnp.sqrt(at_least(1 - along * along)))
    return at.two._replace(radius=at.two.radius - less)


def _on_rim(at: Spots) -> Array:
    return ((at.one.disc != 0) | (at.two.disc != 0)).any(axis=0)


def _across(lines: _Lines, way: Array) -> Normals:
    """The normal across two edges, away from the first geom."""
    u, w, _ = lines
    none = jnp.zeros_like(u)
    return Normals(none, none, jnp.where(dot(cross(u, w), way) < 0, -u, u), w)


def _held(
    pair: Pair, at: Spots, way: Array, off: Array, edges: tuple[Array, Array]
) -> tuple[Normals, Array]:
    """The normals of points, of which one may be any on its edge, and whether they turn freely.

    The normal turns with the points where balls keep them apart, else it stays with that edge.
    """
    (u, w), none = edges, jnp.zeros_like(way)
    off, way = (x - u * dot(u, x) - w * dot(w, x) for x in (off, way))
    touching = dot(off, off) <= (CURVED * pair.size) ** 2
    way = jnp.where(touching, way, off)
    way = way / at_least(safe_norm(way), SMALL)
    # The normal of an arc is not that of the distance from its middle.
    free = (at.one.radius + at.two.radius > CURVED * pair.size) & ~_on_rim(at)
    on_second = _by_second(pair, u, w)
    normals = Normals(
        jnp.where(free | on_second, none, way),
        jnp.where(free | ~on_second, none, way),
        jnp.where(free, u, none),
        jnp.where(free, w, none),
    )
    return normals, free


def _by_second(pair: Pair, u: Array, w: Array) -> Array:
    """Whether the second geom holds the normal, (k, n)."""
    on_first, on_second = ((x != 0).any(axis=0) for x in (u, w))
    return on_second | (pair.by_second & ~on_first)


def _side(solid: Solid, spot: Spot, point: Array, rim: Array, segments: Array) -> Side:
    """A geom's part by points (3, k, n) of the world, where these are on rims, and `segments`."""
    local = solid.inwards(point - solid.pose.pos[:, None])
    half = jnp.where(segments, spot.half, 0.0)
    return Side(local, jnp.zeros_like(local), spot.radius, solid.inwards(rim)[:2], half)
