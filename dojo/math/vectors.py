"""Vectors (3, ...) and matrices (3, 3, ...), component first."""

import functools
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

# A floor of lengths in denominators: its inverse square is finite in single precision, so that
# derivatives of what is divided by it are.
SMALL = 1e-12
# Axes up to this long are short.
_SHORT = 8
# Rounding of the size of a matrix, in its diagonal and its precision, that a factor may have to
# withstand.
_LIFT = 4


def cross(a: Array, b: Array) -> Array:
    """Cross product of vectors (3, ...)."""
    # Each component taken once: indexing makes up much of what there is to trace.
    (a0, a1, a2), (b0, b1, b2) = ((x[0], x[1], x[2]) for x in (a, b))
    return jnp.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0])


def total(x: Array, axis: int = 0) -> Array:
    """Sum over a short axis, written out: compilers fuse additions better than reductions.

    And right: for `jnp.sum(a[:, None] * b[None], axis=2)`, a and b reshaped slices, the library
    that XLA's CPU backend calls (see `reduced`) gave what stood in memory, in a batch of one
    (jaxlib 0.10.2).
    """
    parts = [lax.index_in_dim(x, k, axis, keepdims=False) for k in range(x.shape[axis])]
    return functools.reduce(operator.add, parts)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def reduced(x: Array, axis: int | tuple[int, ...]) -> Array:
    """Sum over axes, as a loop that stays in the compiled program.

    XLA's CPU backend hands what it recognizes as a sum to a library, at a price per call that
    dwarfs a dozen additions: a step of a humanoid took twice as long (docs/theory.md). It does not
    recognize an addition that spares the zeros. JAX differentiates this, in both modes, but cannot
    transpose it as part of a linear map: there, use `total`.
    """
    axes = axis if isinstance(axis, tuple) else (axis,)
    return lax.reduce(x, np.zeros((), x.dtype), _sum_sparing_zeros, axes)


def _sum_sparing_zeros(a: Array, b: Array) -> Array:
    # lax.select and not jnp.where: a function called in here crashed the compiler (jaxlib 0.10.2).
    return lax.select(b == 0, a, a + b)


def _summed(x: Array, axis: int) -> Array:
    return total(x, axis) if 0 < x.shape[axis] <= _SHORT else jnp.sum(x, axis=axis)


@reduced.defjvp
def _reduced_jvp(axis, primals, tangents):  # type: ignore[no-untyped-def]
    tangent = tangents[0]
    # Over short axes written out: `jnp.sum` may go to that library, and wrong (see `total`).
    for k in sorted((k % tangent.ndim for k in np.atleast_1d(axis)), reverse=True):
        tangent = _summed(tangent, k)
    return reduced(*primals, axis), tangent


