"""How tests are compiled."""

import contextlib

import jax


@contextlib.contextmanager
def optimizations():
    """Code that takes longer to compile and runs fast."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
