"""Jacobians of a step in the tangent space of the configuration."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from dojo.math.vectors import contract
from dojo.model.model import Model
from dojo.model.state import State
from dojo.parts import advanced
from dojo.physics import mechanics
from dojo.physics.activation import drive_rates
from dojo.physics.kinematics import difference, displace
from dojo.physics.limits import add_limits
from dojo.physics.sensitivity import Solved, arrival_rates, rates
from dojo.report import StepInfo
from dojo.solver.linear_system import newton_system
from dojo.solver.options import SolverOptions
from dojo.solver.problem import Point
from dojo.step import arrived, checked, lasting, raise_if_failed, solved, stepped
from dojo.step_problem import Inputs, StepProblem, StepTangent


def linearize(
    model: Model,
    state: State,
    u: ArrayLike | None = None,
    *,
    wrench: ArrayLike | None = None,
    mocap: ArrayLike | None = None,
    options: SolverOptions | None = None,
) -> tuple[Array, Array]:
    """Derivatives of the next state by state and control.

    In closed form: all columns together cost a few iterations of the solver. Models with
    restitution are differentiated in forward mode, a column at a time.

    Args:
        model: the robot.
        state: the state to linearize at.
        u: controls (nu,); None is zero.
        wrench: external forces (nl, 6), see `step`.
        mocap: poses (nmocap, 7), see `step`.
        options: see `SolverOptions`; derivatives are those at `grad_kappa`.

    Returns:
        A (2 nv + na, 2 nv + na) and B (2 nv + na, nu): d[dq'; dv'; dact'] = A d[dq; dv; dact] +
        B du, with dq the tangent vector of mj_differentiatePos (body-frame rotation vectors for
        quaternions). The same convention as MuJoCo's mjd_transitionFD.

    Raises:
        ValueError: wrong shapes.
        SolverError: the step failed and `options.raise_on_failure` is set.
    """
    _, _, jacobians = step_and_linearize(
        model, state, u, wrench=wrench, mocap=mocap, options=options
    )
    return jacobians


def step_and_linearize(
    model: Model,
    state: State,
    u: ArrayLike | None = None,
    *,
    wrench: ArrayLike | None = None,
    mocap: ArrayLike | None = None,
    options: SolverOptions | None = None,
) -> tuple[State, StepInfo, tuple[Array, Array]]:
    """`step` and `linearize` in one, for the price of one solve.

    Arguments and errors are theirs. Whether the Jacobians belong to a solved step is in
    `info.grad_converged`.

    Returns:
        The next state, the report on the step, (A, B).
    """
    options = SolverOptions() if options is None else options
    inputs = checked(model, state, u, wrench, mocap)
    if model.topology.restitution:
        result = _pushed(inputs, options)
    else:
        whole = options.substeps == options.retry_substeps == 1
        result = (_whole if whole else _in_parts)(inputs, options)
    if options.raise_on_failure:
        raise_if_failed(result[1].status)
    return result


_Result = tuple[State, StepInfo, tuple[Array, Array]]


def _in_parts(inputs: Inputs, options: SolverOptions) -> _Result:
    """A step and its Jacobians, part by part."""
    model = inputs.model

    def advance(
        at: tuple[State, Array, Array], timestep: Array
    ) -> tuple[tuple[State, Array, Array], StepInfo]:
        state, a, b = at
        part = lasting(inputs._replace(q=state.q, v=state.v, act=state.act), timestep)
        after, info, (a_part, b_part) = _whole(part, options)
        return (after, contract(a_part, a), contract(a_part, b) + b_part), info

    unit = jnp.eye(2 * model.nv + model.na, dtype=model.dtype)
    still = jnp.zeros((len(unit), model.nu), model.dtype)
    start = State(inputs.q, inputs.v, inputs.act), unit, still
    end, info = advanced(advance, start, model.timestep, options, model.topology.budgeted)
    after, a, b = end
    return after, info, (a, b)


@functools.partial(jax.jit, inline=True)
def _whole(inputs: Inputs, options: SolverOptions) -> _Result:
    """A step that is not divided, and its Jacobians."""
    problem, solution, smooth = solved(inputs, options)
    after, info = arrived(options, problem, solution, smooth)
    return after, info, _jacobians(inputs, problem, (solution if smooth is None else smooth).x)


def _jacobians(inputs: Inputs, problem: StepProblem, x: Point) -> tuple[Array, Array]:
    """A and B where x solves the step, by the implicit function theorem."""
    model, node = problem.model, problem.node
    trial = mechanics.move(model, node, x.v)
    derivative = mechanics.differentiate(model, node, trial, x.v)
    impulses = x.gamma, x.b, x.multiplier
    at = Solved(node, problem.drive.input, inputs.wrench, trial, derivative, x.v, *impulses)
    rows, end = rates(model, at), arrival_rates(model, at)
    system = newton_system(problem, StepTangent(problem, derivative), x)
    limits, pull = system.weights.normal[model.topology.nc :], node.spans
    by_q = add_limits(rows.balance_q, model, pull, rows.spans_q, limits)
    by_q = add_limits(by_q, model, pull, rows.spans, -limits * rows.follows)
    answer = mechanics.impulse_answer(node, rows.gap_q, rows.slip_q, system.weights)
    by_q = by_q + contract(node.rows.dense(model.nv), answer.T)
    balance = jnp.concatenate([by_q, rows.balance_v, rows.balance_u], axis=1)
    rest = balance.shape[1] - model.nv
    v = -system.velocities(balance, jnp.pad(rows.equality_q, ((0, 0), (0, rest))))[0]
    ends = contract(jnp.concatenate([end.q_by_v, end.v_by_v]), v)
    direct = jnp.concatenate([end.q_by_q, end.v_by_q])
    n = model.nv
    by_state = jnp.concatenate([direct + ends[:, :n], ends[:, n : 2 * n]], axis=1)
    return _with_activations(inputs, by_state, ends[:, 2 * n :])


def _with_activations(inputs: Inputs, by_state: Array, by_input: Array) -> tuple[Array, Array]:
    """A and B from the derivatives of (q', v') by (q, v) and by what drives the actuators."""
    model, rate = inputs.model, drive_rates(inputs.model, inputs.u, inputs.act)
    by_u = by_input * rate.input_by_u
    if not model.na:
        return by_state, by_u
    at = model.topology.activations.actuator
    upper = jnp.concatenate([by_state, by_input[:, at] * rate.input_by_act], axis=1)
    own = jnp.pad(jnp.diag(rate.act_by_act), ((0, 0), (len(by_state), 0)))
    act_by_u = jnp.eye(model.nu, dtype=model.dtype)[at] * rate.act_by_u[:, None]
    return jnp.concatenate([upper, own]), jnp.concatenate([by_u, act_by_u])


def _pushed(inputs: Inputs, options: SolverOptions) -> _Result:
    """A step and its Jacobians by forward mode."""
    model, n = inputs.model, inputs.model.nv

    def moved(x: Array, u: Array) -> tuple[Array, tuple[State, StepInfo]]:
        act = None if inputs.act is None else inputs.act + x[2 * n :]
        start = State(displace(model, inputs.q, x[:n]), inputs.v + x[n : 2 * n], act)
        after, info = stepped(inputs._replace(q=start.q, v=start.v, act=start.act, u=u), options)
        # The tangent space at the end of the undisturbed step, where the derivative is taken.
        q_end = jax.lax.stop_gradient(after.q)
        end = dataclasses.replace(after, q=difference(model, q_end, after.q))
        return jnp.concatenate(jax.tree.leaves(end)), (after, info)

    still = jnp.zeros(2 * n + model.na, model.dtype)
    (a, b), (after, info) = jax.jacfwd(moved, argnums=(0, 1), has_aux=True)(still, inputs.u)
    return after, info, (a, b)
