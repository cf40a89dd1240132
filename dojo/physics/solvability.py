"""Why a step may have no solution: looked at when one was not found.

Links that turn too far, and bounds that contradict each other.
"""

import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import total
from dojo.model.model import Model
from dojo.physics.inertia import tree_blocks
from dojo.physics.kinematics import link_twists
from dojo.physics.mechanics import (
    RECOVERY_SPEED,
    Node,
    Trial,
    differentiate,
    free_response,
    gaps,
    pull,
)

# A step that keeps less than this share of the inertia in some direction is near the end of its
# path of solutions against the timestep.
_INERTIA_LEFT = 0.5
# Contacts that add more than this share to the kinetic energy of a step are none.
_GAIN = 0.1
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
    return ~jnp.isfinite(jnp.linalg.cholesky(tree_blocks(model, left))).all()


def hinge_turns(model: Model, v: Array) -> Array:
    """Angles [rad] by which the hinges turn in a step at velocity v."""
    hinges = model.topology.joints_of("hinge")
    return model.timestep * jnp.abs(v[model.topology.v_start[hinges]])


def free_turn(model: Model, node: Node) -> Array:
    """Largest angle [rad] a link would turn by without contacts and limits, to first order."""
    spin = link_twists(model, node.axes, node.unhindered)[:3]
    return model.timestep * jnp.max(jnp.sqrt(total(spin * spin)), initial=0.0)


def flung(model: Model, node: Node, reached: Trial, v: Array, gamma: Array, b: Array) -> Array:
    """Whether contacts and limits gave energy that they do not have: ().

    What opens a gap does work, by leaving an overlap or against the barrier; all else takes energy.
    Over a long step the equations may hold of another motion: a feature that was to be kept apart
    swept round and hit, or the impulses act where bodies no longer are.
    """
    work = 0.5 * jnp.sum(pull(model, node, gamma, b) * (node.unhindered + v))
    opened = jnp.maximum(0.0, gaps(model, node, reached) + node.target - node.gap)
    acts = jnp.concatenate([node.weight, jnp.ones_like(gamma[len(node.weight) :])])
    given = jnp.sum(acts * gamma * opened) / model.timestep
    return work > given + _GAIN * 0.5 * jnp.sum(node.unhindered * (node.mass @ node.unhindered))


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
