"""The mechanics of one step: everything the complementarity problem is made of.

`prepare` evaluates what is constant at the node q_k; `move` what a trial velocity v leads to;
`balance`, `gaps` and `slip` are the residual's physics, `balance_derivative` and `gap_derivative`
their closed-form derivatives; `arrive` turns the solved step into the next state.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import contract
from dojo.model.model import Model
from dojo.physics.collision import (
    Candidates,
    Touch,
    candidates,
    contact_points,
    directional_rows,
    row_rates,
    touch,
)
from dojo.physics.forces import Impulse, actuator_impulse, external_impulse, passive_impulse
from dojo.physics.inertia import (
    centers_of_mass,
    joint_forces,
    joint_space,
    mass_matrix_at,
)
from dojo.physics.interval import Interval, interval, interval_derivative
from dojo.physics.kinematics import (
    Frames,
    LocalMaps,
    integrate,
    link_frames,
    local_maps,
    motion_axes,
    step_axes,
)
from dojo.physics.limits import LimitTable, limit_gap, limit_table

# Contact impulses, kappa / gap on the central path, fade to zero between these distances [m], so
# that what is far away changes nothing. The distance is that expected at the end of the step,
# with the approach speed counted twice: a fast body is felt in time.
FADE_START, FADE_END = 1.0, 2.0
# A bound violated at the start is left at this speed [m/s or rad/s], not within one step.
RECOVERY_SPEED = 0.5


class Node(NamedTuple):
    """Quantities at the start of a step, q_k and v_k."""

    q: Array  # (nq,)
    v: Array  # (nv,)
    maps: LocalMaps
    frames: Frames
    axes: Array  # (6, nv)
    inertia: Array  # (nv,) diagonal of the mass matrix
    momentum: Array  # (nv,) p_k
    impulse: Impulse
    contacts: Candidates
    point: Array  # (3, nc) where contact impulses act
    jacobian: Array  # (3, nc, nv) rows n, t1, t2 of the contact velocity
    weight: Array  # (nc,) 1 near, 0 far away: share of the contact impulses that acts
    target: Array  # (nc + 2 nlimit,) smallest gap asked for: 0, or below it in recovery


class Trial(NamedTuple):
    """Where a velocity leads: quantities at the end of the step."""

    q: Array
    frames: Frames
    axes: Array  # (6, nv) motion axes at the end
    interval: Interval
    touch: Touch


def prepare(model: Model, q: Array, v: Array, u: Array, wrench: Array | None) -> Node:
    """Evaluate the start of a step."""
    maps = local_maps(model)
    frames = link_frames(model, maps, q)
    axes = motion_axes(model, maps, frames)
    mass = mass_matrix_at(model, frames, axes)
    diagonal = jnp.diagonal(mass)
    contacts = candidates(model)
    now = touch(model, contacts, frames)
    point = contact_points(contacts, now)
    gap = jnp.concatenate([now.gap, limit_gap(model, q)])
    passive = passive_impulse(model, q, diagonal) + actuator_impulse(model, q, v, u, diagonal)
    external = external_impulse(model, axes, centers_of_mass(model, frames), wrench)
    rows = directional_rows(point[:, None], contacts.frame)
    jacobian = row_rates(model, rows, axes)
    return Node(
        q=q,
        v=v,
        maps=maps,
        frames=frames,
        axes=axes,
        inertia=diagonal,
        momentum=contract(mass, v),
        impulse=Impulse(passive.constant + external, passive.drag),
        contacts=contacts,
        point=point,
        jacobian=jacobian,
        weight=_nearness(now.gap, model.timestep * contract(jacobian[0], v)),
        target=jnp.minimum(0.0, gap + model.timestep * RECOVERY_SPEED),
    )


def _nearness(gap: Array, change: Array) -> Array:
    """Smooth step (twice differentiable) from 1 at FADE_START to 0 at FADE_END."""
    distance = gap + 2.0 * jnp.minimum(change, 0.0)
    t = jnp.clip((FADE_END - distance) / (FADE_END - FADE_START), 0.0, 1.0)
    return t * t * t * (10.0 - 15.0 * t + 6.0 * t * t)


def move(model: Model, node: Node, v: Array) -> Trial:
    """Evaluate the end of a step at interval velocity v."""
    q = integrate(model, node.q, model.timestep * v)
    frames = link_frames(model, node.maps, q)
    axes = motion_axes(model, node.maps, frames)
    return Trial(
        q=q,
        frames=frames,
        axes=axes,
        interval=interval(model, node.frames, frames),
        touch=touch(model, node.contacts, frames),
    )


def balance(model: Model, node: Node, trial: Trial, v: Array) -> Array:
    """Momentum balance without contact and limit impulses, (nv,): equation (1) of DESIGN."""
    inertial = joint_forces(model, node.axes, trial.interval.momentum) + model.dof_armature * v
    return inertial - node.momentum - node.impulse.constant + node.impulse.drag * v


def balance_derivative(model: Model, node: Node, trial: Trial, v: Array) -> Array:
    """d balance / d v, (nv, nv)."""
    blocks = interval_derivative(model, node.frames, trial.frames, trial.interval.turn)
    turned = step_axes(model, trial.axes, model.timestep * v)
    # The blocks are h times a rate by position, the axes 1/h times one by velocity.
    inertial = joint_space(model, blocks, node.axes, turned)
    return inertial + jnp.diag(model.dof_armature + node.impulse.drag)


def gaps(model: Model, node: Node, trial: Trial) -> Array:
    """Contact gaps, then limit distances, above their targets: (nc + 2 nlimit,)."""
    return jnp.concatenate([trial.touch.gap, limit_gap(model, trial.q)]) - node.target


def gap_derivative(model: Model, node: Node, trial: Trial, v: Array) -> Array:
    """d contact gap / d v, (nc, nv); the limits' is their sign times h on one column."""
    h = model.timestep
    screws = directional_rows(trial.touch.point, node.contacts.normal)
    turned = step_axes(model, trial.axes, h * v)
    return h * row_rates(model, screws[:, None], turned)[0]


def slip(node: Node, v: Array) -> Array:
    """Tangential contact velocity of the frictional candidates, (2, nc_friction) [m/s]."""
    return contract(friction_rows(node), v)


def friction_rows(node: Node) -> Array:
    """Tangential rows of the contact Jacobian, (2, nc_friction, nv)."""
    return node.jacobian[1:, : node.contacts.friction.shape[0]]


def contact_force(model: Model, node: Node, gamma: Array, b: Array) -> Array:
    """Generalized impulse (nv,) of row impulses gamma (nc + 2 nlimit,) and friction b."""
    nc, nf = node.weight.shape[0], node.contacts.friction.shape[0]
    table: LimitTable = limit_table(model)
    force = contract(gamma[:nc] * node.weight, node.jacobian[0])
    friction = (b * node.weight[:nf]).reshape(-1)
    force += contract(friction, friction_rows(node).reshape(-1, model.nv))
    return force.at[table.dof].add(table.sign.astype(gamma.dtype) * gamma[nc:])


def arrive(model: Model, node: Node, trial: Trial, v: Array, defect: Array) -> tuple[Array, Array]:
    """The next state (q, v): momenta of the links at the end of the step.

    `defect` is what the solve left of the balance; giving it back keeps momentum to rounding
    however many steps follow.
    """
    mass = mass_matrix_at(model, trial.frames, trial.axes)
    momentum = joint_forces(model, trial.axes, trial.interval.momentum)
    momentum = momentum + model.dof_armature * v - defect
    return trial.q, jnp.linalg.solve(mass, momentum)
