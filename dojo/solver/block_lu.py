"""LU factors, of a whole matrix or of a large one of which most blocks are zero.

Bodies couple to those next to them alone. In an order along their scene the blocks of the matrix
that are not zero lie about its diagonal, and so does what elimination adds: it skips all others, in
exact arithmetic the factors are those of the whole matrix. Pivots are looked for within the blocks
of the diagonal.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_batching import custom_vmap

from dojo.math.vectors import contract

# Rows of a block: for larger ones LAPACK (OpenBLAS, for JAX on a CPU) starts threads, which cost a
# hundred times what they do and wait for each other where XLA's have the cores.
_ROWS = 24


class WholeFactors(NamedTuple):
    """LU factors of a matrix."""

    lu: Array  # (n, n)
    permutation: Array  # (n,)

    @classmethod
    def of(cls, matrix: Array) -> "WholeFactors":
        """Those of a matrix (n, n)."""
        lu, _, permutation = lax.linalg.lu(matrix)
        return cls(lu, permutation)

    def solve(self, rhs: Array) -> Array:
        """Solutions (n, m) of right-hand sides (n, m)."""
        half = lax.linalg.triangular_solve(
            self.lu, rhs[self.permutation], left_side=True, lower=True, unit_diagonal=True
        )
        return lax.linalg.triangular_solve(self.lu, half, left_side=True)


class BlockFactors(NamedTuple):
    """The matrix is L U, with the blocks of L below and on the diagonal, 1 on the diagonal of U."""

    order: Array  # (n,) the row of the matrix in each place
    blocks: Array  # (k, k, b, b)
    diagonal: WholeFactors  # of the k blocks on the diagonal

    def solve(self, rhs: Array) -> Array:
        """Solutions (n, m) of right-hand sides (n, m)."""
        count, rows = self.diagonal.permutation.shape
        n, m = rhs.shape
        padded = jnp.concatenate([rhs[self.order], jnp.zeros((count * rows - n, m), rhs.dtype)])
        x = padded.reshape(count, rows, m)
        places = np.arange(count)[:, None, None]

        def forward(k: Array, x: Array) -> Array:
            own = WholeFactors(self.diagonal.lu[k], self.diagonal.permutation[k])
            x = x.at[k].set(own.solve(x[k]))
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
    eliminated, diagonal = _eliminated(blocks)
    return BlockFactors(order, eliminated, diagonal)


def _eliminate(blocks: Array) -> tuple[Array, WholeFactors]:
    """The factors' blocks, and the factors of those on the diagonal."""
    count, _, rows, _ = blocks.shape
    places = np.arange(count)

    def eliminated(
        k: Array, state: tuple[Array, Array, WholeFactors]
    ) -> tuple[Array, Array, WholeFactors]:
        blocks, there, diagonal = state
        own = WholeFactors.of(blocks[k, k])
        below, right = there[:, k] & (places > k), there[k] & (places > k)
        (i_of, i_count), (j_of, j_count) = _listed(below), _listed(right)

        def column(at: Array, blocks: Array) -> Array:
            j = j_of[at]
            upper = own.solve(blocks[k, j])

            def block(at: Array, blocks: Array) -> Array:
                i = i_of[at]
                return blocks.at[i, j].add(-contract(blocks[i, k], upper))

            return lax.fori_loop(0, i_count, block, blocks.at[k, j].set(upper))

        blocks = lax.fori_loop(0, j_count, column, blocks)
        filled = there | (below[:, None] & right)
        found = (x.at[k].set(y) for x, y in zip(diagonal, own, strict=True))
        return blocks, filled, WholeFactors(*found)

    there = (blocks != 0).any(axis=(2, 3))
    none = WholeFactors(jnp.zeros_like(blocks[0]), jnp.zeros((count, rows), jnp.int32))
    blocks, _, diagonal = lax.fori_loop(0, count, eliminated, (blocks, there, none))
    return blocks, diagonal


# Under `vmap` a lane after the other: how many blocks there are is a matter of each.
@custom_vmap
def _eliminated(blocks: Array) -> tuple[Array, WholeFactors]:
    return _eliminate(blocks)


@_eliminated.def_vmap
def _eliminated_lanes(axis_size, in_batched, blocks):  # type: ignore[no-untyped-def]
    found = lax.map(_eliminated, blocks)
    return found, jax.tree.map(lambda _: True, found)


def _listed(mask: Array) -> tuple[Array, Array]:
    """The places that a mask (k,) marks, first of all, and how many there are."""
    return jnp.argsort(~mask, stable=True), mask.sum()
