"""Broad phase: which pairs of bodies take part in a step, where a budget leaves some out."""

import jax.numpy as jnp
from jax import Array, lax

from dojo.math.vectors import SMALL, at_least, safe_norm
from dojo.model.model import Model
from dojo.model.topology import ContactGroup
from dojo.physics import rounded, terrain
from dojo.physics.pairs import Bodies, Pairs, margins, placed
from dojo.physics.solids import solids


def nearest_pairs(
    model: Model, group: ContactGroup, pairs: Pairs, now: Bodies, later: Bodies
) -> tuple[Array | None, Array]:
    """The entries (k,) of a group whose pairs are, or come, nearest to touching: its budget.

    None where that is all of them. And how many others may touch.
    """
    if group.kept == len(group.second):
        return None, jnp.asarray(0)
    bound = [_least_gap(model, group, pairs, bodies) for bodies in (now, later)]
    least = lax.stop_gradient(jnp.minimum(*bound))
    if model.topology.margins:
        least = least - margins(model, *pairs.sides, pairs.pair)
    _, chosen = lax.top_k(-least, group.kept)
    return chosen, jnp.maximum(jnp.sum(least < 0) - group.kept, 0)


def _least_gap(model: Model, group: ContactGroup, pairs: Pairs, bodies: Bodies) -> Array:
    """Gaps (k,), or what they are not less than: how far apart along the line of the centres."""
    if group.kind in rounded.AT_ANY_POSE:
        return rounded.AT_ANY_POSE[group.kind](model, pairs, bodies).gap
    one, two = placed(model, pairs, bodies)
    off = two.pos - one.pos
    if pairs.ground is not None:
        beyond = solids(model, pairs.second, pairs.second, bodies.second).bound
        return terrain.least_gap(pairs.ground, one.rot, off) - beyond
    distance = safe_norm(off)
    way = (off / at_least(distance, SMALL))[:, None]
    sides = (
        solids(model, geoms, geoms, frames)
        for geoms, frames in zip(pairs.sides, bodies, strict=True)
    )
    reached = (
        solid.reach(solid.inwards(sign * way))[0]
        for solid, sign in zip(sides, (1.0, -1.0), strict=True)
    )
    return distance - sum(reached)
