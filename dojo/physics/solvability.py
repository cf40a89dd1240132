"""Why a step may have no solution: looked at when one was not found.

Links that turn too far, and bounds that contradict each other.
"""

import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import total
from dojo.model.model import Model
from dojo.physics.interval import turned_angle
from dojo.physics.kinematics import link_twists
from dojo.physics.mechanics import (
    RECOVERY_SPEED,
    Node,
    Trial,
    differentiate,
    free_response,
    pull,
)

# A step that keeps less than this share of the inertia in some direction is near the end of its
# path of solutions against the timestep.
_INERTIA_LEFT = 0.5
# Contacts that double the energy of a step in which links turn by more than this [rad] are none.
_FLUNG = 0.5
# A contradiction must hold for all velocities of up to this multiple of those at hand.
_REACH = 10.0


def saturated(model: Model, node: Node, trial: Trial, v: Array) -> Array:
    """Whether more speed hardly adds momentum, in some direction at velocity v: ().

    The momentum of a link that turns about its joint goes with the sine of its angle, that of a
    chain saturates earlier, most with a heavy link at its end. Where the derivative of the balance
    loses an eigenvalue, relative to the mass matrix, the path of solutions folds.
    """
    response = free_response(model, node, differentiate(model, node, trial, v))
    left = 0.5 * (response + response.T) - _INERTIA_LEFT * node.mass
    # Not a number unless positive definite.
    return ~jnp.isfinite(jnp.linalg.cholesky(left)).all()


def hinge_turns(model: Model, v: Array) -> Array:
    """Angles [rad] by which the hinges turn in a step at velocity v."""
    hinges = model.topology.joints_of("hinge")
    return model.timestep * jnp.abs(v[model.topology.v_start[hinges]])


def free_turn(model: Model, node: Node) -> Array:
    """Largest angle [rad] a link would turn by without contacts and limits, to first order."""
    spin = link_twists(model, node.axes, node.unhindered)[:3]
    return model.timestep * jnp.max(jnp.sqrt(total(spin * spin)), initial=0.0)


def flung(model: Model, node: Node, trial: Trial, v: Array) -> Array:
    """Whether contacts threw links about as no contact does: ().

    Over large angles the equations of a step may hold again, of a motion in which a feature that
    was to be kept apart swept round and hit. Contacts and limits take energy, but for what it takes
    to leave an overlap.
    """
    still = jnp.sum(model.link_mass) * RECOVERY_SPEED**2
    before, after = (u @ node.mass @ u for u in (node.unhindered, v))
    turned = jnp.max(turned_angle(trial.interval.turn), initial=0.0)
    return (turned > _FLUNG) & (after > 2 * (before + still))


def contradictory(model: Model, node: Node, gamma: Array, b: Array) -> Array:
    """Whether the bounds on contacts and limits contradict each other, alone or by friction: ().

    A Farkas certificate. Where they do, the impulses of the solve grow without bound along a
    direction y that moves nothing. Let g be the gaps at the start, above their targets. If

        y . (g + h N v) = y . g + h (N^T y) . v < 0    for all |v_j| <= reach,

    then no velocity within reach opens all gaps. Friction is part of N^T y: where it is needed, the
    gaps could be opened, but Coulomb's law lets nothing slide there (Acary, Cadoux, Lemarechal,
    Malick, ZAMM 91, 2011).
    """
    if not gamma.shape[0]:
        return jnp.asarray(False)
    share = 1.0 / jnp.sum(gamma)
    opening = share * jnp.sum(gamma * (node.gap - node.target))
    reach = _REACH * (jnp.max(jnp.abs(node.unhindered)) + RECOVERY_SPEED)
    moved = jnp.sum(jnp.abs(pull(model, node, share * gamma, share * b)))
    return opening + model.timestep * reach * moved < 0