def smallest(x: Array, axis: int | tuple[int, ...]) -> Array:
    """Minimum over axes, infinity where they are empty; not differentiable. See `reduced`."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    return lax.reduce(x, np.full((), np.inf, x.dtype), _smaller_or_nan, axes)


def largest(x: Array, axis: int) -> Array:
    """Maximum over an axis, with the derivative of the entry that it is.

    That of `jnp.max` compares x with its maximum: where a compiler rounds the two differently, none
    is equal, and the derivative is 0 / 0.
    """
    index = jnp.argmax(lax.stop_gradient(x), axis=axis, keepdims=True)
    return jnp.take_along_axis(x, index, axis=axis).squeeze(axis)


def _smaller_or_nan(a: Array, b: Array) -> Array:
    return lax.select((a < b) | (a != a), a, b)


def dot(a: Array, b: Array) -> Array:
    """Inner product over the first axis."""
    return total(a * b)


def matvec(m: Array, v: Array) -> Array:
    """Matrix (3, 3, ...) times vector (3, ...)."""
    return reduced(m * v[None], 1)


def matvec_t(m: Array, v: Array) -> Array:
    """Transposed matrix (3, 3, ...) times vector (3, ...)."""
    return reduced(m * v[:, None], 0)


def matmat(a: Array, b: Array) -> Array:
    """Product of matrices (3, 3, ...)."""
    return reduced(a[:, :, None] * b[None], 1)


def transpose(m: Array) -> Array:
    """Transpose of matrices (3, 3, ...)."""
    return jnp.swapaxes(m, 0, 1)


def outer(a: Array, b: Array) -> Array:
    """Outer product of vectors: (3, 3, ...)."""
    return a[:, None] * b[None]


# [v] = sum of v[k] _SKEW[:, :, k].
_SKEW = -np.cross(np.eye(3)[:, None], np.eye(3)[None])


def skew(v: Array) -> Array:
    """Matrix [v] with [v] x = v cross x."""
    basis = jnp.asarray(_SKEW, v.dtype).reshape(3, 3, 3, *[1] * (v.ndim - 1))
    return total(basis * v, axis=2)


def eye(dtype: DTypeLike, rows: int, columns: int | None = None, k: int = 0) -> Array:
    """`jnp.eye` as a constant of the program: XLA does not evaluate that one beforehand."""
    return jnp.asarray(np.eye(rows, columns, k), dtype)


def diagonal(m: Array) -> Array:
    """Diagonal of a matrix (n, n): (n,). A slice, where `jnp.diagonal` gathers."""
    return m.reshape(-1)[:: m.shape[0] + 1]


def add_diagonal(m: Array, d: Array) -> Array:
    """A matrix (n, n) with d (n,) added to its diagonal."""
    return m + eye(m.dtype, m.shape[0]) * d


def safe_norm(v: Array) -> Array:
    """Euclidean norm over the first axis; its derivative at zero is zero instead of NaN."""
    square = dot(v, v)
    # Large enough for its power -3/2, in second derivatives, to be finite.
    smallest = float(jnp.finfo(square.dtype).tiny) ** (2 / 3)
    return jnp.where(square > smallest, jnp.sqrt(at_least(square, smallest)), 0.0)


def at_least(x: Array, floor: float | Array | None = None) -> Array:
    """`x`, but not below a positive number, the smallest of its type if not given.

    For denominators that are used only where they are larger. `where(x > 0, x, 1)` will not do:
    a compiler that fuses may evaluate x twice, round it differently, and guard with the one sign
    a quotient of the other.
    """
    return jnp.maximum(x, jnp.finfo(x.dtype).tiny if floor is None else floor)


def contract(a: Array, b: Array) -> Array:
    """Matrix product `a @ b` in the full precision of its inputs.

    The default on a GPU rounds float32 products to a 10-bit mantissa, too coarse for a solver.
    """
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def solve_positive(matrix: Array, rhs: Array) -> Array:
    """Solution (n,) or (n, k) of `matrix @ x = rhs`, the matrix (n, n) symmetric and positive.

    `jax.scipy.linalg.solve` differentiates with the matrix products that `contract` avoids, and a
    Cholesky factor has derivatives that cost more than those of the solution.
    """
    solved = positive_solver(lax.stop_gradient(matrix))
    return lax.custom_linear_solve(
        lambda x: contract(matrix, x), rhs, solve=lambda _, b: solved(b), symmetric=True
    )


def positive_solver(matrix: Array) -> Callable[[Array], Array]:
    """What solves with a symmetric and positive matrix (n, n), factorized once.

    A light link on heavy ones can make the matrix indefinite by rounding, and then there is no
    factor. That of a matrix with a little more on its diagonal is there; one refinement takes out
    what that changes, but in directions that are rounding themselves.
    """
    noise = _LIFT * len(matrix) * float(jnp.finfo(matrix.dtype).eps) * diagonal(matrix)
    factor = jax.scipy.linalg.cho_factor(add_diagonal(matrix, noise), lower=True)

    def solution(b: Array) -> Array:
        x = jax.scipy.linalg.cho_solve(factor, b)
        return x + jax.scipy.linalg.cho_solve(factor, b - contract(matrix, x))

    return solution


@jax.custom_jvp
def inverse_positive(matrix: Array) -> Array:
    """Inverse (n, n) of a symmetric positive matrix; its derivatives are products alone."""
    return solve_positive(matrix, eye(matrix.dtype, matrix.shape[0]))


@inverse_positive.defjvp
def _inverse_positive_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    inverse = inverse_positive(*primals)
    return inverse, -contract(inverse, contract(tangents[0], inverse))
