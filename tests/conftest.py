"""Settings shared by all tests: double precision, as contact mechanics wants it."""

import jax

jax.config.update("jax_enable_x64", True)
