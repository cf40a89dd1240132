"""Large batches are solved group by group: the lanes do not notice."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from paths import MODELS

import dojo
from dojo.solver import groups


@pytest.mark.parametrize("size", [4, 9, 12])
def test_groups_give_what_whole_batches_give(monkeypatch, size):
    """Whole groups and a rest, arguments with and without a batch, a tree as outcome."""

    def f(x, shared, tree):
        return {"sum": x + shared, "count": tree["n"] * 2}, x[0]

    x = jnp.arange(2.0 * size).reshape(size, 2)
    args = (x, jnp.asarray([3.0, 4.0]), {"n": jnp.arange(size)})
    expected = jax.vmap(f, in_axes=(0, None, 0))(*args)
    monkeypatch.setattr(groups, "_LANES", 4)
    batched = jax.vmap(groups.in_groups(f), in_axes=(0, None, 0))
    jax.tree.map(np.testing.assert_array_equal, batched(*args), expected)
    assert ("scan" in str(jax.make_jaxpr(batched)(*args))) == (size > 4)


def test_a_batch_steps_and_differentiates_the_same_in_groups(monkeypatch):
    """States, reports and both modes of derivatives of a step."""
    model = dojo.load(MODELS / "hopper.xml", timestep=0.01)
    rng = np.random.default_rng(0)
    q = jnp.asarray(model.q_rest + rng.uniform(-0.1, 0.1, (6, model.nq)))
    v = jnp.asarray(rng.normal(size=(6, model.nv)))

    def stepped(q, v):
        options = dojo.SolverOptions(kappa=1e-3)
        after, info = dojo.step(model, dojo.State(q, v), options=options)
        return jnp.concatenate([after.q, after.v]), info.iterations

    def everything(q, v):
        value, iterations = stepped(q, v)
        forward = jax.jacfwd(lambda v: stepped(q, v)[0])(v)
        reverse = jax.jacrev(lambda v: stepped(q, v)[0])(v)
        return value, iterations, forward, reverse

    whole = jax.jit(jax.vmap(everything))(q, v)
    monkeypatch.setattr(groups, "_LANES", 2)
    jax.clear_caches()
    grouped = jax.jit(jax.vmap(everything))(q, v)
    assert len(set(np.asarray(whole[1]).tolist())) > 1
    for a, b in zip(whole, grouped, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)


SHARDED = """
import jax, jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from dojo.solver import groups

groups._LANES = 4
f = groups.in_groups(lambda x: jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(y) + x, x))
lanes = NamedSharding(Mesh(jax.devices(), "b"), PartitionSpec("b"))
x = jax.device_put(jnp.arange(32.0).reshape(16, 2), lanes)
compiled = jax.jit(jax.vmap(f)).lower(x).compile()
assert compiled(x).sharding.is_equivalent_to(lanes, 2)
assert "while" in compiled.as_text()
for word in ("all-gather", "all-to-all", "collective-permute"):
    assert word not in compiled.as_text(), word
"""


def test_a_batch_on_several_devices_stays_there():
    """Neighbours go to different groups: each device has its share of every group."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    run = [sys.executable, "-c", SHARDED]
    done = subprocess.run(run, env=os.environ | flags, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
