"""The Newton system of a cone complementarity problem, in Nesterov-Todd scaling.

Everything local to a row is eliminated in closed form; what is left is one n x n matrix, and the
small one of the equality rows, eliminated after it. The
products of a cone are linearized as d beta + K d eta = r with the scaling K of the present point
(`cones.Scaling`). On the central path that is the derivative of the Jordan product; away from it K
stays symmetric and positive definite, which the derivative does not.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import add_diagonal, contract, diagonal, dot, total
from dojo.solver.block_lu import BlockFactors, WholeFactors, block_factors
from dojo.solver.cones import Scaling, divide, scaling
from dojo.solver.problem import Point, Problem, Residual, Tangent, Weights, cone_vectors


class NewtonSystem(NamedTuple):
    """The derivative of the residual at a point, factorized."""

    problem: Problem
    tangent: Tangent
    x: Point
    scaling: Scaling
    weights: Weights
    factors: BlockFactors | WholeFactors
    bonds: "BondFactors | None"  # of the equality rows

    def solve(self, rhs: Residual) -> Point:
        """The direction d with (d residual / d point) d = rhs. Linear in `rhs`."""
        _, eta = cone_vectors(self.problem, self.x)
        return self.solve_scaled(rhs.with_products(rhs.impact, divide(rhs.cone, eta)))

    def solve_scaled(self, rhs: Residual) -> Point:
        """The same with `rhs.cone` meaning d beta + K d eta."""
        gamma0, b0 = self._impulses(rhs, rhs.gap, rhs.slip)
        pulled = self.problem.pull(gamma0, b0)
        dv, multiplier = self._velocity(rhs.balance + pulled, rhs.equality)
        gap_rate, slip_rate = self.tangent.rates(dv)
        slack, eta = rhs.gap + gap_rate, rhs.slip + slip_rate
        gamma, b = self._impulses(rhs, slack, eta)
        row = self.scaling.first_row()
        psi = (rhs.cone[0] - self.problem.radius_rate(gamma) - dot(row[1:], eta)) / row[0]
        return Point.of(
            v=dv, gamma=gamma, slack=slack, b=b, psi=psi, eta=eta, multiplier=multiplier
        )

    def velocities(self, balance: Array, equality: Array) -> tuple[Array, Array]:
        """Solutions dv (n, k) of the condensed system, and multipliers (e, k).

        For right-hand sides of the balance (n, k) and of the equality rows (e, k).
        """
        free = self.factors.solve(balance)
        if self.bonds is None:
            return free, equality
        multiplier = self.bonds.schur.solve(equality - contract(self.bonds.rates, free))
        return free + contract(self.bonds.answers, multiplier), multiplier

    def _velocity(self, balance: Array, equality: Array) -> tuple[Array, Array]:
        """`velocities` of one right-hand side."""
        dv, multiplier = self.velocities(balance[:, None], equality[:, None])
        return dv[:, 0], multiplier[:, 0]

    def _impulses(self, rhs: Residual, slack: Array, eta: Array) -> tuple[Array, Array]:
        """(d gamma, d b) given d slack and d eta."""
        gamma = (rhs.impact - self.x.gamma * slack) / self.x.slack
        missing = rhs.cone[0] - self.problem.radius_rate(gamma)
        b = rhs.cone[1:] - self.scaling.ratio() * missing
        return gamma, b - total(self.weights.tangent * eta[None], axis=1)


class BondFactors(NamedTuple):
    """The part of the factors that the equality rows add."""

    rates: Array  # da/dv, (e, n)
    answers: Array  # velocities that unit multipliers lead to, (n, e)
    schur: WholeFactors  # of da/dv answers + S

    @classmethod
    def of(
        cls, problem: Problem, tangent: Tangent, factors: BlockFactors | WholeFactors
    ) -> "BondFactors | None":
        """Those of a problem, None if it has no equality rows."""
        rows, compliance = problem.bonds.rows, problem.bonds.compliance
        if not len(rows):
            return None
        rates, answers = tangent.equality_rates(), factors.solve(rows.T)
        schur = contract(rates, answers) + compliance
        return cls(rates, answers, WholeFactors.of(schur))


def newton_system(
    problem: Problem, tangent: Tangent, x: Point, order: Array | None = None
) -> NewtonSystem:
    """Assemble and factorize the Newton system at `x`, `tangent` being that of `x.v`.

    With an `order` (n,) of v, the blocks that are zero in it are skipped; that has no derivatives.
    """
    scaled = scaling(*cone_vectors(problem, x))
    normal = x.gamma / x.slack
    f = problem.mu.shape[0]
    coupling = scaled.ratio()[:, :f] * (problem.mu * normal[:f])
    weights = Weights(normal=normal, coupling=coupling, tangent=scaled.schur())
    matrix = tangent.condensed(weights)
    # Stiff contacts dwarf the soft directions: in single precision rounding can make a pivot
    # exactly zero. A diagonal of the size of that rounding keeps the factors finite.
    noise = 2 * jnp.finfo(matrix.dtype).eps * jnp.abs(diagonal(matrix))
    matrix = add_diagonal(matrix, noise)
    factors = WholeFactors.of(matrix) if order is None else block_factors(matrix, order)
    bonds = BondFactors.of(problem, tangent, factors)
    return NewtonSystem(problem, tangent, x, scaled, weights, factors, bonds)
