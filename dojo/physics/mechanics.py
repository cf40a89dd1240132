"""The mechanics of one step: everything the complementarity problem is made of.

`prepare` evaluates what is constant at the node q_k; `move` what a trial velocity v leads to;
`balance`, `gaps` and `slip` are the residual's physics; `differentiate`, `rates` and `condensed`
their closed-form derivatives; `arrive` turns the solved step into the next state.

A contact's rows are dense, (nv,) each: products with them take a few large kernels instead of many
small ones, and a row may belong to any number of links.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import add_diagonal, contract, diagonal
from dojo.model.model import Model
from dojo.physics import mocap
from dojo.physics.collision import (
    Candidates,
    Touch,
    anchored,
    candidates,
    contact_points,
    framed,
    screws,
    touch,
    unit_screw,
)
from dojo.physics.contact_rows import ContactRows, contact_rows, drifts
from dojo.physics.dry_friction import cones, joint_slip, on_dofs
from dojo.physics.equality import (
    Bonds,
    bonds,
    carried_rates,
    equality_rates,
    remaining,
    solve_bound,
    violation,
)
from dojo.physics.forces import Impulse, external_impulse, joint_impulse
from dojo.physics.inertia import (
    Blocks,
    centers_of_mass,
    joint_forces,
    joint_space,
    mass_matrix_at,
    solve_mass,
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
from dojo.physics.limits import (
    add_limits,
    limit_gap,
    limit_impulse,
    limit_rate,
    span_pull,
    span_rows,
)

# Contact impulses, kappa / gap on the central path, fade to zero between these distances [m], so
# that what is far away changes nothing. The distance is that expected at the end of the step,
# with the approach speed counted twice: a fast body is felt in time.
FADE_START, FADE_END = 1.0, 2.0
# A bound violated at the start is left at this speed [m/s or rad/s], not within one step.
RECOVERY_SPEED = 0.5
# Levers [m, or 1 of slides] below this, or the rounding of places, are none. Files give angles
# by five or six digits: an axis that is to be square to a face is so within some 1e-6 rad.
_NO_LEVER = 1e-5
# Gaps that are not asked for may shrink by this [m]: by more than any step makes of them.
_NOT_ASKED = 10.0


class Node(NamedTuple):
    """Quantities at the start of a step, q_k and v_k."""

    q: Array  # (nq,)
    v: Array  # (nv,)
    maps: LocalMaps
    frames: Frames
    axes: Array  # (6, nv)
    speed: Array | None  # (6, nmocap) of mocap bodies, None: at rest
    twists: Array | None  # (6, nl) of links by them
    mass: Array  # (nv, nv) mass matrix
    momentum: Array  # (nv,) p_k
    impulse: Impulse
    contacts: Candidates
    point: Array  # (3, nc) where contact impulses act
    rows: ContactRows  # of contacts: normal, then each component of friction
    # (nc,) 1 near, 0 far away or where it moves nothing: share of the contact impulses that acts
    weight: Array
    gap: Array  # (nc + 2 nlimit,) contact gaps, then limit distances
    spans: Array  # (nspan, nv) what impulses at the limits of tendons and balls act along
    bonds: Bonds  # equality constraints
    multiplier: Array  # (ne,) their impulses in the unhindered step
    remains: Array  # (ne,) violation asked for: 0, or what recovery leaves
    # (nc + 2 nlimit,) smallest gap asked for: 0, below that in recovery, far below if nothing moves
    target: Array
    unhindered: Array  # (nv,) velocity of the step without contacts and limits, to first order


class Trial(NamedTuple):
    """Where a velocity leads: quantities at the end of the step."""

    q: Array
    frames: Frames
    axes: Array  # (6, nv) motion axes at the end
    interval: Interval
    touch: Touch


def prepare(
    model: Model, q: Array, v: Array, u: Array, wrench: Array | None, speed: Array | None = None
) -> Node:
    """Evaluate the start of a step; speed: (6, nmocap) of mocap bodies."""
    maps = local_maps(model)
    frames = link_frames(model, maps, q)
    axes = motion_axes(model, maps, frames)
    twists = mocap.twists(model, frames, speed)
    mass = mass_matrix_at(model, frames, axes)
    inertia = diagonal(mass)
    impulse = joint_impulse(model, q, v, u, inertia, frames, axes)
    external = external_impulse(model, centers_of_mass(model, frames), wrench)
    constant = impulse.constant + joint_forces(model, axes, external)
    momentum = contract(mass, v)
    # A start of searches: drag that drives could leave no factor.
    resistance = impulse.added_to(mass, least=0.0)
    resisted = partial(solve_mass, model, resistance)
    held = bonds(model, frames, axes, q, resisted)
    recovered = model.timestep * RECOVERY_SPEED
    remains = remaining(model, held.violation, recovered)
    wanted = (remains - held.violation) / model.timestep - carried_rates(model, frames, q, twists)
    unhindered, multiplier = jax.lax.stop_gradient(
        solve_bound(resisted, momentum + constant, held, wanted)
    )
    ahead = frames_ahead(model, maps, q, frames, unhindered, speed)
    contacts = anchored(model, candidates(model), frames, ahead)
    now = touch(model, contacts, frames)
    contacts = framed(model, contacts, now)
    point = contact_points(now)
    gap = jnp.concatenate([now.gap, limit_gap(model, q, frames)])
    asked = jnp.minimum(0.0, gap + model.timestep * RECOVERY_SPEED)
    rows = rows_at(model, contacts, point, axes, twists)
    approach = rows.speed(v)[: len(now.gap)]
    limits = np.ones(len(gap) - len(now.gap), dtype=bool)
    effective = jnp.concatenate([bears(model, point, rows), limits])
    return Node(
        q=q,
        v=v,
        maps=maps,
        frames=frames,
        axes=axes,
        speed=speed,
        twists=twists,
        mass=mass,
        momentum=momentum,
        impulse=impulse._replace(constant=constant),
        contacts=contacts,
        point=point,
        rows=rows,
        weight=effective[: len(now.gap)] * nearness(now.gap, model.timestep * approach),
        gap=gap,
        spans=span_pull(model, q, v, frames, axes),
        bonds=held,
        multiplier=multiplier,
        remains=remains,
        target=jnp.where(effective, asked, gap - _NOT_ASKED),
        unhindered=unhindered,
    )


def frames_ahead(
    model: Model, maps: LocalMaps, q: Array, frames: Frames, v: Array, speed: Array | None
) -> Frames:
    """Link poses that a step at velocity v leads to, `frames` where nobody asks for them."""
    if all(group.with_plane for group in model.topology.contacts):
        return frames
    ahead = integrate(model, q, model.timestep * v)
    return link_frames(model, maps, mocap.carried(model, ahead, speed))


def bears(model: Model, point: Array, rows: ContactRows) -> Array:
    """Whether normal impulses of contacts at points (3, nc) move anything, to first order: (nc,).

    A link that slides along another by its hinge, face on face, is touched by what it neither can
    leave nor enter: the gap stays what it is, and the impulse is not determined. What a mocap body
    drives against such a link counts: there is no room for both.
    """
    nc, eps = model.topology.nc, float(jnp.finfo(model.dtype).eps)
    shortest = jnp.maximum(_NO_LEVER, 64 * eps * (1.0 + jnp.max(jnp.abs(point), axis=0)))
    speeds = jnp.max(jnp.abs(rows.values[:, :nc]), axis=0, initial=0.0)
    if rows.drift is not None:
        speeds = jnp.maximum(speeds, jnp.abs(rows.drift[:nc]))
    return speeds > shortest


def nearness(gap: Array, change: Array) -> Array:
    """Share of a contact's impulses that acts.

    A smooth step (twice differentiable) from 1 at FADE_START to 0 at FADE_END.
    """
    distance = gap + 2.0 * jnp.minimum(change, 0.0)
    t = jnp.clip((FADE_END - distance) / (FADE_END - FADE_START), 0.0, 1.0)
    return t * t * t * (10.0 - 15.0 * t + 6.0 * t * t)


def move(model: Model, node: Node, v: Array) -> Trial:
    """Evaluate the end of a step at interval velocity v."""
    q = mocap.carried(model, integrate(model, node.q, model.timestep * v), node.speed)
    frames = link_frames(model, node.maps, q)
    axes = motion_axes(model, node.maps, frames)
    return Trial(
        q=q,
        frames=frames,
        axes=axes,
        interval=interval(model, node.frames, frames),
        touch=touch(model, node.contacts, frames),
    )


def rows_at(
    model: Model, contacts: Candidates, point: Array, axes: Array, twists: Array | None
) -> ContactRows:
    """What `Node.rows` holds, for contact points (3, nc), motion axes (6, nv), twists (6, nl)."""
    kinds = range(1 + model.topology.tangents)
    every = jnp.concatenate([unit_screw(contacts, point, k) for k in kinds], axis=1)
    rows = contact_rows(model, contacts, every, axes)
    across = rows.values.T if rows.dofs is None else None
    return rows._replace(drift=drifts(model, contacts, every, twists), across=across)


def balance(model: Model, node: Node, trial: Trial, v: Array) -> Array:
    """Momentum balance without contacts, limits and dry friction: docs/theory.md."""
    free = model.dof_armature * v - node.momentum - node.impulse.constant
    free = free + node.impulse.resisted(v)
    return joint_forces(model, node.axes, trial.interval.momentum) + free


def pull(model: Model, node: Node, gamma: Array, b: Array) -> Array:
    """Generalized impulse (nv,) of contacts, limits and dry friction."""
    nc, nf = node.weight.shape[0], node.contacts.friction.sliding.shape[0]
    impulse = jnp.concatenate([gamma[:nc], b[:, :nf].ravel()])
    on_contacts = node.rows.pulled(_weight(node, len(b)) * impulse, model.nv)
    return on_contacts + bounds_impulse(model, node, gamma[nc:], b[0, nf:])


def _weight(node: Node, d: int) -> Array:
    """Share of the contact impulses that acts, (nc + d nf,)."""
    sides = node.weight[: node.contacts.friction.sliding.shape[0]]
    return jnp.concatenate([node.weight, *d * [sides]])


def bounds_impulse(model: Model, node: Node, limits: Array, dry: Array) -> Array:
    """Impulses of limits (2 nlimit,) and dry friction (nd,) on their joints, (nv,)."""
    return limit_impulse(model, node.spans, limits) + on_dofs(model, dry)


def gaps(model: Model, node: Node, trial: Trial) -> Array:
    """Contact gaps, then limit distances, above their targets: (nc + 2 nlimit,)."""
    return jnp.concatenate([trial.touch.gap, limit_gap(model, trial.q, trial.frames)]) - node.target


def unmet(model: Model, node: Node, trial: Trial) -> Array:
    """Violation of the equality constraints beside what recovery leaves, (ne,)."""
    return violation(model, trial.frames, trial.q) - node.remains


def slip(model: Model, node: Node, v: Array) -> Array:
    """Slip of the frictional candidates, then velocity of the dry dofs: (d, nf + nd)."""
    return _slip(model, node, node.rows.speed(v), v)


def _slip(model: Model, node: Node, along: Array, v: Array) -> Array:
    d, nf = model.topology.tangents, node.contacts.friction.sliding.shape[0]
    contacts = along[node.weight.shape[0] :].reshape(d, nf)
    return cones(contacts, joint_slip(model, v))


class Derivative(NamedTuple):
    """What the closed-form derivatives of a trial are made of."""

    blocks: Blocks  # (nl) d link momentum / d twist of the end pose, times h
    axes: Array  # (6, nv) twist of the end poses per unit of v, divided by h
    gap: ContactRows  # (nc) d contact gap / d v
    spans: Array  # (nspan, nv) d span / d v, divided by h
    equality: Array  # (ne, nv) d violation / d v


def differentiate(model: Model, node: Node, trial: Trial, v: Array) -> Derivative:
    """Evaluate the derivatives at a trial velocity."""
    blocks = interval_derivative(model, node.frames, trial.frames, trial.interval.turn)
    axes = step_axes(model, trial.axes, model.timestep * v)
    screw = screws(trial.touch.point, trial.touch.normal)
    gap = contact_rows(model, node.contacts, screw, axes)
    equality = model.timestep * equality_rates(model, trial.frames, axes, trial.q)
    gap = gap._replace(values=model.timestep * gap.values)
    spans = span_rows(model, trial.q, trial.frames, axes)
    return Derivative(blocks, axes, gap, spans, equality)


def rates(model: Model, node: Node, d: Derivative, dv: Array) -> tuple[Array, Array]:
    """Derivatives of `gaps` (nc + 2 nlimit,) and `slip` (d, nf + nd) along dv."""
    limits = model.timestep * limit_rate(model, d.spans, dv)
    slips = _slip(model, node, node.rows.along(dv), dv)
    return jnp.concatenate([d.gap.along(dv), limits]), slips


def condensed(
    model: Model, node: Node, d: Derivative, normal: Array, coupling: Array, tangent: Array
) -> Array:
    """d balance / d v with impulses that answer the rows by these weights: (nv, nv).

    d gamma = -normal d gap (nc + 2 nlimit,), d b = -coupling d gap - tangent d slip, (d, nf) and
    (d, d, nf + nd): the friction of a dry dof answers no gap.
    """
    nc, own = node.weight.shape[0], node.rows.values
    slip = own[:, nc:].reshape(len(own), *coupling.shape)
    answer = impulse_answer(node, d.gap.values, slip, (normal, coupling, tangent))
    contacts = node.rows.products(answer, model)
    dry = on_dofs(model, tangent[0, 0, coupling.shape[1] :])
    matrix = add_diagonal(free_response(model, node, d) + contacts, dry)
    return add_limits(matrix, model, node.spans, d.spans, model.timestep * normal[nc:])


def impulse_answer(
    node: Node, gap: Array, slip: Array, weights: tuple[Array, Array, Array]
) -> Array:
    """Minus the change of the contacts' impulses as gaps and slips change, (k, nc + d nf).

    gap: (k, nc), slip: (k, d, nf), changes along k directions; weights as in `condensed`.
    """
    normal, coupling, tangent = weights
    nc, (d, nf) = node.weight.shape[0], coupling.shape
    friction = (
        sum((tangent[k, j, :nf] * slip[:, j] for j in range(d)), coupling[k] * gap[:, :nf])
        for k in range(d)
    )
    answer = jnp.concatenate([normal[:nc] * gap, *friction], axis=1)
    return _weight(node, d) * answer


def free_response(model: Model, node: Node, d: Derivative) -> Array:
    """d balance / d v without contacts, limits and dry friction, (nv, nv): for h -> 0, the mass."""
    momentum = joint_space(model, d.blocks, node.axes, d.axes)
    return node.impulse.added_to(add_diagonal(momentum, model.dof_armature))


def arrive(
    model: Model, node: Node, trial: Trial, v: Array, defect: Array
) -> tuple[Array, Array, Array]:
    """The next state (q, v), and the impulses (ne,) of equality constraints at the end.

    Momenta of the links at the end of the step, in so far as the constraints allow them. `defect`
    is what the solve left of the balance; giving it back keeps momentum to rounding however many
    steps follow.
    """
    mass = mass_matrix_at(model, trial.frames, trial.axes)
    momentum = joint_forces(model, trial.axes, trial.interval.momentum)
    momentum = momentum + model.dof_armature * v - defect
    solve = partial(solve_mass, model, mass)
    held = bonds(model, trial.frames, trial.axes, trial.q, solve)
    twists = mocap.twists(model, trial.frames, node.speed)
    wanted = -carried_rates(model, trial.frames, trial.q, twists)
    return trial.q, *solve_bound(solve, momentum, held, wanted)
