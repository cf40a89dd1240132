"""Pairs of any two convex geoms: which features of them a step holds apart.

Two convex sets that are apart are so along the normal of a face of one of them, across two edges,
across an edge and a corner, or along the line between two corners. The axis along which they are
furthest apart is chosen at the start of a step. Where it is that of a face, what lies over the face
touches it: at the corners of the polygon that both cover. See `features` for their gaps.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import dot
from dojo.model.model import Model
from dojo.model.topology import ContactGroup
from dojo.physics.bearing import NEAR, Choice, alike, face_normal, on_point, on_polygon
from dojo.physics.corners import between_corners, has_corners, picked, pose_of
from dojo.physics.features import FREE, Axes, Features, Held, places, where
from dojo.physics.kinematics import geom_frames
from dojo.physics.pairs import Bodies, Pairs
from dojo.physics.solids import Solid, solids


def settle(model: Model, group: ContactGroup, pairs: Pairs, now: Bodies, ahead: Bodies) -> Held:
    """Choose axes and points for a step from these poses, to about those `ahead`."""
    one = solids(model, group.first, pairs.first, now.first)
    two = solids(model, group.second, pairs.second, now.second)
    later = tuple(
        solid._replace(pos=pose.pos, rot=pose.rot)
        for solid, pose in (
            (one, geom_frames(model, ahead.first, pairs.first)),
            (two, geom_frames(model, ahead.second, pairs.second)),
        )
    )
    size = one.bound + two.bound
    lines, corners = between_corners(one, two, size)
    faces = _faces(one, two)
    axes = _joined([faces, corners.axis])
    normals = [
        jnp.concatenate([face_normal(faces, a, b), _normals(corners, size, a, b)], axis=1)
        for a, b in ((one, two), later)
    ]
    there = jnp.concatenate([one.has_face, two.has_face, has_corners(lines)])
    gaps, gaps_later = (
        jnp.where(there, _separation(n, a, b), -jnp.inf)
        for n, (a, b) in zip(normals, ((one, two), later), strict=True)
    )
    count = len(one.has_face) + len(two.has_face)
    best = _best(gaps, gaps_later, count, size)
    face = _best(gaps[:count], gaps_later[:count], count, size)
    corner = _best(gaps[count:], gaps_later[count:], 0, size)
    apart = jnp.take_along_axis(gaps[count:], corner[None], axis=0)[0] > 0
    last = picked(corners, corner)
    overlap = gaps.max(axis=0) < -NEAR * size
    chosen = Choice(face, _axis(axes, face), best < count, corner, last, apart, size, overlap)
    if group.kind == "single":
        at = where(chosen.by_face, on_point(one, two, chosen), last)
    else:
        at = on_polygon(group.rows, one, two, chosen, corners, lines)
    return Held(at, jnp.stack([one.bound, two.bound]))


def _normals(at: Features, size: Array, one: Solid, two: Solid) -> Array:
    """The normals (3, k, n) of features, of which any may be free."""
    pose1, pose2 = pose_of(one), pose_of(two)
    pairs = [jax.tree.map(lambda x, k=k: x[..., k : k + FREE, :], at) for k in range(0, 4, FREE)]
    return jnp.concatenate([places(p, size, pose1, pose2).normal for p in pairs], axis=1)


def _faces(one: Solid, two: Solid) -> Axes:
    """The normals of all faces, first those of the first geoms."""
    ours, theirs = jnp.zeros_like(one.normals), jnp.zeros_like(two.normals)
    n1 = jnp.concatenate([one.normals, theirs], axis=1)
    n2 = jnp.concatenate([ours, -two.normals], axis=1)
    return Axes(n1, n2, jnp.zeros_like(n1), jnp.zeros_like(n2))


def _separation(n: Array, one: Solid, two: Solid) -> Array:
    """How far geoms are apart along directions (3, k, n), least where there is none: (k, n)."""
    gap = dot(n, (two.pos - one.pos)[:, None]) - one.reach(n) - two.reach(-n)
    return jnp.where(dot(n, n) > 0.5, gap, -jnp.inf)


def _best(gaps: Array, later: Array, faces: int, size: Array) -> Array:
    """The axis (n,) that keeps two geoms apart best, by the distances (k, n) along them.

    Of those along which they are apart now, the one along which they would be so most later, so
    that a body that passes another is not stopped; along none, where they overlap least.
    """
    # Bodies that stand on each other do so by faces. Far away what is nearest counts.
    border = alike(size) / (1 + jnp.maximum(gaps.max(axis=0), 0.0) / (NEAR * size))
    handicap = np.maximum(0, np.arange(len(gaps)) - faces + 1)[:, None] * border * size
    apart = gaps > 0
    score = jnp.where(apart, later, jnp.where(apart.any(axis=0), -jnp.inf, gaps))
    return jnp.argmax(score - handicap, axis=0)


def _joined(axes: list[Axes]) -> Axes:
    return Axes(*(jnp.concatenate(parts, axis=1) for parts in zip(*axes, strict=True)))


def _axis(axes: Axes, index: Array) -> Axes:
    """One axis of each pair, by index (n,): (3, 1, n)."""
    return Axes(*(jnp.take_along_axis(x, index[None, None], axis=1) for x in axes))
