"""The bounce at the end of a step: its problem solved, the step's outcome amended."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from dojo.model.state import State
from dojo.physics import mechanics, restitution
from dojo.physics.collision import contact_impulses
from dojo.physics.restitution import Strikes
from dojo.report import StepInfo
from dojo.restitution_problem import RestitutionProblem
from dojo.solver.interior_point import Solution, scaled_error
from dojo.solver.problem import Point, residual
from dojo.solver.status import Status
from dojo.step_problem import StepProblem


def strikes(problem: StepProblem, x: Point, v: Array, kappa: Array) -> Strikes:
    """Which contacts of a step with solution x, arrived at velocity v (nv,), bounce."""
    model, node = restitution.for_impacts(problem.model), problem.node
    end = restitution.arrival(model, node, mechanics.move(model, node, x.v))
    point = x.gamma, x.b[:, : model.topology.nc_friction], x.slack
    return restitution.strikes(model, node, end, v, point, kappa)


def bounced(
    solve: Callable[..., Solution],
    tolerance: float,
    problem: StepProblem,
    x: Point,
    result: tuple[State, StepInfo],
    strikes: Strikes,
) -> tuple[State, StepInfo]:
    """The result of a step with its impacts solved; a failure of either solve is the step's."""
    state, info = result
    model = problem.model
    trial = mechanics.move(model, problem.node, x.v)
    impact = RestitutionProblem.at_arrival(problem, trial, state.v, x, strikes, info.kappa)
    start = impact.first(info.kappa)
    after = solve(impact, info.kappa, start)
    gamma, b = impact.acting(after.x.gamma, after.x.b)
    nc, idle = model.topology.nc, 1.0 - impact.acts
    impulse = contact_impulses(problem.node.contacts, gamma[:nc], b).T
    still, at, kappa = jax.lax.stop_gradient((impact, after.x, info.kappa))
    left = residual(still, still.rows(at.v), at, kappa)
    error = scaled_error(still, at, left, kappa, tolerance)
    failure = jnp.where(after.finite, Status.MAX_ITERATIONS, Status.NONFINITE)
    status = jnp.where(info.converged & ~after.converged, failure, info.status)
    v = jnp.where(jnp.isfinite(after.x.v).all(), after.x.v, state.v)
    return dataclasses.replace(state, v=v), dataclasses.replace(
        info,
        status=status.astype(jnp.int32),
        converged=info.converged & after.converged,
        iterations=info.iterations + after.iterations,
        residual=jnp.maximum(info.residual, error),
        contacts=dataclasses.replace(
            info.contacts, impulse=idle[:nc, None] * info.contacts.impulse + impulse
        ),
        limit_impulse=idle[nc:] * info.limit_impulse + gamma[nc:],
        equality_impulse=info.equality_impulse - impact.released + after.x.multiplier,
        grad_converged=info.grad_converged & after.converged,
    )
