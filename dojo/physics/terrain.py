"""Height fields: the triangles of the surface that a geom may lie over.

A window of cells goes along with each geom. A triangle is a convex geom without thickness
(`convex`, `smooth`) of which the upper side bears, the edges and the corners: the distance from the
surface is the least of those from its triangles. Were they the tops of prisms, bodies would run
against the sides of these, which are inside of the ground.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dojo.math.vectors import SMALL, at_least, cross, dot, largest, matvec, matvec_t, safe_norm
from dojo.model.model import Model
from dojo.model.topology import ContactGroup
from dojo.physics.kinematics import Frames, geom_frames
from dojo.physics.pairs import Bodies, Ground, Pairs
from dojo.physics.solids import Solid

# Row and column of the corners of the halves of a cell, counter-clockwise as seen from above.
_CORNERS = np.array([[[0, 0], [1, 1], [1, 0]], [[0, 0], [0, 1], [1, 1]]])


def under(model: Model, group: ContactGroup, now: Bodies, later: Bodies) -> Ground:
    """The triangles of a group's entries, for a step from these poses to about those `later`."""
    fields = [model.topology.geom_hfield[g] for g in group.first]
    shape, start, extent = (
        np.array([getattr(f, name) for f in fields if f is not None])
        for name in ("shape", "start", "extent")
    )
    grid = shape - 1  # cells along y and x
    side = 2 * extent[:, ::-1] / grid
    pairs = Pairs.of(group)
    at = [_within(model, pairs, bodies) for bodies in (now, later)]
    middle = lax.stop_gradient(0.5 * (at[0] + at[1]))[1::-1].T  # y and x
    lowest = jnp.round((middle + extent[:, ::-1]) / side - 0.5 * group.window).astype(int)
    lowest = jnp.clip(lowest, 0, grid - group.window)
    cell, half = lowest + group.cell[:, :2], group.cell[:, 2]
    point = cell[:, None] + _CORNERS[half]  # (k, 3, 2)
    place = side[:, None] * point - extent[:, None, ::-1]
    height = model.hfield_heights[start[:, None] + point[..., 0] * shape[:, 1:] + point[..., 1]]
    place = place.astype(height.dtype)
    corners = jnp.stack([place[..., 1].T, place[..., 0].T, height.T])
    centre = corners.mean(axis=1)
    return Ground(centre, corners - centre[:, None])


def _within(model: Model, pairs: Pairs, bodies: Bodies) -> Array:
    """Where the second geoms are in the frames of the first, (3, k)."""
    one, two = (
        geom_frames(model, frames, geoms) for geoms, frames in zip(pairs.sides, bodies, strict=True)
    )
    return matvec_t(one.rot, two.pos - one.pos)


def triangles(ground: Ground, pose: Frames) -> Solid:
    """The triangles here, `pose` that of their middles."""
    corners = ground.corners
    n = corners.shape[-1]

    def every(table: list[list[int]]) -> Array:
        return jnp.broadcast_to(jnp.asarray(table)[..., None], (len(table), len(table[0]), n))

    return Solid(
        pose=pose,
        core=corners,
        spread=jnp.zeros_like(corners[:, 0]),
        radius=jnp.zeros_like(corners[0, 0]),
        normals=_upwards(ground)[:, None],
        faces=every([[0], [1], [2]]),
        edges=every([[0, 1, 2], [1, 2, 0]]),
        has_face=jnp.ones((1, n), bool),
        has_edge=jnp.ones((3, n), bool),
    )


def _upwards(ground: Ground) -> Array:
    """Unit normals (3, k) of the triangles."""
    a, b, c = (ground.corners[:, k] for k in range(3))
    area = cross(b - a, c - a)
    return area / at_least(safe_norm(area), SMALL)


def least_gap(ground: Ground, rot: Array, off: Array) -> Array:
    """What points `off` (3, k) the middles, world, are not nearer to the triangles than: (k,)."""
    corners = ground.corners
    from_sphere = safe_norm(off) - largest(safe_norm(corners), 0)
    return jnp.maximum(from_sphere, dot(matvec(rot, _upwards(ground)), off))
