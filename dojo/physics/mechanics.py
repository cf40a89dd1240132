"""The mechanics of one step: everything the complementarity problem is made of.

`prepare` evaluates what is constant at the node q_k; `move` what a trial velocity v leads to;
`balance`, `gaps` and `slip` are the residual's physics; `differentiate`, `rates` and `condensed`
their closed-form derivatives; `arrive` turns the solved step into the next state.

Contact Jacobians are never formed: a contact acts on one link, so its rows are a screw times the
link's motion axes, and what a contact adds to the Newton matrix is a 6 x 6 block of its link.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import contract, total
from dojo.model.model import Model
from dojo.physics.collision import (
    Candidates,
    Touch,
    anchored,
    at_contacts,
    by_link,
    candidates,
    contact_points,
    screws,
    touch,
)
from dojo.physics.dry_friction import cones, joint_slip, on_dofs
from dojo.physics.forces import Impulse, actuator_impulse, external_impulse, passive_impulse
from dojo.physics.inertia import centers_of_mass, joint_forces, joint_space, mass_matrix_at
from dojo.physics.interval import Interval, interval, interval_derivative
from dojo.physics.kinematics import (
    Frames,
    LocalMaps,
    integrate,
    link_frames,
    link_twists,
    local_maps,
    motion_axes,
    step_axes,
)
from dojo.physics.limits import limit_gap, limit_table, on_joints

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
    mass: Array  # (nv, nv) mass matrix
    momentum: Array  # (nv,) p_k
    impulse: Impulse
    contacts: Candidates
    point: Array  # (3, nc) where contact impulses act
    screw: Array  # (6, 3, nc) unit wrenches n, t1, t2 at the contact points
    weight: Array  # (nc,) 1 near, 0 far away: share of the contact impulses that acts
    gap: Array  # (nc + 2 nlimit,) contact gaps, then limit distances
    target: Array  # (nc + 2 nlimit,) smallest gap asked for: 0, or below it in recovery
    unhindered: Array  # (nv,) velocity of the step without contacts and limits, to first order


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
    contacts = anchored(model, candidates(model), frames)
    now = touch(model, contacts, frames)
    point = contact_points(contacts, now)
    gap = jnp.concatenate([now.gap, limit_gap(model, q)])
    passive = passive_impulse(model, q, diagonal) + actuator_impulse(model, q, v, u, diagonal)
    external = external_impulse(model, axes, centers_of_mass(model, frames), wrench)
    constant = passive.constant + external
    momentum = contract(mass, v)
    resistance = mass + jnp.diag(passive.drag)
    screw = screws(jnp.broadcast_to(point[:, None], contacts.frame.shape), contacts.frame)
    approach = total(screw[:, 0] * at_contacts(model, link_twists(model, axes, v)))
    return Node(
        q=q,
        v=v,
        maps=maps,
        frames=frames,
        axes=axes,
        mass=mass,
        momentum=momentum,
        impulse=Impulse(constant, passive.drag),
        contacts=contacts,
        point=point,
        screw=screw,
        weight=_nearness(now.gap, model.timestep * approach),
        gap=gap,
        target=jnp.minimum(0.0, gap + model.timestep * RECOVERY_SPEED),
        unhindered=jax.lax.stop_gradient(jnp.linalg.solve(resistance, momentum + constant)),
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


def balance(model: Model, node: Node, trial: Trial, v: Array, gamma: Array, b: Array) -> Array:
    """Momentum balance with impulses gamma (nc + 2 nlimit,), b (2, nf + nd): docs/theory.md."""
    free = model.dof_armature * v - node.momentum - node.impulse.constant + node.impulse.drag * v
    links = trial.interval.momentum - contact_wrench(model, node, gamma, b)
    return joint_forces(model, node.axes, links) + free - joint_impulse(model, node, gamma, b)


def pull(model: Model, node: Node, gamma: Array, b: Array) -> Array:
    """Generalized impulse (nv,) of contacts, limits and dry friction."""
    wrench = contact_wrench(model, node, gamma, b)
    return joint_forces(model, node.axes, wrench) + joint_impulse(model, node, gamma, b)


def contact_wrench(model: Model, node: Node, gamma: Array, b: Array) -> Array:
    """Contact impulses on the links as wrenches about the world origin, (6, nl)."""
    nc, nf = node.weight.shape[0], node.contacts.friction.shape[0]
    wrench = node.screw[:, 0] * (gamma[:nc] * node.weight)
    friction = total(node.screw[:, 1:, :nf] * (b[:, :nf] * node.weight[:nf]), axis=1)
    return by_link(model, wrench + padded(friction, nc))


def padded(frictional: Array, nc: int) -> Array:
    """Values (..., nf) of the frictional candidates, zero for the others: (..., nc)."""
    missing = nc - frictional.shape[-1]
    if not missing:
        return frictional
    zero = jnp.zeros((*frictional.shape[:-1], missing), frictional.dtype)
    return jnp.concatenate([frictional, zero], axis=-1)


def joint_impulse(model: Model, node: Node, gamma: Array, b: Array) -> Array:
    """Impulses of limits and dry friction on their joints, (nv,)."""
    nc, nf = node.weight.shape[0], node.contacts.friction.shape[0]
    sign = jnp.asarray(limit_table(model).sign, gamma.dtype)
    return on_joints(model, sign * gamma[nc:]) + on_dofs(model, b[0, nf:])


def gaps(model: Model, node: Node, trial: Trial) -> Array:
    """Contact gaps, then limit distances, above their targets: (nc + 2 nlimit,)."""
    return jnp.concatenate([trial.touch.gap, limit_gap(model, trial.q)]) - node.target


def slip(model: Model, node: Node, v: Array) -> Array:
    """Tangential velocity of the frictional candidates, then of the dry dofs: (2, nf + nd)."""
    twist = at_contacts(model, link_twists(model, node.axes, v))
    nf = node.contacts.friction.shape[0]
    contacts = total(node.screw[:, 1:, :nf] * twist[:, None, :nf], axis=0)
    return cones(contacts, joint_slip(model, v))


class Derivative(NamedTuple):
    """What the closed-form derivatives of a trial are made of."""

    blocks: Array  # (6, 6, nl) d link momentum / d twist of the end pose, times h
    axes: Array  # (6, nv) twist of the end poses per unit of v, divided by h
    screw: Array  # (6, nc) d gap / d twist of the end pose


def differentiate(model: Model, node: Node, trial: Trial, v: Array) -> Derivative:
    """Evaluate the derivatives at a trial velocity."""
    blocks = interval_derivative(model, node.frames, trial.frames, trial.interval.turn)
    return Derivative(
        blocks=blocks.full(),
        axes=step_axes(model, trial.axes, model.timestep * v),
        screw=screws(trial.touch.point, node.contacts.normal),
    )


def rates(model: Model, node: Node, d: Derivative, dv: Array) -> tuple[Array, Array]:
    """Derivatives of `gaps` (nc + 2 nlimit,) and `slip` (2, nf + nd) along dv."""
    h, table = model.timestep, limit_table(model)
    twist = at_contacts(model, link_twists(model, d.axes, dv))
    limits = table.sign.astype(dv.dtype) * dv[table.dof]
    return h * jnp.concatenate([total(d.screw * twist, axis=0), limits]), slip(model, node, dv)


def condensed(
    model: Model, node: Node, d: Derivative, normal: Array, coupling: Array, tangent: Array
) -> Array:
    """d balance / d v with impulses that answer the rows by these weights: (nv, nv).

    d gamma = -normal d gap (nc + 2 nlimit,), d b = -coupling d gap - tangent d slip, (2, nf) and
    (2, 2, nf + nd): the friction of a dry dof answers no gap.
    """
    h = model.timestep
    nc, nf = node.weight.shape[0], coupling.shape[1]
    pushed = node.screw[:, 0] * (node.weight * normal[:nc])
    sides = node.screw[:, 1:, :nf] * node.weight[:nf]
    pushed = pushed + padded(total(sides * coupling, axis=1), nc)
    by_gap = pushed[:, None] * (h * d.screw)
    dragged = total(sides[:, :, None] * tangent[:, :, :nf], axis=1)  # (6, 2, nf)
    by_slip = total(dragged[:, None] * node.screw[None, :, 1:, :nf], axis=2)
    # Gaps answer the end of the step, slips its start: two sets of axes on the right.
    blocks = jnp.concatenate([d.blocks + by_link(model, by_gap), by_link(model, by_slip)], axis=1)
    stiffness = joint_space(model, blocks, node.axes, jnp.concatenate([d.axes, node.axes]))
    joints = on_joints(model, h * normal[nc:]) + on_dofs(model, tangent[0, 0, nf:])
    return stiffness + jnp.diag(model.dof_armature + node.impulse.drag + joints)


def arrive(model: Model, node: Node, trial: Trial, v: Array, defect: Array) -> tuple[Array, Array]:
    """The next state (q, v): momenta of the links at the end of the step.

    `defect` is what the solve left of the balance; giving it back keeps momentum to rounding
    however many steps follow.
    """
    mass = mass_matrix_at(model, trial.frames, trial.axes)
    momentum = joint_forces(model, trial.axes, trial.interval.momentum)
    momentum = momentum + model.dof_armature * v - defect
    factor = jax.scipy.linalg.cho_factor(mass, lower=True)
    return trial.q, jax.scipy.linalg.cho_solve(factor, momentum)
