"""One step: the only place where the mechanics and the solver meet.

prepare the node -> solve the complementarity problem -> arrive at the next state -> report; with
restitution -> solve for the bounce -> amend.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dojo import bounce
from dojo.model.model import Model
from dojo.model.state import State, normalize_configuration
from dojo.parts import advanced
from dojo.physics.kinematics import difference, displace
from dojo.physics.mocap import speeds
from dojo.report import StepInfo, outcome
from dojo.solver import implicit
from dojo.solver.interior_point import Solution
from dojo.solver.options import SolverOptions, resolve_kappa, resolve_tolerance
from dojo.solver.status import SolverError, Status
from dojo.step_problem import Inputs, StepProblem


def step(
    model: Model,
    state: State,
    u: ArrayLike | None = None,
    *,
    wrench: ArrayLike | None = None,
    mocap: ArrayLike | None = None,
    options: SolverOptions | None = None,
) -> tuple[State, StepInfo]:
    """Advance the state by one timestep through contact.

    Pure; works under jit, vmap, grad, jvp. Derivatives are those of the solution at `grad_kappa`.

    Args:
        model: the robot.
        state: q (nq,), v (nv,), act (na,).
        u: controls (nu,), clipped to their ranges; None is zero.
        wrench: external forces (nl, 6) [N, N m]: world force, then torque, at each link's centre
            of mass.
        mocap: poses (nmocap, 7) that the mocap bodies go to within the step, position [m] and
            quaternion; contacts and welds feel the motion. None: they stay where `state.q` has
            them; what is written there moves them at once, as in MuJoCo.
        options: see `SolverOptions`.

    Raises:
        ValueError: wrong shapes. Values are not checked here: `info.status` tells, per lane.
        SolverError: the step failed and `options.raise_on_failure` is set.
    """
    options = SolverOptions() if options is None else options
    after, info = stepped(checked(model, state, u, wrench, mocap), options)
    if options.raise_on_failure:
        raise_if_failed(info.status)
    return after, info


def stepped(inputs: Inputs, options: SolverOptions) -> tuple[State, StepInfo]:
    """The step of these inputs, in the parts that the options ask for."""
    model = inputs.model

    def advance(at: State, timestep: Array) -> tuple[State, StepInfo]:
        return _step(lasting(inputs._replace(q=at.q, v=at.v, act=at.act), timestep), options)

    start, budgeted = State(inputs.q, inputs.v, inputs.act), model.topology.budgeted
    return advanced(advance, start, model.timestep, options, budgeted)


def raise_if_failed(status: Array) -> None:
    """Raise SolverError for the first status that is not CONVERGED, inside jit when it is known."""
    if isinstance(status, jax.core.Tracer):
        jax.debug.callback(raise_if_failed, status)
        return
    failed = np.asarray(status).ravel()
    failed = failed[failed != Status.CONVERGED]
    if len(failed):
        raise SolverError(f"dojo.step: {Status(int(failed[0])).name}. {Status(failed[0]).message}")


def lasting(inputs: Inputs, timestep: Array) -> Inputs:
    """The inputs of a step of another length [s]."""
    return inputs._replace(model=dataclasses.replace(inputs.model, timestep=timestep))


def checked(
    model: Model,
    state: State,
    u: ArrayLike | None,
    wrench: ArrayLike | None,
    mocap: ArrayLike | None = None,
) -> Inputs:
    """The inputs of a step; ValueError unless their shapes are the model's."""
    nl = model.topology.nl
    if model.na and state.act is None:
        raise ValueError(
            f"state.act: missing, the model has actuators with a memory, na = {model.na}. Make "
            "states with dojo.init, or give dojo.State its act."
        )
    q = _shaped("state.q", state.q, (model.nq,), model)
    return Inputs(
        model,
        q,
        _shaped("state.v", state.v, (model.nv,), model),
        _shaped("u", np.zeros(model.nu) if u is None else u, (model.nu,), model),
        None if wrench is None else _shaped("wrench", wrench, (nl, 6), model),
        None if state.act is None else _shaped("state.act", state.act, (model.na,), model),
        None if mocap is None else _mocap_speed(model, q, mocap),
    )


