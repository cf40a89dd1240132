"""Settings shared by all tests: double precision, as contact mechanics wants it."""

import jax
import pytest

jax.config.update("jax_enable_x64", True)


@pytest.fixture(scope="module", autouse=True)
def _release_compiled_functions():
    """Free what a file compiled: a process may hold 65530 memory mappings on Linux, and every
    compiled function takes some. Out of them, XLA dies with a segmentation fault."""
    yield
    jax.clear_caches()
