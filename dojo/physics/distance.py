"""The normal along which two smooth features of convex geoms are furthest apart.

The distance of two sets is the largest of those along a direction.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dojo.math.vectors import SMALL, at_least, cross, dot, safe_norm
from dojo.physics.kinematics import Frames
from dojo.physics.pairs import inwards, outwards

# A normal turns by this much in a Newton step at most [rad].
_TURN = 0.5


class Terms(NamedTuple):
    """What the distance of two features depends on: points with ellipsoids about them."""

    off: Array  # (3, k, n) from the first point to the second
    line: Array  # (3, k, n) unit direction that the normal stays across; zero: none
    one: Frames
    two: Frames
    spread1: Array  # (3, k, n) half axes, in the geoms' frames
    spread2: Array
    size: Array  # (n,) [m] of both geoms


def settled(terms: Terms, n: Array, steps: int) -> Array:
    """Normals (3, k, n) along which features are furthest apart, from n on; no derivatives.

    At most so many steps; once none moves any more, the last ones have squared its error.

    With g what lies between the extreme points along n, H the curvature of both supports, and P
    across n and the line, Newton's step is (P H P + (n . g) P) dn = P g.
    """
    terms, n = lax.stop_gradient((terms, n))
    near = jnp.finfo(n.dtype).eps ** 0.5

    def moving(state: tuple[Array, Array, Array]) -> Array:
        count, _, change = state
        return (count < steps) & (change > near)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, n, _ = state
        after = further(terms, n)
        return count + 1, after, jnp.max(jnp.abs(after - n), initial=0.0)

    return lax.while_loop(moving, step, (jnp.asarray(0), n, jnp.full((), jnp.inf, n.dtype)))[1]


def furthest(terms: Terms, n: Array) -> Array:
    """The normals that `n` are near to, with their derivatives.

    Two steps carry all that anybody asks for: quadratic convergence forgets the rest.
    """
    return lax.fori_loop(0, 2, lambda _, n: further(terms, n), n)


def separation(terms: Terms, n: Array) -> Array:
    """How far the features are apart along unit normals n (3, k, n): (k, n)."""
    one, two = reach(terms.one, terms.spread1, n), reach(terms.two, terms.spread2, n)
    return dot(n, terms.off - one - two)


def further(terms: Terms, n: Array) -> Array:
    """The normals after a Newton step."""
    one, two, line = terms.one, terms.two, terms.line
    n = _normalized(n - dot(n, line) * line)
    t1, t2 = _tangents(n, line)
    g = terms.off - reach(one, terms.spread1, n) - reach(two, terms.spread2, n)
    # Along both tangents at once: half the program.
    ways, twice = jnp.concatenate([t1, t2], axis=1), jnp.concatenate([n, n], axis=1)
    spread1, spread2 = (
        jnp.tile(jnp.broadcast_to(x, n.shape), (1, 2, 1)) for x in (terms.spread1, terms.spread2)
    )
    bent = _bend(one, spread1, twice, ways) + _bend(two, spread2, twice, ways)
    bent1, bent2 = jnp.split(bent, 2, axis=1)
    apart, free = dot(n, g), dot(t2, t2) > 0
    # No second direction across an edge.
    a, b, c = dot(t1, bent1) + apart, dot(t1, bent2), jnp.where(free, dot(t2, bent2) + apart, 1.0)
    least = 0.5 * (a + c) - safe_norm(jnp.stack([0.5 * (a - c), b]))
    lift = jnp.maximum(0.0, 1e-6 * terms.size - least)
    a, c, slope1, slope2 = a + lift, c + lift, dot(t1, g), dot(t2, g)
    dn = t1 * (c * slope1 - b * slope2) + t2 * (a * slope2 - b * slope1)
    dn = dn / at_least(a * c - b * b)
    return _normalized(n + dn * jnp.minimum(1.0, _TURN / at_least(safe_norm(dn), SMALL)))


def _tangents(n: Array, line: Array) -> tuple[Array, Array]:
    """Two unit vectors across n; one and zero where there is a line, also across that."""
    on_line = (line != 0).any(axis=0)
    x, y = (jnp.asarray(np.eye(3)[k], n.dtype)[:, None, None] for k in (0, 1))
    guide = jnp.where(jnp.abs(n[0]) < 0.6, x, y)
    t1 = _normalized(cross(n, jnp.where(on_line, line, guide)))
    return t1, jnp.where(on_line, 0.0, cross(n, t1))


def reach(pose: Frames, spread: Array, n: Array) -> Array:
    """Extreme points of ellipsoids along n, from their centres, world."""
    stretched = spread * inwards(pose, n)
    return outwards(pose, spread * stretched / at_least(safe_norm(stretched), SMALL))


def _bend(pose: Frames, spread: Array, n: Array, t: Array) -> Array:
    """How `_reach` changes as n turns along t."""
    m, way = spread * inwards(pose, n), spread * inwards(pose, t)
    length = at_least(safe_norm(m), SMALL)
    unit = m / length
    return outwards(pose, spread * (way - unit * dot(unit, way)) / length)


def _normalized(x: Array) -> Array:
    """Of unit length; shorter where there is no direction but that of rounding."""
    return x / at_least(safe_norm(x), SMALL)
