"""Which edges, corners and rims of two convex geoms may be nearest to each other.

Chosen at the start of a step, by where the geoms are then; what is chosen moves with its geom.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dojo.math.vectors import SMALL, at_least, cross, dot, reduced, safe_norm
from dojo.physics.segments import PARALLEL
from dojo.physics.solids import Solid

# Round edges within this sine of each other touch at both ends of where they lie along each other.
_ALONG = 0.05
# Over the middle of a face all its edges and corners lie as far as each other, over an edge both
# its ends; this share of their distances from what is there tells which one counts, where it would
# otherwise be a matter of rounding.
_TIE = 1e-5
# Corners whose heights differ by less than this, over the geoms' size, lie as far in a direction.
_LEVEL = 1e-5
# A ball about a corner or an edge that is larger, over the geoms' size, gives a normal of its own.
CURVED = 1e-6

_EDGE, _CORNER, _RIM = range(3)
# What of the first and of the second geom may be nearest. Edges along each other come last, once
# for each end of where they lie so.
_FIRST = np.array([_EDGE, _EDGE, _CORNER, _CORNER, _RIM, _EDGE, _RIM, _RIM, _CORNER, _EDGE, _EDGE])
_SECOND = np.array([_EDGE, _CORNER, _EDGE, _CORNER, _EDGE, _RIM, _RIM, _CORNER, _RIM, _EDGE, _EDGE])
_END = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 1])
_ACROSS, LENGTHWISE = 0, (9, 10)


class Spot(NamedTuple):
    """Of one geom, in its frame; k of each pair."""

    point: Array  # (3, k, n) a corner, or the middle of an edge or of a cap
    half: Array  # (3, k, n) of an edge; zero for others
    radius: Array  # (k, n) of what is round about it
    disc: Array  # (3, k, n) half axes of what has the rim; zero for others


class Spots(NamedTuple):
    """Of both geoms."""

    one: Spot
    two: Spot
    end: Array  # (k, n) -1 or 1: that end of where edges lie along each other; 0 for others
    way: Array  # (3, k, n) from the first to the second, world

    def picked(self, index: Array) -> "Spots":
        """Some of each pair, (m, n)."""

        def pick(x: Array) -> Array:
            return jnp.take_along_axis(x, index.reshape(*[1] * (x.ndim - 2), *index.shape), axis=-2)

        return jax.tree.map(pick, self)


def spots(one: Solid, two: Solid, way: Array, size: Array) -> tuple[Spots, Array]:
    """Where geoms of these sizes may be nearest, and which of that there is: (k, n).

    `way` (3, n) leads from the first to the second.
    """
    seen = lax.stop_gradient((one, two))
    at = _extreme(seen[0], way, size), _extreme(seen[1], -way, size)
    first, is_first = _nearest(one, way, at[1])
    second, is_second = _nearest(two, -way, at[0])
    there = is_first[_FIRST] & is_second[_SECOND]
    across, along = _edges_meet(*seen, *lax.stop_gradient((first, second)), size)
    rows = np.arange(len(_FIRST))[:, None]
    there = there & (across | (rows != _ACROSS)) & (along | (_END[:, None] == 0))
    end = jnp.asarray(_END, way.dtype)[:, None] + jnp.zeros_like(size)
    ways = jnp.broadcast_to(way[:, None], (3, *end.shape))
    return Spots(_rows(first, _FIRST), _rows(second, _SECOND), end, ways), there


def _rows(kinds: Spot, index: np.ndarray) -> Spot:
    return jax.tree.map(lambda x: x[..., index, :], kinds)


def _nearest(solid: Solid, direction: Array, other: Array) -> tuple[Spot, Array]:
    """A geom's edge, corner and rim in a direction, near a point, and whether it has them.

    The rim is about the corner; where there is one, the corner does not count.
    """
    seen = lax.stop_gradient(solid)
    edge, corner = edge_along(seen, direction, other), corner_along(seen, direction, other)
    a, b = (jnp.take_along_axis(x, edge[None, None], axis=1) for x in solid.ends)
    core, none = _core(solid, corner), jnp.zeros_like(a)
    disc, ball = solid.spread[:, None], solid.radius[None]
    found = Spot(
        point=jnp.concatenate([0.5 * (a + b), core, core], axis=1),
        half=jnp.concatenate([0.5 * (b - a), none, none], axis=1),
        radius=jnp.concatenate([ball + disc[0], ball, ball]),
        disc=jnp.concatenate([none, none, disc], axis=1),
    )
    is_rim = solid.spread[0] > 0
    return found, jnp.stack([solid.has_edge.any(axis=0), ~is_rim, is_rim])


def _edges_meet(
    one: Solid, two: Solid, first: Spot, second: Spot, size: Array
) -> tuple[Array, Array]:
    """Whether the edges (n,) are across each other, and whether they lie along each other."""
    (a, e), (b, f) = (
        (s.pose.pos + s.outwards(at.point[:, :1])[:, 0], s.outwards(at.half[:, :1])[:, 0])
        for s, at in ((one, first), (two, second))
    )
    sine = safe_norm(cross(unit(e), unit(f)))
    start, stop = (share(jnp.full_like(size, end), e, f, b - a) for end in (-1.0, 1.0))
    is_round = first.radius[0] + second.radius[0] > CURVED * size
    return sine > PARALLEL, (sine < _ALONG) & is_round & (jnp.abs(stop - start) > _ALONG)


def unit(half: Array) -> Array:
    """Directions (3, ...) of edges, zero where there is none."""
    return half / at_least(safe_norm(half), SMALL)


def share(end: Array, e: Array, f: Array, off: Array) -> Array:
    """Where an end (-1 or 1) of one edge is on another that it lies along, from -1 to 1.

    By halves (3, ...) of the edges, f that of the other, and the way between their middles.
    """
    u = unit(e)
    run = dot(u, f)
    along = run * run > 0.25 * dot(f, f)
    return jnp.clip((end * safe_norm(e) - dot(u, off)) / jnp.where(along, run, 1.0), -1.0, 1.0)


def edge_along(solid: Solid, direction: Array, other: Array) -> Array:
    """The edge (n,) that lies furthest in a direction; of those alike the nearest to a point."""
    m, place = (solid.inwards(x[:, None]) for x in (direction, other - solid.pose.pos))
    a, b = solid.ends
    half = 0.5 * (b - a)
    off = place - 0.5 * (a + b)
    along = jnp.clip(dot(half, off) / at_least(dot(half, half), SMALL**2), -1.0, 1.0)
    score = dot(m, a) + dot(m, b) - _TIE * safe_norm(off - along * half)
    return jnp.argmax(jnp.where(solid.has_edge, score, -jnp.inf), axis=0)


def corner_along(solid: Solid, direction: Array, other: Array) -> Array:
    """The corner (n,) of the cores that lies furthest; of those alike the nearest to a point."""
    m, place = (solid.inwards(x[:, None]) for x in (direction, other - solid.pose.pos))
    return jnp.argmax(dot(m, solid.core) - _TIE * safe_norm(place - solid.core), axis=0)


def _extreme(solid: Solid, direction: Array, size: Array) -> Array:
    """What of the cores lies furthest in a direction, world (3, n): of corners alike the mean.

    One of these alone would be a matter of rounding, and with it the edge that is nearest to it.
    """
    reach = dot(solid.inwards(direction[:, None]), solid.core)
    weight = jnp.maximum(0.0, 1.0 - (reach.max(axis=0) - reach) / (_LEVEL * size))
    mean = reduced(solid.core * (weight / weight.sum(axis=0)), 1)
    return solid.pose.pos + solid.outwards(mean[:, None])[:, 0]


def _core(solid: Solid, corner: Array) -> Array:
    """Corners by index, (3, 1, n)."""
    return jnp.take_along_axis(solid.core, corner[None, None], axis=1)
