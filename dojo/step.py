"""One step: the only place where the mechanics and the solver meet.

prepare the node -> solve the complementarity problem -> arrive at the next state -> report; with
restitution -> solve for the bounce -> amend.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dojo.model.model import Model
from dojo.model.state import State, normalize_configuration
from dojo.model.topology import contact_geoms
from dojo.physics import mechanics, restitution, solvability
from dojo.physics.interval import turned_angle
from dojo.physics.mechanics import Node, Trial
from dojo.physics.restitution import Strikes
from dojo.restitution_problem import RestitutionProblem
from dojo.solver import implicit
from dojo.solver.interior_point import Solution
from dojo.solver.options import SolverOptions, resolve_kappa, resolve_tolerance
from dojo.solver.problem import Point
from dojo.solver.status import SolverError, Status
from dojo.step_problem import Inputs, StepProblem


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Contacts:
    """Contact candidates of a step; gap at its end, point and frame at its start.

    Attributes:
        gap: (nc,) [m].
        impulse: (nc, 3) [N s], normal and two tangents, on the second body.
        point: (nc, 3) [m], world.
        frame: (nc, 3, 3), rows n, t1, t2; n from the first body to the second.
        geoms: (nc, 2) indices of the first and second body's geom.
    """

    gap: Array
    impulse: Array
    point: Array
    frame: Array
    geoms: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class StepInfo:
    """What a step reports, one entry per batch lane under vmap.

    With substeps: the first failure, the sum of iterations and impulses, the gap at the end, point
    and frame at the start.

    Attributes:
        status: () a `dojo.Status`; `dojo.Status(int(info.status)).message` says what to do.
        converged: () bool.
        iterations: () Newton iterations.
        residual: () largest scaled residual of the equations solved.
        kappa: () the central-path parameter in force.
        contacts: the contact candidates.
        limit_impulse: (2 nlimit,) [N s or N m s], at the lower, then the upper limits.
        frictionloss_impulse: (nd,) [N s or N m s], dry friction on the dofs `topology.dry_dofs`.
        grad_converged: () bool, whether the point that derivatives are taken at was solved for;
            differs from `converged` only when `grad_kappa` is set.
    """

    status: Array
    converged: Array
    iterations: Array
    residual: Array
    kappa: Array
    contacts: Contacts
    limit_impulse: Array
    frictionloss_impulse: Array
    grad_converged: Array


def step(
    model: Model,
    state: State,
    u: ArrayLike | None = None,
    *,
    wrench: ArrayLike | None = None,
    options: SolverOptions | None = None,
) -> tuple[State, StepInfo]:
    """Advance the state by one timestep through contact.

    Pure; works under jit, vmap, grad, jvp. Derivatives are those of the solution at `grad_kappa`.

    Args:
        model: the robot.
        state: q (nq,), v (nv,).
        u: controls (nu,), clipped to their ranges; None is zero.
        wrench: external forces (nl, 6) [N, N m]: world force, then torque, at each link's centre
            of mass.
        options: see `SolverOptions`.

    Raises:
        ValueError: wrong shapes. Values are not checked here: `info.status` tells, per lane.
        SolverError: the step failed and `options.raise_on_failure` is set.
    """
    options = SolverOptions() if options is None else options
    u = np.zeros(model.nu) if u is None else u
    control = shaped("u", u, (model.nu,), model)
    external = None if wrench is None else shaped("wrench", wrench, (model.topology.nl, 6), model)
    q = shaped("state.q", state.q, (model.nq,), model)
    v = shaped("state.v", state.v, (model.nv,), model)
    inputs = Inputs(model, q, v, control, external)
    after, info = (_step if options.substeps == 1 else _substeps)(inputs, options)
    if options.raise_on_failure:
        _raise_if_failed(info.status)
    return after, info


def _raise_if_failed(status: Array) -> None:
    if isinstance(status, jax.core.Tracer):
        jax.debug.callback(_raise_if_failed, status)
        return
    failed = np.asarray(status).ravel()
    failed = failed[failed != Status.CONVERGED]
    if len(failed):
        raise SolverError(f"dojo.step: {Status(int(failed[0])).name}. {Status(failed[0]).message}")


def _substeps(inputs: Inputs, options: SolverOptions) -> tuple[State, StepInfo]:
    """The step in equal parts, with the same control and wrench."""
    n = options.substeps
    model = dataclasses.replace(inputs.model, timestep=inputs.model.timestep / n)

    def advance(state: State, _: None) -> tuple[State, StepInfo]:
        return _step(inputs._replace(model=model, q=state.q, v=state.v), options)

    start = State(normalize_configuration(model, inputs.q), inputs.v)
    after, infos = jax.lax.scan(advance, start, length=n)
    return after, _joined(infos)


def _joined(infos: StepInfo) -> StepInfo:
    """One report on the parts of a step."""
    first, last = (jax.tree.map(lambda x, k=k: x[k], infos) for k in (0, -1))
    failed = jnp.argmax(~infos.converged)
    contacts = dataclasses.replace(
        first.contacts, gap=last.contacts.gap, impulse=infos.contacts.impulse.sum(0)
    )
    return StepInfo(
        status=infos.status[failed],
        converged=infos.converged.all(),
        iterations=infos.iterations.sum(),
        residual=infos.residual.max(),
        kappa=last.kappa,
        contacts=contacts,
        limit_impulse=infos.limit_impulse.sum(0),
        frictionloss_impulse=infos.frictionloss_impulse.sum(0),
        grad_converged=infos.grad_converged.all(),
    )


def shaped(name: str, value: ArrayLike, shape: tuple[int, ...], model: Model) -> Array:
    """`value` in the model's precision; ValueError unless it has this shape."""
    array = jnp.asarray(value, model.dtype)
    if array.shape != shape:
        raise ValueError(
            f"{name}: shape {array.shape}, expected {shape}. For a batch, wrap step in jax.vmap."
        )
    return array


