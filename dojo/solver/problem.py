"""The problem the solver accepts, and the point it works on.

A cone complementarity problem in v (n,), with m inequality rows, c second-order friction cones
of 1 + d dimensions, and e equality rows. The first f cones belong to the first f rows, their radius
is mu gamma; that of the others is constant:

    F(v) = N^T gamma + T^T b + E^T lambda
    a(v) + S lambda = 0
    slack = g(v) >= 0,   gamma >= 0,   gamma slack = kappa
    eta = T v (d tangential components a cone)
    (radius, b) o (psi, eta) = kappa e      both in the second-order cone

`o` is the Jordan product and e = (1, 0, ...) its identity. N need not be the derivative of g, nor E
that of a; the compliance S decides where equality rows depend on each other.
Layout is component first (see `dojo.math`): b and eta are (d, c).
"""

from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from dojo.math.vectors import contract
from dojo.solver.cones import identity, jordan


class Point(NamedTuple):
    """Primal-dual point, and likewise a direction; few arrays, for what is done to all of it."""

    v: Array  # (n,)
    orthant: Array  # (2, m): gamma, slack
    cones: Array  # (2 d + 1, c): b in d components, psi, eta in d components
    multiplier: Array  # (e,) lambda

    @classmethod
    def of(
        cls,
        v: Array,
        gamma: Array,
        slack: Array,
        b: Array,
        psi: Array,
        eta: Array,
        multiplier: Array,
    ) -> "Point":
        """The point of these parts: b and eta (d, c), psi (c,)."""
        cones = jnp.concatenate([b, psi[None], eta])
        return cls(v, jnp.stack([gamma, slack]), cones, multiplier)

    def with_b(self, b: Array) -> "Point":
        """The same point with another b (d, c)."""
        return self._replace(cones=jnp.concatenate([b, self.dual]))

    @property
    def gamma(self) -> Array:
        """(m,)"""
        return self.orthant[0]

    @property
    def slack(self) -> Array:
        """(m,)"""
        return self.orthant[1]

    @property
    def b(self) -> Array:
        """(d, c)"""
        return self.cones[: _tangents(self.cones)]

    @property
    def psi(self) -> Array:
        """(c,)"""
        return self.cones[_tangents(self.cones)]

    @property
    def eta(self) -> Array:
        """(d, c)"""
        return self.cones[_tangents(self.cones) + 1 :]

    @property
    def dual(self) -> Array:
        """(psi, eta), (1 + d, c)"""
        return self.cones[_tangents(self.cones) :]


def _tangents(cones: Array) -> int:
    """d, of a table with 2 d + 1 rows."""
    return cones.shape[0] // 2


class Rows(NamedTuple):
    """The problem's own functions at v."""

    balance: Array  # F(v), (n,)
    gap: Array  # g(v), (m,)
    slip: Array  # T v, (d, c)
    equality: Array  # a(v), (e,)


class Residual(NamedTuple):
    """The equations, zero at the solution; few arrays, as in `Point`."""

    balance: Array  # F(v) - N^T gamma - T^T b - E^T lambda, (n,)
    orthant: Array  # (2, m): slack - g(v), gamma slack - kappa
    cones: Array  # (2 d + 1, c): eta - T v, then the Jordan product beta o eta - kappa e
    equality: Array  # a(v) + S lambda, (e,)

    @property
    def gap(self) -> Array:
        """(m,)"""
        return self.orthant[0]

    @property
    def impact(self) -> Array:
        """(m,)"""
        return self.orthant[1]

    @property
    def slip(self) -> Array:
        """(d, c)"""
        return self.cones[: _tangents(self.cones)]

    @property
    def cone(self) -> Array:
        """(1 + d, c)"""
        return self.cones[_tangents(self.cones) :]

    def with_products(self, impact: Array, cone: Array) -> "Residual":
        """The same with other complementarity products, (m,) and (1 + d, c)."""
        return self._replace(
            orthant=jnp.stack([self.gap, impact]), cones=jnp.concatenate([self.slip, cone])
        )


class Scales(NamedTuple):
    """Sizes that make residuals of different units comparable, and their rounding noise."""

    size: Array  # (3,): of the balance, the gaps, the slips
    noise: Array  # (3,) likewise


class Weights(NamedTuple):
    """Minus the derivative of the impulses (gamma, b) by (gap, slip), row by row.

    `d gamma = -normal d gap` and `d b = -coupling d gap - tangent d slip`.
    """

    normal: Array  # (m,)
    coupling: Array  # (d, f)
    tangent: Array  # (d, d, c)


