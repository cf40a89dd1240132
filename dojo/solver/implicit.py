"""Implicit differentiation of a solve: one rule for every problem, both modes, any order.

At the kappa point r(x; theta, kappa) = 0, hence dx = -(dr/dx)^-1 (dr/dtheta dtheta + dr/dkappa
dkappa): Blondel et al., arXiv 2105.15183. The rule is made of differentiable operations that are
linear in the tangents, so JAX transposes it (reverse mode) and differentiates it again (Hessians).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from dojo.solver import interior_point
from dojo.solver.groups import in_groups
from dojo.solver.interior_point import Solution
from dojo.solver.linear_system import newton_system
from dojo.solver.problem import Point, Problem, residual

# The name of solved points, for `jax.checkpoint`: kept, nothing needs to be solved again.
SOLUTION = "dojo_solution"


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def solve(
    tolerance: float,
    max_iterations: int,
    problem: Problem,
    kappa: Array,
    start: Point | None,
) -> Solution:
    """Solve a problem at kappa; only `solution.x` carries derivatives.

    `start=None` starts from the problem's own point. The solution does not depend on the start.
    """

    def solved(problem: Problem, start: Point | None, kappa: Array) -> Solution:
        return interior_point.solve(problem, start, kappa, tolerance, max_iterations)

    return in_groups(solved)(problem, start, kappa)


@solve.defjvp
def _solve_jvp(tolerance, max_iterations, primals, tangents):  # type: ignore[no-untyped-def]
    problem, kappa, start = primals
    solution = solve(tolerance, max_iterations, problem, kappa, start)
    kept = checkpoint_name((solution.x, solution.converged), SOLUTION)
    solution = solution._replace(x=kept[0], converged=kept[1])

    def equations(problem: Problem, kappa: Array) -> Any:
        rows = problem.rows_after(solution.x.v, problem.move(solution.x.v))
        return residual(problem, rows, solution.x, kappa)

    _, rate = jax.jvp(equations, (problem, kappa), (tangents[0], tangents[1]))
    tangent = problem.tangent_after(solution.x.v, problem.move(solution.x.v))
    direction = newton_system(problem, tangent, solution.x).solve(rate)
    x_dot = jax.tree.map(jnp.negative, direction)
    return solution, jax.tree.map(_zero_tangent, solution)._replace(x=x_dot)


def _zero_tangent(value: Array) -> Any:
    if jnp.issubdtype(value.dtype, jnp.floating):
        return jnp.zeros_like(value)
    return np.zeros(value.shape, jax.dtypes.float0)
