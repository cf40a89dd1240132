"""The Newton system of a cone complementarity problem.

Everything local to a row is eliminated in closed form; what is left is one n x n matrix. With
beta = mu gamma and u = b / beta the two remaining tangential unknowns of a cone obey

    (psi I - u eta^T) db = known,   inverse: (I + u eta^T / (psi - eta.u)) / psi.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import dot, outer
from dojo.solver.problem import Point, Problem, Residual, Tangent, Weights


class NewtonSystem(NamedTuple):
    """The derivative of the residual at a point, factorized."""

    problem: Problem
    tangent: Tangent
    x: Point
    weights: Weights
    lu: Array
    pivots: Array

    def solve(self, rhs: Residual) -> Point:
        """The direction d with (d residual / d point) d = rhs. Linear in `rhs`."""
        x, mu = self.x, self.problem.mu
        gamma0, b0 = self._impulse_constants(rhs)
        dv = _lu_solve(self.lu, self.pivots, rhs.balance + self.problem.pull(gamma0, b0))
        gap_rate, slip_rate = self.tangent.rates(dv)
        slack = rhs.gap + gap_rate
        eta = rhs.slip + slip_rate
        f = mu.shape[0]
        gamma = (rhs.impact - x.gamma * slack) / x.slack
        b = _cone_solve(x, mu, rhs.cone, rhs.cone_t, gamma[:f], eta)
        psi = _cone_multiplier(x, mu, rhs.cone, gamma[:f], b, eta)
        return Point(v=dv, gamma=gamma, slack=slack, b=b, psi=psi, eta=eta)

    def _impulse_constants(self, rhs: Residual) -> tuple[Array, Array]:
        """The part of (d gamma, d b) that does not depend on dv."""
        x, mu = self.x, self.problem.mu
        gamma = (rhs.impact - x.gamma * rhs.gap) / x.slack
        b = _cone_solve(x, mu, rhs.cone, rhs.cone_t, gamma[: mu.shape[0]], rhs.slip)
        return gamma, b


def _lu_solve(lu: Array, pivots: Array, rhs: Array) -> Array:
    return jax.scipy.linalg.lu_solve((lu, pivots), rhs)


def _cone_inverse(x: Point, mu: Array, rhs: Array) -> Array:
    """(psi I - u eta^T)^-1 rhs for (2, f)."""
    u = x.b / (mu * x.gamma[: mu.shape[0]])
    return (rhs + u * dot(x.eta, rhs) / (x.psi - dot(x.eta, u))) / x.psi


def _cone_solve(x: Point, mu: Array, c0: Array, ct: Array, gamma: Array, eta: Array) -> Array:
    """db from the linearized Jordan product, given d gamma and d eta."""
    beta = mu * x.gamma[: mu.shape[0]]
    first = c0 - mu * x.psi * gamma - dot(x.b, eta)
    return _cone_inverse(x, mu, ct - mu * x.eta * gamma - beta * eta - x.b * (first / beta))


def _cone_multiplier(x: Point, mu: Array, c0: Array, gamma: Array, b: Array, eta: Array) -> Array:
    """d psi from the first row of the linearized Jordan product."""
    beta = mu * x.gamma[: mu.shape[0]]
    return (c0 - mu * x.psi * gamma - dot(x.eta, b) - dot(x.b, eta)) / beta


def _weights(x: Point, mu: Array) -> Weights:
    f = mu.shape[0]
    normal = x.gamma / x.slack
    beta = mu * x.gamma[:f]
    u = x.b / beta
    # d gamma = -normal d gap enters the cone rows; u psi = b psi / beta.
    from_gap = mu * normal[:f] * (x.eta - u * x.psi)
    eye = jnp.eye(2, dtype=beta.dtype)[:, :, None]
    from_slip = beta * eye - outer(u, x.b)
    return Weights(
        normal=normal,
        coupling=-_cone_inverse(x, mu, from_gap),
        tangent=jnp.stack([_cone_inverse(x, mu, from_slip[:, k]) for k in range(2)], axis=1),
    )


def newton_system(problem: Problem, tangent: Tangent, x: Point) -> NewtonSystem:
    """Assemble and factorize the Newton system at `x`, `tangent` being that of `x.v`."""
    weights = _weights(x, problem.mu)
    matrix = tangent.condensed(weights)
    # Stiff contacts dwarf the soft directions: in single precision rounding can make a pivot
    # exactly zero. A diagonal of the size of that rounding keeps the factors finite.
    noise = 2 * jnp.finfo(matrix.dtype).eps * jnp.abs(jnp.diagonal(matrix))
    lu, pivots = jax.scipy.linalg.lu_factor(matrix + jnp.diag(noise))
    return NewtonSystem(problem, tangent, x, weights, lu, pivots)
