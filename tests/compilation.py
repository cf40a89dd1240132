"""How tests are compiled."""

import contextlib

import jax


@contextlib.contextmanager
def optimizations():
    """Code that takes longer to compile and runs fast."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
