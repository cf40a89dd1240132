"""LU factors of a large matrix of which most blocks are zero.

Bodies couple to those next to them alone. In an order along their scene the blocks of the matrix
that are not zero lie about its diagonal, and so does what elimination adds: it skips all others, in
exact arithmetic the factors are those of the whole matrix. Pivots are looked for within the blocks
of the diagonal.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_batching import custom_vmap

from dojo.math.vectors import contract

# Rows of a block: for larger ones LAPACK (OpenBLAS, for JAX on a CPU) starts threads, which cost a
# hundred times what they do and wait for each other where XLA's have the cores.
_ROWS = 24


_State = tuple[Array, Array, Array, Array]


class BlockFactors(NamedTuple):
    """The matrix is L U, with the blocks of L below and on the diagonal, 1 on the diagonal of U.

    Those on the diagonal have LU factors of their own.
    """

    order: Array  # (n,) the row of the matrix in each place
    blocks: Array  # (k, k, b, b)
    lu: Array  # (k, b, b)
    permutation: Array  # (k, b)

    def solve(self, rhs: Array) -> Array:
        """Solutions (n, m) of right-hand sides (n, m)."""
        count, rows = self.permutation.shape
        n, m = rhs.shape
        padded = jnp.concatenate([rhs[self.order], jnp.zeros((count * rows - n, m), rhs.dtype)])
        x = padded.reshape(count, rows, m)
        places = np.arange(count)[:, None, None]

        def forward(k: Array, x: Array) -> Array:
            x = x.at[k].set(_solved(self.lu[k], self.permutation[k], x[k]))
            return jnp.where(places > k, x - contract(self.blocks[:, k], x[k]), x)

        def backward(step: Array, x: Array) -> Array:
            k = count - 1 - step
            return jnp.where(places < k, x - contract(self.blocks[:, k], x[k]), x)

        x = lax.fori_loop(0, count, forward, x)
        x = lax.fori_loop(0, count, backward, x)
        return jnp.zeros_like(rhs).at[self.order].set(x.reshape(-1, m)[:n])


def block_factors(matrix: Array, order: Array) -> BlockFactors:
    """Factors of a matrix (n, n), its rows and columns taken in an order (n,)."""
    n = len(matrix)
    count = -(-n // _ROWS)
    rest = count * _ROWS - n
    place = jnp.concatenate([order, jnp.full(rest, n, order.dtype)]).reshape(count, _ROWS)
    # Beyond the matrix, zeros.
    blocks = matrix.at[place[:, None, :, None], place[:, None]].get(mode="fill", fill_value=0.0)
    beyond = np.diag(np.arange(n + rest) >= n).reshape(count, _ROWS, count, _ROWS)
    blocks = blocks + jnp.asarray(beyond.transpose(0, 2, 1, 3), matrix.dtype)
    return BlockFactors(order, *_eliminated(blocks))


def _eliminate(blocks: Array) -> tuple[Array, Array, Array]:
    count, _, rows, _ = blocks.shape
    places = np.arange(count)

    def eliminated(k: Array, state: _State) -> _State:
        blocks, there, lus, permutations = state
        lu, _, permutation = lax.linalg.lu(blocks[k, k])
        below, right = there[:, k] & (places > k), there[k] & (places > k)
        (i_of, i_count), (j_of, j_count) = _listed(below), _listed(right)

        def column(at: Array, blocks: Array) -> Array:
            j = j_of[at]
            upper = _solved(lu, permutation, blocks[k, j])

            def block(at: Array, blocks: Array) -> Array:
                i = i_of[at]
                return blocks.at[i, j].add(-contract(blocks[i, k], upper))

            return lax.fori_loop(0, i_count, block, blocks.at[k, j].set(upper))

        blocks = lax.fori_loop(0, j_count, column, blocks)
        filled = there | (below[:, None] & right)
        return blocks, filled, lus.at[k].set(lu), permutations.at[k].set(permutation)

    there = (blocks != 0).any(axis=(2, 3))
    none = jnp.zeros((count, rows, rows), blocks.dtype), jnp.zeros((count, rows), jnp.int32)
    blocks, _, lu, permutation = lax.fori_loop(0, count, eliminated, (blocks, there, *none))
    return blocks, lu, permutation


# Under `vmap` a lane after the other: how many blocks there are is a matter of each.
@custom_vmap
def _eliminated(blocks: Array) -> tuple[Array, Array, Array]:
    return _eliminate(blocks)


@_eliminated.def_vmap
def _eliminated_lanes(axis_size, in_batched, blocks):  # type: ignore[no-untyped-def]
    return lax.map(_eliminated, blocks), (True, True, True)


def _listed(mask: Array) -> tuple[Array, Array]:
    """The places that a mask (k,) marks, first of all, and how many there are."""
    return jnp.argsort(~mask, stable=True), mask.sum()


def _solved(lu: Array, permutation: Array, rhs: Array) -> Array:
    """Solutions for right-hand sides (b, m) of a matrix with these factors."""
    half = lax.linalg.triangular_solve(
        lu, rhs[permutation], left_side=True, lower=True, unit_diagonal=True
    )
    return lax.linalg.triangular_solve(lu, half, left_side=True)
