"""Pairs of convex geoms with flat faces or long sides: what of them a step holds apart.

Two convex sets that are apart are so along the normal of a face of one of them (`facing`), or
between edges and corners (`between`). What parts them best is chosen at the start of a step. Where
that is a face, what lies over it touches it: at the corners of the polygon that both cover. See
`features` for the gaps.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import dot, total
from dojo.model.model import Model
from dojo.model.topology import ROWS, ContactGroup
from dojo.physics.between import LENGTHWISE, between
from dojo.physics.facing import over_face
from dojo.physics.features import Features, Held, beside, picked, places, where
from dojo.physics.kinematics import Frames
from dojo.physics.pairs import Bodies, Pairs, placed
from dojo.physics.solids import Solid, solids

# What edges and corners must part geoms better by than faces, over the geoms' size; and each kind
# of them than those before.
_ALIKE = 1e-7
# Places over a face that edges along each other stand for instead, and the others.
_FIRST, _REST = slice(2), slice(2, None)


def settle(model: Model, group: ContactGroup, pairs: Pairs, now: Bodies, ahead: Bodies) -> Held:
    """Choose normals and points for a step from these poses, to about those `ahead`."""
    among = np.concatenate([group.first, group.second])
    one = solids(model, among, pairs.first, now.first)
    two = solids(model, among, pairs.second, now.second)
    bound = jnp.stack([one.bound, two.bound])
    size = bound[0] + bound[1]
    near = max(_ALIKE, 64 * float(jnp.finfo(size.dtype).eps)) * size
    later_one, later_two = placed(model, pairs, ahead)
    by_second = _turn(two.pose, later_two) < _turn(one.pose, later_one)
    others, there = between(one, two, size, by_second)

    def gaps_at(poses: tuple[Frames, Frames]) -> tuple[Array, Array]:
        here = [s._replace(pose=pose) for s, pose in zip((one, two), poses, strict=True)]
        over_faces = jnp.concatenate([_over_faces(*here), _over_faces(*here[::-1])])
        return over_faces, jnp.where(there, _apart(others, *here), -jnp.inf)

    gaps, later = gaps_at((one.pose, two.pose)), gaps_at((later_one, later_two))
    every = _best(jnp.concatenate(gaps), jnp.concatenate(later), near, faces=len(gaps[0]))
    face = _best(gaps[0], later[0], near, faces=len(gaps[0]))
    last = picked(others, _best(gaps[1], later[1], near))
    at = over_face(one, two, face, last, every < len(gaps[0]), near, ROWS["convex"] - 1)
    # Edges may lie along each other where nothing lies over a face.
    along = jax.tree.map(lambda x: x[..., LENGTHWISE, :], others)
    free = at.idle[:-1].all(axis=0) & there[LENGTHWISE]
    first, rest = (jax.tree.map(lambda x, k=k: x[..., k, :], at) for k in (_FIRST, _REST))
    return Held(beside(where(free, along, first), rest), bound)


def _turn(now: Frames, ahead: Frames) -> Array:
    """A measure (n,) of how far geoms turn between poses."""
    off = ahead.rot - now.rot
    return total(total(off * off))


def _best(gaps: Array, later: Array, near: Array, faces: int = 0) -> Array:
    """What (n,) parts two geoms best, by their distances (k, n) along it, faces first.

    Of what parts them now, what would do so most later, so that a body that passes another is not
    stopped; if nothing does, what they overlap least along.
    """
    rank = np.maximum(0, np.arange(len(gaps)) - faces + 1)[:, None]
    apart = gaps > 0
    score = jnp.where(apart, later, jnp.where(apart.any(axis=0), -jnp.inf, gaps))
    return jnp.argmax(score - rank * near, axis=0)


def _over_faces(own: Solid, other: Solid) -> Array:
    """How far the other geoms are beyond each face, (F, n)."""
    n = own.outwards(own.normals)
    off = dot(n, (other.pose.pos - own.pose.pos)[:, None])
    gap = off - own.reach(own.normals) - other.reach(-other.inwards(n))
    return jnp.where(own.has_face, gap, -jnp.inf)


def _apart(at: Features, one: Solid, two: Solid) -> Array:
    """How far whole geoms are apart along the normals of features: (k, n).

    Less what the features themselves are apart beyond that, where others are in between.
    """
    there = places(at, one.pose, two.pose)
    n, off = there.normal, (two.pose.pos - one.pose.pos)[:, None]
    gap = dot(n, off) - one.reach(one.inwards(n)) - two.reach(-two.inwards(n))
    return jnp.where(dot(n, n) > 0.5, gap - (there.gap - gap), -jnp.inf)