class Bonds(Protocol):
    """What the multipliers of the equality rows do."""

    @property
    def rows(self) -> Array:
        """E, (e, n)."""
        ...

    @property
    def compliance(self) -> Array:
        """S, (e, e), symmetric and positive."""
        ...


class Tangent(Protocol):
    """The derivative of a problem's functions at one v."""

    def rates(self, dv: Array) -> tuple[Array, Array]:
        """Derivatives of gap (m,) and slip (d, c) along dv."""
        ...

    def condensed(self, weights: Weights) -> Array:
        """dF/dv + N^T W dg/dv + T^T W T, (n, n)."""
        ...

    def equality_rates(self) -> Array:
        """da/dv, (e, n)."""
        ...


class Problem(Protocol):
    """What the interior point asks of a problem."""

    @property
    def mu(self) -> Array:
        """Friction coefficients of the rows that carry a cone, (f,), positive."""
        ...

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of rows, of cones, and of tangential components, (m, c, d)."""
        ...

    @property
    def scales(self) -> Scales: ...

    @property
    def bonds(self) -> "Bonds":
        """E and S of the equality rows."""
        ...

    @property
    def of_many(self) -> bool:
        """Whether it is that of many bodies, each of which few rows belong to."""
        ...

    def order(self) -> Array | None:
        """An order (n,) of v in which what is far apart does not couple; None if all does."""
        ...

    def radius(self, gamma: Array) -> Array:
        """First components of the beta, (c,), positive, affine in gamma."""
        ...

    def radius_rate(self, dgamma: Array) -> Array:
        """The linear part of `radius`."""
        ...

    def held(self, radius: Array, on: Array) -> "Problem":
        """Where `on`, the same problem with the radii of its cones held at these values (c,)."""
        ...

    def starts(self) -> Array:
        """Values of v to start from, (k, n): the first one, then others."""
        ...

    def centered(
        self, v: Array, rows: Rows, factor: Array, kappa: Array, first: ArrayLike = False
    ) -> Point:
        """A point at v well inside all cones, products at least about kappa; a larger factor moves
        it further inside. `first`: a guess of the solution, as no search has failed yet."""
        ...

    def move(self, v: Array) -> Any:
        """Where v leads: what its rows and their derivative are made of, a pytree."""
        ...

    def rows_after(self, v: Array, trial: Any) -> Rows:
        """The rows at v, which leads to this trial."""
        ...

    def tangent_after(self, v: Array, trial: Any) -> Tangent:
        """Their derivative."""
        ...

    def pull(self, gamma: Array, b: Array) -> Array:
        """N^T gamma + T^T b, (n,)."""
        ...

    def refused(self, x: Point, rows: Rows, left: "Residual") -> Array:
        """Whether a point with these rows and residual would be no solution, solved or not: ()."""
        ...


def residual(problem: Problem, rows: Rows, x: Point, kappa: Array) -> Residual:
    """The equations at a point whose `rows` are those of `x.v`."""
    beta, eta = cone_vectors(problem, x)
    return Residual(
        balance=rows.balance - problem.pull(x.gamma, x.b) - equality_pull(problem, x.multiplier),
        orthant=jnp.stack([x.slack - rows.gap, x.gamma * x.slack - kappa]),
        cones=jnp.concatenate([x.eta - rows.slip, jordan(beta, eta) - kappa * identity(eta)]),
        equality=rows.equality + contract(problem.bonds.compliance, x.multiplier),
    )


def equality_pull(problem: Problem, multiplier: Array) -> Array:
    """E^T lambda, (n,)."""
    rows = problem.bonds.rows
    # Nothing to add to the program of a problem without equality rows.
    return contract(multiplier, rows) if len(rows) else jnp.zeros((), rows.dtype)


def cone_vectors(problem: Problem, x: Point) -> tuple[Array, Array]:
    """beta = (radius, b) and eta = (psi, slip) of a point, (1 + d, c) each."""
    return jnp.concatenate([problem.radius(x.gamma)[None], x.b]), x.dual


def cone_directions(problem: Problem, d: Point) -> tuple[Array, Array]:
    """The changes of `cone_vectors` along a direction."""
    return jnp.concatenate([problem.radius_rate(d.gamma)[None], d.b]), d.dual