@functools.partial(jax.jit, inline=True)
def _step(inputs: Inputs, options: SolverOptions) -> tuple[State, StepInfo]:
    model = inputs.model
    inputs = inputs._replace(q=normalize_configuration(model, inputs.q))
    kappa = resolve_kappa(options.kappa, model.dtype)
    tolerance = resolve_tolerance(options, model.dtype)
    problem = StepProblem.build(inputs)
    solution = implicit.solve(tolerance, options.max_iterations, problem, kappa, None)
    result = _result(problem, solution, kappa)
    if model.topology.restitution:
        strikes = _strikes(problem, solution.x, result[0].v, kappa)
        result = _bounced(problem, solution.x, result, strikes, options)
    if options.grad_kappa is None:
        return result
    smooth = resolve_kappa(options.grad_kappa, model.dtype)
    start = jax.tree.map(jax.lax.stop_gradient, solution.x)
    again = implicit.solve(tolerance, options.max_iterations, problem, smooth, start)
    smoothed = _result(problem, again, smooth)
    if model.topology.restitution:
        # Derivatives at another kappa are those of the same cases.
        smoothed = _bounced(problem, again.x, smoothed, strikes, options)
    after, info = result
    info = dataclasses.replace(info, grad_converged=smoothed[1].converged)
    return _with_derivative_of((after, info), smoothed)


@jax.custom_jvp
def _with_derivative_of(value: Any, other: Any) -> Any:
    """`value`, with the derivatives of `other`."""
    del other
    return value


@_with_derivative_of.defjvp
def _with_derivative_of_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    return primals[0], tangents[1]


def _strikes(problem: StepProblem, x: Point, v: Array, kappa: Array) -> Strikes:
    model, node = restitution.for_impacts(problem.model), problem.node
    end = restitution.arrival(model, node, mechanics.move(model, node, x.v))
    point = x.gamma, x.b[:, : model.topology.nc_friction], x.slack
    return restitution.strikes(model, node, end, v, point, kappa)


