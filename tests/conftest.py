"""Settings shared by all tests: double precision, as contact mechanics wants it."""

import os

# Most of what tests do is compile. XLA's older code generator and no optimization by LLVM take a
# quarter of the time for it; what comes out is slower, and the same but for rounding. Long
# simulations ask for some optimization with `optimized`: level 1 of 3, four fifths of the time to
# compile for the same speed.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1"
)

import jax
import pytest
from compilation import optimizations

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="module")
def optimized():
    """Code that takes long to compile and runs fast, in all that follows in a file."""
    with optimizations():
        yield


@pytest.fixture
def optimized_alone():
    """The same for one test."""
    with optimizations():
        yield


@pytest.fixture(scope="module", autouse=True)
def _release_compiled_functions():
    """Free what a file compiled: a process may hold 65530 memory mappings on Linux, and every
    compiled function takes some. Out of them, XLA dies with a segmentation fault."""
    yield
    jax.clear_caches()