def _mocap_speed(model: Model, q: Array, mocap: ArrayLike) -> Array | None:
    """What moves the mocap bodies to these poses in a step, None if there are none."""
    poses = _shaped("mocap", mocap, (model.nmocap, 7), model)
    if not isinstance(poses, jax.core.Tracer):
        zero = np.flatnonzero((np.asarray(poses)[:, 3:] == 0).all(axis=1))
        names = [model.topology.link_names[k - model.nmocap] for k in zero]
        if names:
            raise ValueError(
                f"mocap: body {names[0]!r} has a zero quaternion; the identity is (1, 0, 0, 0)."
            )
    return speeds(model, normalize_configuration(model, q), poses) if model.nmocap else None


def _shaped(name: str, value: ArrayLike, shape: tuple[int, ...], model: Model) -> Array:
    """`value` in the model's precision; ValueError unless it has this shape."""
    array = jnp.asarray(value, model.dtype)
    if array.shape != shape:
        raise ValueError(
            f"{name}: shape {array.shape}, expected {shape}. For a batch, wrap step in jax.vmap."
        )
    return array


@functools.partial(jax.jit, inline=True)
def _step(inputs: Inputs, options: SolverOptions) -> tuple[State, StepInfo]:
    return arrived(options, *solved(inputs, options))


def solved(inputs: Inputs, options: SolverOptions) -> tuple[StepProblem, Solution, Solution | None]:
    """The problem of a step, its solution, and that at `grad_kappa` if given."""
    dtype = inputs.model.dtype
    inputs = inputs._replace(q=normalize_configuration(inputs.model, inputs.q))
    solve = _solver(options, inputs.model)
    problem = StepProblem.build(inputs)
    solution = solve(problem, resolve_kappa(options.kappa, dtype), None)
    if options.grad_kappa is None:
        return problem, solution, None
    start = jax.tree.map(jax.lax.stop_gradient, solution.x)
    return problem, solution, solve(problem, resolve_kappa(options.grad_kappa, dtype), start)


def _solver(options: SolverOptions, model: Model) -> Callable[..., Solution]:
    tolerance = resolve_tolerance(options, model.dtype)
    return functools.partial(implicit.solve, tolerance, options.max_iterations)


def arrived(
    options: SolverOptions, problem: StepProblem, solution: Solution, smooth: Solution | None
) -> tuple[State, StepInfo]:
    """The state that a solved step ends with, and the report."""
    model = problem.model
    tolerance = resolve_tolerance(options, model.dtype)
    bounced = functools.partial(bounce.bounced, _solver(options, model), tolerance)
    kappa = resolve_kappa(options.kappa, model.dtype)
    result = outcome(problem, solution, kappa, tolerance)
    if model.topology.restitution:
        strikes = bounce.strikes(problem, solution.x, result[0].v, kappa)
        result = bounced(problem, solution.x, result, strikes)
    if smooth is None:
        return result
    smoothed = outcome(problem, smooth, resolve_kappa(options.grad_kappa, model.dtype), tolerance)
    if model.topology.restitution:
        # Derivatives at another kappa are those of the same cases.
        smoothed = bounced(problem, smooth.x, smoothed, strikes)
    after, info = result
    info = dataclasses.replace(info, grad_converged=smoothed[1].converged)
    return _with_derivative_of((after, info), (_at(model, after, smoothed[0]), smoothed[1]))


def _at(model: Model, after: State, smooth: State) -> State:
    """The smooth state's changes, rotations in body axes, at the other state."""
    change = difference(model, jax.lax.stop_gradient(smooth.q), smooth.q)
    q = displace(model, jax.lax.stop_gradient(after.q), change)
    return State(q, smooth.v, smooth.act)


@jax.custom_jvp
def _with_derivative_of(value: Any, other: Any) -> Any:
    """`value`, with the derivatives of `other`."""
    del other
    return value


@_with_derivative_of.defjvp
def _with_derivative_of_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    return primals[0], tangents[1]
