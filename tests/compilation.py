"""How tests are compiled."""

import contextlib

import jax


@contextlib.contextmanager
def default_optimizations():
    """Code that takes long to compile and runs fast."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
