"""Segments: the edges of boxes, and where two of them, or the lines along them, come nearest."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import at_least, dot

# Edges this near to parallel [sine] have no normal of their own: faces or corners do for them.
PARALLEL = 1e-3
# Two edges touch about where they are: this many half lengths from their middles at most. Lines of
# edges that are nearly parallel may come nearest a hundred metres away.
ABOUT = 2.0
# Edges of a box: signs of the centre of each in units of its sides, zero along the edge.
_ALONG = np.repeat(np.arange(3), 4)
_EDGES = np.array(
    [np.insert([a, b], k, 0.0) for k in range(3) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
).T


class Segment(NamedTuple):
    """Segments, each `center + t half` for t from -1 to 1: (3, ...)."""

    center: Array
    half: Array


def edges_of(size: Array) -> Segment:
    """The twelve edges (3, 12, n) of boxes with half sides (3, n), in their frames."""
    signs = jnp.asarray(_EDGES, size.dtype)[..., None]
    along = jnp.asarray(np.eye(3)[:, _ALONG], size.dtype)[..., None]
    return Segment(signs * size[:, None], along * size[:, None])


def nearest(a: Segment, b: Segment) -> tuple[Array, Array]:
    """Where two segments come nearest to each other, from -1 to 1 on each.

    Parallel ones do so along a stretch: its end, or the middle of the first.
    Source: Ericson, Real-Time Collision Detection, section 5.1.9.
    """
    off = a.center - b.center
    aa, ab, bb = dot(a.half, a.half), dot(a.half, b.half), dot(b.half, b.half)
    da, db = dot(a.half, off), dot(b.half, off)
    denominator = aa * bb - ab * ab
    # Nearly parallel: rounding decides where lines cross.
    parallel = denominator <= 64 * jnp.finfo(off.dtype).eps * aa * bb
    s = jnp.where(parallel, 0.0, (ab * db - bb * da) / jnp.where(parallel, 1.0, denominator))
    s = jnp.clip(s, -1.0, 1.0)
    t = jnp.clip((ab * s + db) / at_least(bb), -1.0, 1.0)
    return jnp.clip((ab * t - da) / at_least(aa), -1.0, 1.0), t


def runs(u: Array, w: Array, off: Array) -> tuple[Array, Array]:
    """How far along unit directions u and w (3, ...) lines come nearest, from points `off` apart.

    Bounded where they are parallel; zero for a direction that is zero.
    """
    along, by_u, by_w = dot(u, w), dot(u, off), dot(w, off)
    square = at_least(1 - along * along, 0.1 * PARALLEL**2)
    return (by_u - along * by_w) / square, (along * by_u - by_w) / square
