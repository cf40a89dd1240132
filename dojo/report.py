"""What became of a step: the state it leads to, and what it reports."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from dojo.math.trees import choose
from dojo.model.model import Model
from dojo.model.state import State
from dojo.physics import mechanics, solvability
from dojo.physics.collision import contact_geoms, contact_impulses
from dojo.physics.interval import turned_angle
from dojo.physics.mechanics import Node, Trial
from dojo.solver.interior_point import Solution, scaled_error
from dojo.solver.problem import Point, residual
from dojo.solver.status import Status
from dojo.step_problem import StepProblem


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Contacts:
    """Contact candidates of a step; gap at its end, point and frame at its start.

    Attributes:
        gap: (nc,) [m].
        impulse: (nc, 3) [N s], normal and two tangents, on the second body. In models with contacts
            of condim 4 or 6 also [N m s] about the normal, (nc, 4), and the tangents, (nc, 6).
        point: (nc, 3) [m], world.
        frame: (nc, 3, 3), rows n, t1, t2; n from the first body to the second.
        geoms: (nc, 2) indices of the first and second body's geom.
        overflow: () pairs of bodies that may touch in this step, but that the budget left out.
    """

    gap: Array
    impulse: Array
    point: Array
    frame: Array
    geoms: Array
    overflow: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class StepInfo:
    """What a step reports, one entry per batch lane under vmap.

    In parts: the first failure, the sum of iterations and impulses, the gap at the end, point
    and frame at the start. Where a budget picks the contacts of each part: those of the last.

    Attributes:
        status: () a `dojo.Status`; `dojo.Status(int(info.status)).message` says what to do.
        converged: () bool.
        parts: () equal parts that the step was taken in.
        iterations: () Newton iterations, those of an attempt that was taken again included.
        residual: () largest scaled residual of the equations solved.
        kappa: () the central-path parameter in force.
        contacts: the contact candidates.
        limit_impulse: (2 nlimit,) [N s or N m s], at the lower, then the upper limits of the
            joints, likewise of the tendons and ball joints.
        frictionloss_impulse: (nd,) [N s or N m s], dry friction on the dofs `topology.dry_dofs`.
        equality_impulse: (ne,) [N s or N m s], of the equality constraints' rows: on the first
            frame of each joined pair along the axes of the second, three by three components (all
            x, all y, all z); likewise about them, of welds; on the first sum of each coupling.
        grad_converged: () bool, whether the point that derivatives are taken at was solved for;
            differs from `converged` only when `grad_kappa` is set.
    """

    status: Array
    converged: Array
    parts: Array
    iterations: Array
    residual: Array
    kappa: Array
    contacts: Contacts
    limit_impulse: Array
    frictionloss_impulse: Array
    equality_impulse: Array
    grad_converged: Array


def joined(infos: StepInfo, budgeted: bool) -> StepInfo:
    """One report on the parts of a step; `budgeted`: they may have different contacts."""
    first, last = (jax.tree.map(lambda x, k=k: x[k], infos) for k in (0, -1))
    failed = jnp.argmax(~infos.converged)
    contacts = dataclasses.replace(
        first.contacts, gap=last.contacts.gap, impulse=infos.contacts.impulse.sum(0)
    )
    contacts = last.contacts if budgeted else contacts
    return StepInfo(
        status=infos.status[failed],
        converged=infos.converged.all(),
        parts=infos.parts.sum(),
        iterations=infos.iterations.sum(),
        residual=infos.residual.max(),
        kappa=last.kappa,
        contacts=dataclasses.replace(contacts, overflow=infos.contacts.overflow.max(0)),
        limit_impulse=infos.limit_impulse.sum(0),
        frictionloss_impulse=infos.frictionloss_impulse.sum(0),
        equality_impulse=infos.equality_impulse.sum(0),
        grad_converged=infos.grad_converged.all(),
    )


def outcome(
    problem: StepProblem, solution: Solution, kappa: Array, tolerance: float
) -> tuple[State, StepInfo]:
    """The next state, and the report on the solve that led to it."""
    model, node, x = problem.model, problem.node, solution.x
    trial = mechanics.move(model, node, x.v)
    still, reached, at, target = jax.lax.stop_gradient((problem, trial, x, kappa))
    left = residual(still, still.rows_after(at.v, reached), at, target)
    error = scaled_error(still, at, left, target, tolerance)
    converged = solution.converged
    defect = jnp.where(converged, left.balance, 0.0)
    q, v, held = mechanics.arrive(model, node, trial, x.v, defect)
    # Nothing but numbers leaves a step that began with numbers: a lost one stays where it was.
    start, end = State(node.q, node.v, problem.act), State(q, v, problem.drive.activation)
    lost = ~jnp.isfinite(jnp.concatenate(jax.tree.leaves(end))).all()
    end = choose(lost, start, end)
    apart = solvability.torn(model, node, jax.lax.stop_gradient(x.multiplier))
    converged &= ~lost & ~apart
    nc = model.topology.nc
    info = StepInfo(
        status=_status(still, reached, solution._replace(converged=converged), kappa, lost),
        converged=converged,
        parts=jnp.asarray(1, jnp.int32),
        iterations=solution.iterations,
        residual=error,
        kappa=kappa,
        contacts=_contacts(model, node, trial, x),
        limit_impulse=x.gamma[nc:],
        frictionloss_impulse=x.b[0, model.topology.nc_friction :],
        equality_impulse=x.multiplier + held,
        grad_converged=converged,
    )
    return end, info


def _status(
    problem: StepProblem, trial: Trial, solution: Solution, kappa: Array, lost: Array
) -> Array:
    model, node = problem.model, problem.node
    largest = jnp.max(turned_angle(trial.interval.turn), initial=0.0)
    # An iterate that failed may stand anywhere: ask also where the step would lead unhindered.
    large = jnp.maximum(largest, solvability.free_turn(model, node)) > 1.0
    large |= solvability.saturated(model, node, trial, jax.lax.stop_gradient(solution.x.v))
    large |= solvability.swung(model, node, (solution.x.v, solution.last.v, node.unhindered))
    large |= solution.refused
    # The last point has the impulses that grew, and perhaps friction that has not settled.
    last = solution.last
    jammed = solvability.contradictory(model, node, last.gamma, last.b, last.multiplier)
    free = jnp.zeros_like(last.b)
    apart = solvability.contradictory(model, node, last.gamma, free, last.multiplier)
    apart |= solvability.torn(model, node, solution.x.multiplier)
    driven = solvability.barrier_turn(model, node, kappa) > 1.0
    failure = jnp.where(driven, Status.KAPPA_TOO_LARGE, Status.MAX_ITERATIONS)
    failure = jnp.where(jammed | apart, Status.INFEASIBLE, failure)
    failure = jnp.where(large, Status.STEP_TOO_LARGE, failure)
    failure = jnp.where(solution.finite, failure, Status.NONFINITE)
    status = jnp.where(solution.converged, Status.CONVERGED, failure)
    return jnp.where(lost, Status.NONFINITE, status).astype(jnp.int32)


def _contacts(model: Model, node: Node, trial: Trial, x: Point) -> Contacts:
    nc = model.topology.nc
    impulse = contact_impulses(node.contacts, x.gamma[:nc], x.b) * node.weight
    return Contacts(
        gap=trial.touch.gap,
        impulse=impulse.T,
        point=node.point.T,
        frame=jnp.moveaxis(node.contacts.frame, -1, 0).swapaxes(1, 2),
        geoms=jnp.asarray(contact_geoms(model, node.contacts), jnp.int32).T,
        overflow=node.contacts.overflow.astype(jnp.int32),
    )
