"""Trees of arrays."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array

_Tree = TypeVar("_Tree")


def choose(first: Array, a: _Tree, b: _Tree) -> _Tree:
    """`a` where `first` (), else `b`, leaf by leaf."""
    return jax.tree.map(lambda x, y: jnp.where(first, x, y), a, b)
