"""Static places in arrays: slices where indices follow each other, gathers elsewhere."""

import jax.numpy as jnp
import numpy as np
import pytest

from dojo.model.layout import assemble, placed, take

INDICES = [[2, 3, 4], [4], [0, 1, 2, 3, 4, 5, 6], [3, 2], [0, 2, 4], [5, 5], []]


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("shape", [(7,), (2, 3, 7)])
def test_take_is_indexing(index, shape):
    x = np.random.default_rng(0).normal(size=shape)
    index = np.array(index, dtype=int)
    np.testing.assert_array_equal(take(jnp.asarray(x), index), x[..., index])


def test_take_keeps_the_shape_of_the_indices():
    x = np.arange(2 * 8.0).reshape(2, 8)
    for index in (np.arange(1, 7).reshape(3, 2), np.array([[0, 3], [1, 4]])):
        np.testing.assert_array_equal(take(jnp.asarray(x), index), x[:, index])


@pytest.mark.parametrize("index", [i for i in INDICES if len(set(i)) == len(i)])
def test_placed_is_assignment(index):
    values = np.random.default_rng(1).normal(size=len(index))
    expected = np.zeros(7)
    expected[index] = values
    result = placed(jnp.asarray(values), np.array(index, dtype=int), 7)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    "parts", [[[4, 5], [0, 1, 2, 3]], [[0, 2, 4], [1, 3, 5]], [[5, 0], [], [1, 2, 3, 4]]]
)
def test_assemble_puts_every_block_in_its_place(parts):
    rng, expected, blocks = np.random.default_rng(2), np.zeros((3, 6)), []
    for index in parts:
        values = rng.normal(size=(3, len(index)))
        expected[:, index] = values
        blocks.append((np.array(index, dtype=int), jnp.asarray(values)))
    np.testing.assert_array_equal(assemble(blocks, 6), expected)
