"""Momentum of the links over one step, and its derivative (Lie-Poisson midpoint, docs/theory.md).

Between two poses of a link the relative rotation is the Cayley map of y, its rate (2/h) y. In the
frame of the first pose the angular momentum is I w + y x I w, in that of the second I w - y x I w:
both are the same spatial momentum, so a free body keeps it exactly.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from dojo.math.rotations import cayley_vector
from dojo.math.vectors import cross, eye, matmat, matvec, outer, skew, transpose
from dojo.model.model import Model
from dojo.physics.inertia import Blocks, centers_of_mass, link_inertia, shifted
from dojo.physics.kinematics import Frames


class Interval(NamedTuple):
    """What a link does between two poses."""

    turn: Array  # (3, nl) y, half the Cayley rotation vector, in link axes
    momentum: Array  # (6, nl) spatial, about the world origin, angular part first


def interval(model: Model, start: Frames, end: Frames) -> Interval:
    """Momenta of all links between two sets of poses, `model.timestep` apart."""
    h = model.timestep
    turn = cayley_vector(matmat(transpose(start.rot), end.rot))
    spin = matvec(link_inertia(model), (2.0 / h) * turn)
    center = centers_of_mass(model, start)
    # Offsets turn with R+ - R = R (dR - 1): no cancellation of large positions within a link.
    shift = end.pos - start.pos + matvec(end.rot - start.rot, model.link_com.T)
    linear = model.link_mass * shift / h
    angular = matvec(start.rot, spin + cross(turn, spin)) + cross(center, linear)
    return Interval(turn, jnp.concatenate([angular, linear]))


def interval_derivative(model: Model, start: Frames, end: Frames, turn: Array) -> Blocks:
    """h times the derivative of the momenta by the world twists of the end poses."""
    inertia = link_inertia(model)
    to_turn = eye(turn.dtype, 3)[:, :, None] + skew(turn) + outer(turn, turn)
    to_momentum = inertia + matmat(skew(turn), inertia) - skew(matvec(inertia, turn))
    body = matmat(to_momentum, to_turn)
    world = matmat(matmat(start.rot, body), transpose(end.rot))
    return shifted(
        world, model.link_mass, centers_of_mass(model, start), centers_of_mass(model, end)
    )


def turned_angle(turn: Array) -> Array:
    """Angle [rad] by which each link turned, (nl,)."""
    return 2.0 * jnp.arctan(jnp.sqrt(jnp.sum(turn * turn, axis=0)))
