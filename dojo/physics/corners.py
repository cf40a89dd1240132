"""What bears between edges and corners of two convex geoms."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dojo.math.vectors import SMALL, at_least, cross, dot, safe_norm
from dojo.physics import gjk
from dojo.physics.features import PARALLEL, Axes, Features, Side, Terms, bend, furthest
from dojo.physics.kinematics import Frames
from dojo.physics.solids import Solid

# Newton steps from the direction between the nearest points of shrunk geoms.
_SEARCH = 10
# The normal follows the shapes where these determine it, by a curvature radius over the size of
# the geoms; else it stays with the first.
_CURVED = 1e-3
# The places of `between_corners`.
EDGES, EDGE_CORNER, CORNER_EDGE, CORNERS = range(4)


class Lines(NamedTuple):
    """An edge of each geom, in the world."""

    center: Array  # (3, n)
    half: Array  # (3, n)
    there: Array  # (n,) bool

    @property
    def unit(self) -> Array:
        """(3, n)"""
        return self.half / at_least(safe_norm(self.half), SMALL)


Edges = tuple[Lines, Lines]


def pose_of(solid: Solid) -> Frames:
    return Frames.of(solid.rot, solid.pos)


def between_corners(one: Solid, two: Solid, size: Array) -> tuple[Edges, Features]:
    """What bears between edges and corners: four places, by `EDGES` and the following."""
    n = gjk.direction(one, two)
    c1, c2 = corner_of(one, n), corner_of(two, -n)
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
        by_first=jnp.arange(4)[:, None].repeat(count, axis=1) == CORNER_EDGE,
        rim=jnp.zeros((3, 4, count), n.dtype),
        idle=jnp.zeros((4, count), bool),
    )
    crossing = (np.arange(4) == EDGES)[:, None]
    line = jnp.where(crossing, 0.0, us + ws)
    terms = Terms(at, size, pose_of(one), pose_of(two), second - first, line)
    normal = furthest(terms, at.start, _SEARCH)
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


def corner_of(solid: Solid, n: Array) -> Array:
    """The corner (3, n) of geoms' cores that lies furthest along n, world."""
    best = jnp.argmax(dot(solid.inwards(n[:, None]), solid.core), axis=0)
    point = jnp.take_along_axis(solid.core, best[None, None], axis=1)
    return solid.pos + solid.outwards(point)[:, 0]


def _edge(solid: Solid, n: Array) -> Lines:
    """The edge of geoms' cores of which both ends lie furthest along n."""
    m = solid.inwards(n[:, None])
    a, b = solid.ends
    score = jnp.where(solid.has_edge, dot(m, a) + dot(m, b), -jnp.inf)
    best = jnp.argmax(score, axis=0)[None, None]
    a, b = (solid.outwards(jnp.take_along_axis(x, best, axis=1))[:, 0] for x in (a, b))
    return Lines(solid.pos + 0.5 * (a + b), 0.5 * (b - a), solid.has_edge.any(axis=0))


def has_corners(lines: Edges) -> Array:
    """Which of the four places of `_corners` there are, (4, n)."""
    a, b = (line.there for line in lines)
    sine = safe_norm(cross(lines[0].unit, lines[1].unit))
    return jnp.stack([a & b & (sine > PARALLEL), a, b, jnp.ones_like(a)])


def picked(at: Features, index: Array) -> Features:
    """One place of each pair, by index (n,)."""

    def pick(x: Array) -> Array:
        shape = index.reshape(*[1] * (x.ndim - 1), -1)
        return jnp.take_along_axis(x, shape, axis=x.ndim - 2)

    return jax.tree.map(pick, at)