def _bounced(
    problem: StepProblem,
    x: Point,
    result: tuple[State, StepInfo],
    strikes: Strikes,
    options: SolverOptions,
) -> tuple[State, StepInfo]:
    """The result of a step with its impacts solved; a failure of either solve is the step's."""
    state, info = result
    model = problem.model
    trial = mechanics.move(model, problem.node, x.v)
    impact = RestitutionProblem.at_arrival(problem, trial, state.v, x, strikes, info.kappa)
    tolerance = resolve_tolerance(options, model.dtype)
    start = impact.first(info.kappa)
    after = implicit.solve(tolerance, options.max_iterations, impact, info.kappa, start)
    gamma, b = impact.acting(after.x.gamma, after.x.b)
    nc, idle = model.topology.nc, 1.0 - impact.acts
    impulse = jnp.concatenate([gamma[None, :nc], mechanics.padded(b, nc)]).T
    failure = jnp.where(after.finite, Status.MAX_ITERATIONS, Status.NONFINITE)
    status = jnp.where(info.converged & ~after.converged, failure, info.status)
    v = jnp.where(jnp.isfinite(after.x.v).all(), after.x.v, state.v)
    return State(q=state.q, v=v), dataclasses.replace(
        info,
        status=status.astype(jnp.int32),
        converged=info.converged & after.converged,
        iterations=info.iterations + after.iterations,
        residual=jnp.maximum(info.residual, jax.lax.stop_gradient(after.error)),
        contacts=dataclasses.replace(
            info.contacts, impulse=idle[:nc, None] * info.contacts.impulse + impulse
        ),
        limit_impulse=idle[nc:] * info.limit_impulse + gamma[nc:],
        grad_converged=info.grad_converged & after.converged,
    )


def _result(problem: StepProblem, solution: Solution, kappa: Array) -> tuple[State, StepInfo]:
    model, node, x = problem.model, problem.node, solution.x
    trial = mechanics.move(model, node, x.v)
    # Poses do not count turns: past half a turn of a hinge the equations hold of another motion.
    wound = jnp.any(solvability.hinge_turns(model, x.v) > jnp.pi)
    converged = solution.converged & ~wound
    defect = mechanics.balance(model, node, trial, x.v, x.gamma, x.b)
    defect = jax.lax.stop_gradient(jnp.where(converged, defect, 0.0))
    q, v = mechanics.arrive(model, node, trial, x.v, defect)
    # Nothing but numbers leaves a step that began with numbers: a lost one stays where it was.
    lost = ~(jnp.isfinite(q).all() & jnp.isfinite(v).all())
    q, v = jnp.where(lost, node.q, q), jnp.where(lost, node.v, v)
    converged &= ~lost
    nc = model.topology.nc
    info = StepInfo(
        status=_status(model, node, trial, solution, wound, lost),
        converged=converged,
        iterations=solution.iterations,
        residual=jax.lax.stop_gradient(solution.error),
        kappa=kappa,
        contacts=_contacts(model, node, trial, x),
        limit_impulse=x.gamma[nc:],
        frictionloss_impulse=x.b[0, model.topology.nc_friction :],
        grad_converged=converged,
    )
    return State(q=q, v=v), info


def _status(
    model: Model, node: Node, trial: Trial, solution: Solution, wound: Array, lost: Array
) -> Array:
    largest = jnp.max(turned_angle(trial.interval.turn), initial=0.0)
    # An iterate that failed may stand anywhere: ask also where the step would lead unhindered.
    largest = jnp.maximum(largest, solvability.free_turn(model, node))
    # The best point may come too early to prove a contradiction, the last one may be lost.
    best, last = (
        solvability.contradictory(model, node, x.gamma, x.b) for x in (solution.x, solution.last)
    )
    failure = jnp.where(best | last, Status.INFEASIBLE, Status.MAX_ITERATIONS)
    failure = jnp.where(largest > 1.0, Status.STEP_TOO_LARGE, failure)
    failure = jnp.where(solution.finite, failure, Status.NONFINITE)
    status = jnp.where(solution.converged, Status.CONVERGED, failure)
    status = jnp.where(wound & solution.finite, Status.STEP_TOO_LARGE, status)
    return jnp.where(lost, Status.NONFINITE, status).astype(jnp.int32)


def _contacts(model: Model, node: Node, trial: Trial, x: Point) -> Contacts:
    nc = model.topology.nc
    friction = mechanics.padded(x.b[:, : model.topology.nc_friction], nc)
    impulse = jnp.concatenate([x.gamma[None, :nc], friction]) * node.weight
    return Contacts(
        gap=trial.touch.gap,
        impulse=impulse.T,
        point=node.point.T,
        frame=jnp.moveaxis(node.contacts.frame, -1, 0).swapaxes(1, 2),
        geoms=jnp.asarray(contact_geoms(model.topology)),
    )
