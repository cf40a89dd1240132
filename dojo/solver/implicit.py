"""Implicit differentiation of a solve: one rule for every problem, both modes, any order.

At the kappa point r(x; theta, kappa) = 0, hence dx = -(dr/dx)^-1 (dr/dtheta dtheta + dr/dkappa
dkappa): Blondel et al., arXiv 2105.15183. The rule is made of differentiable operations that are
linear in the tangents, so JAX transposes it (reverse mode) and differentiates it again (Hessians).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.solver import interior_point
from dojo.solver.interior_point import Solution
from dojo.solver.linear_system import newton_system
from dojo.solver.problem import Point, Problem, residual

Build = Callable[[Any], Problem]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def solve(
    build: Build,
    tolerance: float,
    max_iterations: int,
    theta: Any,
    kappa: Array,
    start: Point | None,
) -> Solution:
    """Solve `build(theta)` at kappa; only `solution.x` carries derivatives.

    `start=None` starts from the problem's own point. The solution does not depend on the start.
    """
    problem = build(theta)
    return interior_point.solve(problem, start, kappa, tolerance, max_iterations)


@solve.defjvp
def _solve_jvp(build, tolerance, max_iterations, primals, tangents):  # type: ignore[no-untyped-def]
    theta, kappa, start = primals
    solution = solve(build, tolerance, max_iterations, theta, kappa, start)

    def equations(theta: Any, kappa: Array) -> Any:
        problem = build(theta)
        return residual(problem, problem.rows(solution.x.v), solution.x, kappa), problem

    _, rate, problem = jax.jvp(equations, (theta, kappa), (tangents[0], tangents[1]), has_aux=True)
    _, tangent = problem.linearize(solution.x.v)
    direction = newton_system(problem, tangent, solution.x).solve(rate)
    x_dot = jax.tree.map(jnp.negative, direction)
    return solution, jax.tree.map(_zero_tangent, solution)._replace(x=x_dot)


def _zero_tangent(value: Array) -> Any:
    if jnp.issubdtype(value.dtype, jnp.floating):
        return jnp.zeros_like(value)
    return np.zeros(value.shape, jax.dtypes.float0)
