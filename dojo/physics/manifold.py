"""Where a face and what lies over it cover each other: the corners of the common polygon."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dojo.math.vectors import SMALL, at_least, cross, dot, reduced, safe_norm, total
from dojo.physics.solids import RIM

# A disc reaches beyond the polygon that stands for it by this share of its radius.
BULGE = 1 - np.cos(np.pi / RIM)
# Of points as far as each other but for this share the first counts: both ends of a segment are as
# far from its middle, and their order is not to be a matter of rounding.
_ALIKE = 1e-6


class Overlap(NamedTuple):
    """Points of the polygon over the face, in the world."""

    point: Array  # (3, k, n)
    height: Array  # (k, n) above the face
    there: Array  # (k, n) bool


class Face(NamedTuple):
    """Faces: polygons, of which some stand for discs."""

    ring: Array  # (3, K, n) corners in the frame of the plane, counter-clockwise, the last repeated
    center: Array  # (2, n) of the disc
    radius: Array  # (n,) of the disc; zero: none
    near: Array  # (n,) [m] so far beside it is on its border

    def has(self, points: Array) -> Array:
        """Whether points (2, P, n) of the plane lie on the faces, (P, n)."""
        on_polygon = (_sides(self.ring[:2], points, self.near) >= -self.near).all(axis=0)
        off = safe_norm(points - self.center[:, None])
        return jnp.where(self.radius > 0, off <= self.radius + self.near, on_polygon)


class Plane(NamedTuple):
    """The plane of a face."""

    origin: Array  # (3, n)
    frame: Array  # (3, 3, n) rows: two directions in it, and the outward normal

    @classmethod
    def of(cls, face: Array, normal: Array) -> "Plane":
        """That of polygons (3, K, n)."""
        x = face[:, 1] - face[:, 0]
        x = x / at_least(safe_norm(x), SMALL)
        return cls(face[:, 0], jnp.stack([x, cross(normal, x), normal]))

    def inwards(self, x: Array) -> Array:
        """Points (3, k, n) of the world, in the frame of the plane."""
        return total(self.frame[:, :, None] * (x - self.origin[:, None])[None], axis=1)

    def outwards(self, x: Array) -> Array:
        """Points (3, k, n) of the frame, in the world."""
        return self.origin[:, None] + total(self.frame[:, :, None] * x[:, None], axis=0)


def overlap(
    plane: Plane, face: Face, over: Array, flat: Array, anyway: Array, count: int
) -> Overlap:
    """The corners of what a face and a polygon (3, K, n) over it both cover.

    The polygon is listed counter-clockwise as seen from outside of its geom, the last corner
    repeated; where it is not `flat` (n,) it is a segment. Of more than `count` corners those that
    are far from each other. Where there are none: of the polygon, if wanted `anyway` (n,).
    """
    a, b = face.ring, plane.inwards(over)
    inside = face.has(b[:2])
    under = flat & (_sides(b[:2], a[:2], face.near) <= face.near).all(axis=0)
    points, crossing = _crossings(face, b, flat)
    every = jnp.concatenate([b, _lifted(a, b), points], axis=1)
    there = jnp.concatenate([inside, under, crossing])
    none = anyway & ~there.any(axis=0)
    whole = np.arange(there.shape[0]) < b.shape[1]
    there = there | (none & whole[:, None])
    index, kept = _far_apart(every, there, count, face.near)
    chosen = jnp.take_along_axis(every, index[None], axis=1)
    return Overlap(plane.outwards(chosen), chosen[2], kept)


def _sides(ring: Array, points: Array, near: Array) -> Array:
    """How far points (2, P, n) lie to the left of the edges of a ring (2, K, n): (K, P, n)."""
    edge = jnp.roll(ring, -1, axis=1) - ring
    # Between repeated corners rounding leaves an edge: that has no sides.
    edge = edge / at_least(safe_norm(edge), near)
    off = points[:, None] - ring[:, :, None]
    return edge[0, :, None] * off[1] - edge[1, :, None] * off[0]


def _lifted(a: Array, b: Array) -> Array:
    """The points of the plane of b that lie over points a."""
    ring = b - b[:, :1]
    normal = jnp.sum(cross(ring, jnp.roll(ring, -1, axis=1)), axis=1)
    upright = jnp.abs(normal[2]) > 1e-6 * safe_norm(normal)
    off = a - b[:, :1]
    slope = normal[:2] / jnp.where(upright, normal[2], 1.0)
    height = b[2, :1] - slope[0] * off[0] - slope[1] * off[1]
    return jnp.stack([a[0], a[1], jnp.where(upright, height, b[2, :1])])


def _crossings(face: Face, b: Array, flat: Array) -> tuple[Array, Array]:
    """Where edges of b pass over those of a face: points (3, K K, n), and which there are."""
    a, near = face.ring, face.near
    # What only reaches over the chord of an arc is on the disc all the same.
    beside = near + BULGE * face.radius
    distance = _sides(a[:2], b[:2], near)  # (edges of the face, corners of b, n)
    ahead = jnp.roll(distance, -1, axis=1)
    out, back = (distance > near) & (ahead < -beside), (distance < -beside) & (ahead > near)
    passes = out | back
    share = jnp.where(passes, distance / jnp.where(passes, distance - ahead, 1.0), 0.0)
    point = b[:, None] + share * (jnp.roll(b, -1, axis=1) - b)[:, None]  # (3, K, K, n)
    edge = jnp.roll(a[:2], -1, axis=1) - a[:2]
    length = safe_norm(edge)
    along = total((edge / at_least(length, SMALL))[:, :, None] * (point[:2] - a[:2, :, None]))
    within = (along > near) & (along < length[:, None] - near)
    # A segment comes back upon itself.
    once = flat | (np.arange(b.shape[1]) == 0)[:, None]
    found = passes & within & once
    return point.reshape(3, -1, point.shape[-1]), found.reshape(-1, found.shape[-1])


def _far_apart(points: Array, there: Array, count: int, near: Array) -> tuple[Array, Array]:
    """Up to `count` of the points (3, m, n), each the furthest from those before: (count, n)."""
    points = lax.stop_gradient(points)
    weight = there / at_least(there.sum(axis=0).astype(points.dtype), 1.0)
    middle = reduced(points * weight, 1)
    off = points - middle[:, None]
    square = jnp.where(there, dot(off, off), -1.0)
    index, kept = [], []
    for k in range(count):
        most = jnp.max(square, axis=0)
        best = jnp.argmax(square >= (1 - _ALIKE) * most, axis=0)
        index.append(best)
        kept.append(most >= 0 if k == 0 else most > 4 * near * near)
        off = points - jnp.take_along_axis(points, best[None, None], axis=1)
        fresh = jnp.where(there, dot(off, off), -1.0)
        square = fresh if k == 0 else jnp.minimum(square, fresh)
    return jnp.stack(index), jnp.stack(kept)
