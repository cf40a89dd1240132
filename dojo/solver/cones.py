"""The orthant and the second-order cone: products, scaling, step lengths to the boundary.

Vectors of f cones are (1 + d, f), first component first, then d tangential ones. The Jordan product
is a o b = (a . b, a0 b + b0 a), its identity e = (1, 0, ...), the determinant of a vector
a0^2 - |a|^2.
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import at_least, dot, eye, outer, safe_norm


def jordan(a: Array, b: Array) -> Array:
    """The product a o b of vectors (1 + d, f)."""
    return jnp.concatenate([dot(a, b)[None], a[0] * b[1:] + b[0] * a[1:]])


def identity(like: Array) -> Array:
    """e of the Jordan product of vectors like these (1 + d, f): (1 + d, 1)."""
    return eye(like.dtype, like.shape[0], 1)


def determinant(a: Array) -> Array:
    """a0^2 - |a|^2, (f,), in the form that does not cancel; positive inside the cone.

    A fast sliding contact comes nearer to the boundary than its numbers can tell: the distance is
    not less than their rounding.
    """
    size = safe_norm(a[1:])
    return jnp.maximum(a[0] - size, jnp.finfo(a.dtype).eps * a[0]) * (a[0] + size)


def divide(product: Array, a: Array) -> Array:
    """The b with a o b = product."""
    first = (a[0] * product[0] - dot(a[1:], product[1:])) / determinant(a)
    return jnp.concatenate([first[None], (product[1:] - a[1:] * first) / a[0]])


class Scaling(NamedTuple):
    """Nesterov-Todd scaling of two vectors inside the cone: K = size P^2 with K eta = beta.

    P^2 = 2 w w^T - J, J = diag(1, -1, ...), w^T J w = 1; P is symmetric, positive definite, and
    keeps the cone. The size cancels in products of the kind (P^-1 a) o (P b).
    """

    size: Array  # (f,)
    w: Array  # (1 + d, f)

    def times(self, x: Array) -> Array:
        """P x."""
        return self._turned(x, 1.0)

    def over(self, x: Array) -> Array:
        """P^-1 x."""
        return self._turned(x, -1.0)

    def _turned(self, x: Array, sign: float) -> Array:
        w0, w = self.w[0], sign * self.w[1:]
        along = dot(w, x[1:])
        return jnp.concatenate([(w0 * x[0] + along)[None], x[1:] + w * (x[0] + along / (1 + w0))])

    def ratio(self) -> Array:
        """K_t0 / K_00, (d, f): tangential answer to the first component."""
        return 2 * self.w[0] * self.w[1:] / (1 + 2 * dot(self.w[1:], self.w[1:]))

    def schur(self) -> Array:
        """K_tt - K_t0 K_0t / K_00, (d, d, f), in the form that does not cancel."""
        w = self.w[1:]
        unit = eye(w.dtype, len(w))[:, :, None]
        # |w|^2 1 - w w^T, a square for each plane of two components.
        for i, j in itertools.combinations(range(len(w)), 2):
            parts = {i: -w[j], j: w[i]}
            across = jnp.stack([parts.get(k, jnp.zeros_like(w[0])) for k in range(len(w))])
            unit = unit + 2 * outer(across, across)
        return self.size / (1 + 2 * dot(w, w)) * unit

    def first_row(self) -> Array:
        """K_0., (1 + d, f)."""
        w0, w = self.w[0], self.w[1:]
        return self.size * jnp.concatenate([(1 + 2 * dot(w, w))[None], 2 * w0 * w])


def scaling(beta: Array, eta: Array) -> Scaling:
    """The scaling of two vectors (1 + d, f) inside the cone."""
    size_beta, size_eta = jnp.sqrt(determinant(beta)), jnp.sqrt(determinant(eta))
    unit_beta, unit_eta = beta / size_beta, eta / size_eta
    # At least 1 inside the cone; the sum cancels.
    product = jnp.maximum(dot(unit_beta, unit_eta), 1.0)
    half = jnp.sqrt(2 * (1 + product))
    w = (unit_beta[1:] - unit_eta[1:]) / half
    w0 = jnp.sqrt(1 + dot(w, w))
    return Scaling(size_beta / size_eta, jnp.concatenate([w0[None], w]))


def orthant_step(x: Array, dx: Array) -> Array:
    """Largest a with x + a dx >= 0 for each entry; huge where nothing bounds it."""
    return x / at_least(-dx)


def cone_step(x: Array, d: Array) -> Array:
    """Largest a with x + a d in the second-order cone, for x (1 + d, f) inside it: (f,).

    The smallest positive root of c + 2 b a + a2 a^2 with c = det x > 0, in the form that does not
    cancel. Its discriminant is never negative: equal roots (d along x) only round to it.
    """
    c = determinant(x)
    b = x[0] * d[0] - dot(x[1:], d[1:])
    a2 = d[0] * d[0] - dot(d[1:], d[1:])
    denominator = jnp.sqrt(jnp.maximum(b * b - a2 * c, 0.0)) - b
    return c / at_least(denominator)
