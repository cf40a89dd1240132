"""Why a step may have no solution: looked at when one was not found.

Links and strings that turn too far, and bounds that contradict each other.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import contract, diagonal, total
from dojo.model.layout import layout
from dojo.model.model import Model
from dojo.physics.collision import contact_links
from dojo.physics.inertia import solve_mass, tree_blocks
from dojo.physics.kinematics import link_twists
from dojo.physics.limits import tendon_pull
from dojo.physics.mechanics import (
    RECOVERY_SPEED,
    Node,
    Trial,
    differentiate,
    free_response,
    move,
    pull,
)

# A step that keeps less than this share of the inertia in some direction is near the end of its
# path of solutions against the timestep.
_INERTIA_LEFT = 0.5
# Contacts that add more than this share to the kinetic energy of a step are none.
_GAIN = 0.1
# Work below this share of what the contacts' barriers hold, kappa / timestep each, is rounding.
_REST = 1e-3
# A contradiction must hold for all velocities of up to this multiple of those at hand.
_REACH = 10.0
# Equality constraints that give way by more than this share of what recovery asks for are torn.
_TORN = 0.1


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


def free_turn(model: Model, node: Node) -> Array:
    """Largest angle [rad] a link would turn by without contacts and limits, to first order."""
    spin = link_twists(model, node.axes, node.unhindered)[:3]
    return model.timestep * jnp.max(jnp.sqrt(total(spin * spin)), initial=0.0)


def swung(model: Model, node: Node, speeds: Sequence[Array]) -> Array:
    """Whether a limited tendon pulls by more than a radian another way at the end of a step: ().

    At one of the ends that `speeds`, (nv,) each, lead to. The impulse of its limit acts as the step
    begins: what it cannot shorten at the end, a string whose ball has gone by, is out of reach.
    Angles are those of the accelerations.
    """
    if not len(model.topology.limited_tendons):
        return jnp.asarray(False)
    ends = [move(model, node, v) for v in speeds]
    places = [(node.frames, node.axes), *((end.frames, end.axes) for end in ends)]
    rows = jnp.stack([tendon_pull(model, *place) for place in places])
    answers = solve_mass(model, node.mass, rows.reshape(-1, model.nv).T).T.reshape(rows.shape)
    sizes = jnp.sqrt(jnp.sum(rows * answers, axis=-1))
    along = jnp.sum(rows[1:] * answers[0], axis=-1)
    return (along < np.cos(1.0) * sizes[0] * sizes[1:]).any()


def barrier_turn(model: Model, node: Node, kappa: Array) -> Array:
    """Largest angle [rad] of a step that the contacts' barrier alone has the energy to turn by.

    kappa / h joules for each contact that moves a degree of freedom, against its inertia.
    """
    nl = model.topology.nl
    links, weight = contact_links(model, node.contacts), jax.lax.stop_gradient(node.weight)
    on_link = jnp.zeros(nl + 1, weight.dtype).at[links].add(weight)
    pushes = contract(on_link[:nl], jnp.asarray(model.topology.moves[:nl], weight.dtype))
    square = 2.0 * kappa * model.timestep * pushes / diagonal(node.mass)
    hinges = model.topology.v_start[model.topology.joints_of("hinge")]
    turns = np.concatenate([hinges, layout(model.topology).spin_v.ravel()])
    return jnp.sqrt(jnp.max(square[turns], initial=0.0))


def another_motion(
    model: Model, node: Node, v: Array, gap: Array, gamma: Array, pulled: Array
) -> Array:
    """Whether the equations hold at v of another motion than that of this step: ().

    gap: that of the rows at v, above their targets; gamma: their impulses; pulled: what these and
    friction are on the degrees of freedom.
    """
    # Poses do not count turns.
    hinges = model.topology.v_start[model.topology.joints_of("hinge")]
    turned = model.timestep * jnp.max(jnp.abs(v[hinges]), initial=0.0)
    return (turned > jnp.pi) | flung(model, node, v, gap, gamma, pulled)


def flung(model: Model, node: Node, v: Array, gap: Array, gamma: Array, pulled: Array) -> Array:
    """Whether contacts and limits gave energy that they do not have: (). See `another_motion`.

    What opens a gap does work, by leaving an overlap or against the barrier; all else takes energy.
    Over a long step the equations may hold of another motion: a feature that was to be kept apart
    swept round and hit, or the impulses act where bodies no longer are.
    """
    work = 0.5 * jnp.sum(pulled * (node.unhindered + v))
    opened = jnp.maximum(0.0, gap + node.target - node.gap)
    acts = jnp.concatenate([node.weight, jnp.ones_like(gamma[len(node.weight) :])])
    # Where all is at rest nothing is left but rounding, far below what the barriers hold.
    rest = _REST * jnp.maximum(0.0, gap)
    given = jnp.sum(acts * gamma * (opened + rest)) / model.timestep
    given += _given_by_mocap(model, node, gamma)
    return work > given + _GAIN * 0.5 * jnp.sum(node.unhindered * (node.mass @ node.unhindered))


def _given_by_mocap(model: Model, node: Node, gamma: Array) -> Array:
    """The most work that mocap bodies do through contacts with impulses gamma, ()."""
    if node.rows.drift is None:
        return jnp.zeros((), gamma.dtype)
    nc, sliding = node.weight.shape[0], node.contacts.friction.sliding
    pushed = node.weight * gamma[:nc]
    drag = jnp.abs(node.rows.drift[nc:]).reshape(model.topology.tangents, -1).sum(0)
    dragged = pushed[: len(sliding)] * sliding * drag
    return jnp.sum(pushed * jnp.abs(node.rows.drift[:nc])) + jnp.sum(dragged)


def torn(model: Model, node: Node, multiplier: Array) -> Array:
    """Whether equality constraints give way, since no motion satisfies them all: ()."""
    gives = jnp.max(jnp.abs(contract(node.bonds.compliance, multiplier)), initial=0.0)
    return gives > _TORN * RECOVERY_SPEED * model.timestep


def contradictory(model: Model, node: Node, gamma: Array, b: Array, multiplier: Array) -> Array:
    """Whether contacts, limits and equality constraints contradict each other: ().

    Alone or by friction. A Farkas certificate. Where they do, the impulses of the solve grow
    without bound along a direction y that moves nothing. Let g be the gaps at the start above their
    targets, and the violations of equality constraints, for which y may have either sign. If

        y . (g + h N v) = y . g + h (N^T y) . v < 0    for all |v_j| <= reach,

    then no velocity within reach opens all gaps. Friction is part of N^T y: where it is needed, the
    gaps could be opened, but Coulomb's law lets nothing slide there (Acary, Cadoux, Lemarechal,
    Malick, ZAMM 91, 2011).
    """
    if not gamma.shape[0]:
        return jnp.asarray(False)
    share = 1.0 / jnp.sum(gamma)
    opening = share * jnp.sum(gamma * (node.gap - node.target))
    if node.rows.drift is not None:
        nc = node.weight.shape[0]
        opening += share * model.timestep * jnp.sum(gamma[:nc] * node.rows.drift[:nc])
    violation = node.bonds.violation - node.remains
    opening = opening + share * jnp.sum(multiplier * violation)
    reach = _REACH * (jnp.max(jnp.abs(node.unhindered)) + RECOVERY_SPEED)
    pulled = pull(model, node, gamma, b) + contract(multiplier, node.bonds.rows)
    moved = share * jnp.sum(jnp.abs(pulled))
    return opening + model.timestep * reach * moved < 0
