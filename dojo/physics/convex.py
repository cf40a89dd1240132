"""Pairs of convex geoms with flat faces or long sides: what of them a step holds apart.

Two convex sets that are apart are so along the normal of a face of one of them (`facing`), or
between edges and corners (`between`). What parts them best is chosen at the start of a step. Where
that is a face, what lies over it touches it: at the corners of the polygon that both cover. See
`features` for the gaps.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dojo.math.vectors import dot, safe_norm, total
from dojo.model.model import Model
from dojo.model.topology import ROWS, ContactGroup
from dojo.physics import gjk
from dojo.physics.between import Pair, between, turned
from dojo.physics.choice import at_both, best_parting, both, most_behind
from dojo.physics.facing import Chosen, over_face
from dojo.physics.features import Features, Held, Places, beside, places, where
from dojo.physics.kinematics import Frames
from dojo.physics.pairs import Bodies, Pairs, placed
from dojo.physics.segments import ABOUT
from dojo.physics.solids import Solid, alike, solids
from dojo.physics.spots import LENGTHWISE, Spots, spots
from dojo.physics.terrain import triangles

# What edges and corners must part geoms better by than faces, over the geoms' size; and each kind
# of them than those before.
_ALIKE = 1e-7
# Places over a face that edges along each other stand for instead, and the others.
_FIRST, _REST = slice(2), slice(2, None)


def settle(model: Model, group: ContactGroup, pairs: Pairs, now: Bodies, ahead: Bodies) -> Held:
    """Choose normals and points for a step from these poses, to about those `ahead`."""
    one, two = _both(model, group, pairs, now)
    bound = jnp.stack([one.bound, two.bound])
    size = bound[0] + bound[1]
    near = max(_ALIKE, 64 * float(jnp.finfo(size.dtype).eps)) * size
    later = placed(model, pairs, ahead)
    by_second = _turn(two.pose, later[1]) < _turn(one.pose, later[0])
    way = lax.stop_gradient(gjk.direction(one, two))
    pair = Pair(one, two, size, by_second)
    found, there = spots(one, two, way, size)
    found = turned(pair, found)
    # Choices have no derivatives: those of all that is not chosen need not be found.
    chosen, spot = _chosen(*lax.stop_gradient((pair, found, there, later, near)))
    index = jnp.stack([spot, *(jnp.full_like(spot, k) for k in LENGTHWISE)])
    others = between(pair, found.picked(index))
    last, along = (_places(others, k) for k in (slice(1), slice(1, None)))
    at = over_face(one, two, chosen, last, near, ROWS["convex"] - 1)
    # Edges may lie along each other where nothing lies over a face.
    free = at.idle[:-1].all(axis=0) & there[np.array(LENGTHWISE)]
    return Held(beside(where(free, along, _places(at, _FIRST)), _places(at, _REST)), bound)


def _both(model: Model, group: ContactGroup, pairs: Pairs, now: Bodies) -> tuple[Solid, Solid]:
    """The geoms of pairs, alike in the numbers of what they have."""
    if pairs.ground is not None:
        one = triangles(pairs.ground, placed(model, pairs, now)[0])
        return alike(one, solids(model, group.second, pairs.second, now.second))
    among = np.concatenate([group.first, group.second])
    one = solids(model, among, pairs.first, now.first)
    return one, solids(model, among, pairs.second, now.second)


def _places(at: Features, which: slice) -> Features:
    return jax.tree.map(lambda x: x[..., which, :], at)


def _chosen(
    pair: Pair, found: Spots, there: Array, later: tuple[Frames, Frames], near: Array
) -> tuple[Chosen, Array]:
    """The face and the spot (n,) that part the geoms best."""
    one, two = at_both((pair.one, pair.two), later)
    features = between(pair, found)
    at = places(both(features, features), one.pose, two.pose)
    apart = _apart(at, one, two)
    meets = _meets(pair, found, features, jax.tree.map(lambda x: jnp.split(x, 2, axis=-1)[0], at))
    over_faces = jnp.concatenate([_over_faces(one, two), _over_faces(two, one)])
    at_spots = jnp.where(both(there & meets, there), apart, -jnp.inf)
    faces, every = len(over_faces), jnp.concatenate([over_faces, at_spots])
    by_face = best_parting(every, near, faces) < faces
    face = best_parting(over_faces, near, faces)
    now = every[:, : len(near)]
    distance = jnp.take_along_axis(now, face[None], axis=0)[0]
    nearest = distance > now.max(axis=0) - most_behind(len(at_spots)) * near
    return Chosen(by_face, face, nearest), best_parting(at_spots, near, 1)


def _turn(now: Frames, ahead: Frames) -> Array:
    """A measure (n,) of how far geoms turn between poses."""
    off = ahead.rot - now.rot
    return total(total(off * off))


def _over_faces(own: Solid, other: Solid) -> Array:
    """How far the other geoms are beyond each face, (F, n)."""
    n = own.outwards(own.normals)
    off = dot(n, (other.pose.pos - own.pose.pos)[:, None])
    gap = off - own.reach(own.normals) - other.reach(-other.inwards(n))
    return jnp.where(own.has_face, gap, -jnp.inf)


def _meets(pair: Pair, found: Spots, features: Features, at: Places) -> Array:
    """Whether edges that cross come nearest about where they are, (k, n); true for all others.

    Where they do not, corners or faces are nearer than they.
    """
    on_edges = [(x != 0).any(axis=0) for x in (features.along.u1, features.along.w2)]
    crossing = ~features.free & on_edges[0] & on_edges[1]
    points = at.second - at.gap * at.normal, at.second
    far = [
        safe_norm(point - solid.pose.pos[:, None] - solid.outwards(spot.point))
        > ABOUT * safe_norm(spot.half)
        for point, solid, spot in zip(points, pair[:2], (found.one, found.two), strict=True)
    ]
    return ~crossing | ~(far[0] | far[1])


def _apart(at: Places, one: Solid, two: Solid) -> Array:
    """How far whole geoms are apart along the normals of features: (k, n).

    Less what the features themselves are apart beyond that, where others are in between.
    """
    n, off = at.normal, (two.pose.pos - one.pose.pos)[:, None]
    gap = dot(n, off) - one.reach(one.inwards(n)) - two.reach(-two.inwards(n))
    return jnp.where(dot(n, n) > 0.5, gap - jnp.abs(at.gap - gap), -jnp.inf)
