"""Derivatives of a step against central differences of the same-kappa problem.

Difference steps stay well under the smoothing width kappa / (mu gamma), unless larger ones agree
better: where nothing touches. Richardson extrapolation removes their second-order error.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from differences import best_richardson
from extended import ExtendedSteps, needs_long_double
from paths import MODELS

import dojo
from dojo.physics.kinematics import difference, displace

KAPPAS = [1e-2, 1e-3, 1e-4, 1e-5]


@jax.jit
def advance(model, q, v, u, kappa):
    after, info = dojo.step(model, dojo.State(q, v), u, options=dojo.SolverOptions(kappa=kappa))
    return after, info


@jax.jit
def jacobians(model, q, v, u, kappa):
    options = dojo.SolverOptions(kappa=kappa)
    return dojo.linearize(model, dojo.State(q, v), u, options=options)


@jax.jit
def displaced(model, q, v, u, direction, kappa):
    """Step from a state and control moved along a tangent direction."""
    nv = model.nv
    return advance(
        model,
        displace(model, q, direction[:nv]),
        v + direction[nv : 2 * nv],
        u + direction[2 * nv :],
        kappa,
    )


def check_linearize(model, q, v, u, kappa, rtol=1e-6, step=0.02):
    a, b = jacobians(model, q, v, u, kappa)
    jacobian = np.concatenate([a, b], axis=1)
    center, _ = advance(model, q, v, u, kappa)
    rng = np.random.default_rng(0)
    for _ in range(4):
        direction = rng.normal(size=jacobian.shape[1])
        direction /= np.linalg.norm(direction)

        def moved(h, direction=direction):
            after, info = displaced(model, q, v, u, h * direction, kappa)
            assert info.converged
            return np.concatenate([difference(model, center.q, after.q), after.v])

        expected = best_richardson(moved, min(1e-4, step * kappa) * 4.0 ** np.arange(4))
        error = np.abs(jacobian @ direction - expected).max() / np.abs(expected).max()
        assert error < rtol, error


@pytest.fixture(scope="module")
def box():
    return dojo.load(MODELS / "box.xml", timestep=0.01)


BOX_STATES = {
    "flight": ([0.1, 0.2, 1.5, 0.9, 0.2, 0.3, 0.1], [1, 0.5, -1, 1, -2, 0.5]),
    "impact": ([0, 0, 0.265, 1, 0.02, 0.01, 0], [0.5, 0.2, -3, 0.1, 0.2, 0]),
    "stick": ([0, 0, 0.2502, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]),
    "slip": ([0, 0, 0.2502, 1, 0, 0, 0], [2.0, 0.5, 0, 0, 0, 0.3]),
    "lift-off": ([0, 0, 0.2502, 1, 0, 0, 0], [0.2, 0, 1.0, 0.3, 0, 0]),
}


@pytest.mark.parametrize("kappa", KAPPAS)
@pytest.mark.parametrize("name", BOX_STATES)
def test_box_jacobians(box, name, kappa):
    q, v = BOX_STATES[name]
    state = dojo.init(box, q=q, v=v)
    check_linearize(box, state.q, state.v, jnp.zeros(0), kappa)


@pytest.fixture(scope="module")
def extended_box():
    return ExtendedSteps()


@needs_long_double
@pytest.mark.parametrize("kappa", [1e-6, 1e-8, 1e-10])
@pytest.mark.parametrize("name", BOX_STATES)
def test_box_jacobians_near_hard_contact(box, extended_box, name, kappa):
    """Against differences in extended precision: double has no room for them."""
    q, v = BOX_STATES[name]
    state = dojo.init(box, q=q, v=v)
    inputs = (box, state.q, state.v, jnp.zeros(0), kappa)
    a = np.asarray(jacobians(*inputs)[0])
    direction = np.random.default_rng(0).normal(size=2 * box.nv)
    direction /= np.linalg.norm(direction)
    rates = (jax.tree.map(jnp.zeros_like, box), *np.split(direction, 2), np.zeros(0), 0.0)
    # Wide steps for what does not touch, those far inside the smoothing width for what does.
    scales = 0.02 * kappa * 32.0 ** np.arange(5)
    moved = extended_box.along(inputs, rates, advance(*inputs)[0].q)
    expected = best_richardson(moved, scales[scales < 1e-4])
    assert np.abs(a @ direction - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["flight", "impact"])
def test_jacobians_with_restitution(name):
    """A second problem follows the step there: the derivatives are those of both."""
    model = dojo.load(MODELS / "box.xml", timestep=0.01, restitution=0.5)
    q, v = BOX_STATES[name]
    state = dojo.init(model, q=q, v=v)
    check_linearize(model, state.q, state.v, jnp.zeros(0), 1e-3)
    after, _ = advance(model, state.q, state.v, jnp.zeros(0), 1e-3)
    assert (after.v[2] > 0) == (name == "impact")


@pytest.fixture(scope="module")
def hopper_at_limit():
    """A hopper whose knee runs into its limit: model, q, v, u."""
    model = dojo.load(MODELS / "hopper.xml", timestep=0.01)
    knee = model.topology.limited[1]
    index = model.topology.q_start[knee]
    q = np.asarray(dojo.init(model).q).copy()
    q[1] += 0.3
    q[index] = np.asarray(model.joint_range)[1, 1] - 1e-3
    v = np.zeros(model.nv)
    v[model.topology.v_start[knee]] = 2.0
    _, info = advance(model, jnp.asarray(q), jnp.asarray(v), jnp.zeros(3), 1e-8)
    assert info.limit_impulse.max() > 1e-3
    return model, jnp.asarray(q), jnp.asarray(v), jnp.array([0.5, 0.5, -0.2])


@pytest.mark.parametrize("kappa", KAPPAS)
def test_jacobians_at_a_joint_limit(hopper_at_limit, kappa):
    check_linearize(*hopper_at_limit, kappa)


ARM = """
<mujoco><option timestep="0.01"><flag contact="disable"/></option><worldbody>
  <body><joint name="a" axis="0 1 0" frictionloss="0.8" damping="0.1"/>
    <geom type="capsule" fromto="0 0 0 .1 0 -.4" size=".02" mass="1"/>
    <body pos=".1 0 -.4"><joint type="ball" frictionloss="0.05"/>
      <geom type="capsule" fromto="0 0 0 .1 .1 -.2" size=".02" mass=".3"/></body></body>
</worldbody><actuator><motor joint="a"/></actuator></mujoco>"""
ARM_SPEEDS = {
    "stick": [0.0, 0, 0, 0],
    "slide": [2.0, 1.0, -0.5, 3.0],
    "stop": [0.005, -0.02, 0, 0.01],
}


@pytest.fixture(scope="module")
def arm():
    """Dry friction in a hinge and a ball joint."""
    return dojo.load(ARM)


@pytest.mark.parametrize("kappa", [*KAPPAS, 1e-6])
@pytest.mark.parametrize("name", ARM_SPEEDS)
def test_dry_friction_jacobians(arm, name, kappa):
    """The smoothing width kappa / r is 125 kappa and more here: r = 0.008 N m s and less."""
    q = dojo.init(arm, q=[0.05, 1, 0.02, 0.01, 0]).q
    check_linearize(arm, q, jnp.array(ARM_SPEEDS[name]), jnp.array([0.3]), kappa, step=5.0)


@pytest.mark.parametrize("name", ARM_SPEEDS)
def test_forward_equals_reverse_with_dry_friction(arm, name):
    state = dojo.init(arm, q=[0.05, 1, 0.02, 0.01, 0], v=ARM_SPEEDS[name])

    def loss(model, q, v, u, kappa):
        after, info = advance(model, q, v, u, kappa)
        return jnp.sum(after.q) + after.v @ after.v + jnp.sum(info.frictionloss_impulse)

    check_modes(loss, (arm, state.q, state.v, jnp.array([0.3]), jnp.asarray(1e-5)))


def test_forward_equals_reverse(box):
    """d(loss)/d(state, control, every float leaf) in both modes."""
    state = dojo.init(box, q=BOX_STATES["impact"][0], v=BOX_STATES["impact"][1])
    weights = np.random.default_rng(1).normal(size=13)

    def loss(model, q, v, kappa):
        after, info = advance(model, q, v, jnp.zeros(0), kappa)
        out = weights @ jnp.concatenate([after.q, after.v])
        return out + jnp.sum(info.contacts.impulse) + jnp.sum(info.contacts.gap)

    check_modes(loss, (box, state.q, state.v, jnp.asarray(1e-4)))


def check_modes(loss, inputs):
    """Both modes give the same derivative along a random direction of all inputs."""
    reverse = jax.jit(jax.grad(loss, argnums=tuple(range(len(inputs)))))(*inputs)
    rng = np.random.default_rng(2)
    tangents = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), inputs)
    forward = jax.jit(lambda x, dx: jax.jvp(loss, x, dx)[1])(inputs, tangents)
    paired = jax.tree.map(lambda g, d: jnp.sum(g * d), reverse, tangents)
    sizes = jax.tree.map(lambda g, d: jnp.sum(jnp.abs(g * d)), reverse, tangents)
    total, scale = sum(jax.tree.leaves(paired)), sum(jax.tree.leaves(sizes))
    assert scale > 1e-3
    assert abs(float(total - forward)) < 1e-10 * float(scale)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(reverse))


@pytest.mark.slow
def test_gradient_at_another_kappa(box):
    """grad_kappa: the state of kappa, the derivative of the problem at grad_kappa."""
    state = dojo.init(box, q=BOX_STATES["slip"][0], v=BOX_STATES["slip"][1])

    def speed(v, options):
        after, _ = dojo.step(box, dojo.State(state.q, v), options=options)
        return after.v

    hard = dojo.SolverOptions(kappa=1e-8)
    smooth = dojo.SolverOptions(kappa=1e-3)
    both = dojo.SolverOptions(kappa=1e-8, grad_kappa=1e-3)
    value = jax.jit(speed)
    jacobian = jax.jit(jax.jacfwd(speed))
    np.testing.assert_array_equal(value(state.v, both), value(state.v, hard))
    expected = jacobian(state.v, smooth)
    np.testing.assert_allclose(jacobian(state.v, both), expected, rtol=1e-8, atol=1e-10)
    assert np.abs(expected - jacobian(state.v, hard)).max() > 1e-2


def test_kappa_is_traced(box):
    """Annealing kappa, friction or timestep compiles once."""
    traces = []

    @jax.jit
    def traced(model, state, kappa):
        traces.append(1)
        return dojo.step(model, state, options=dojo.SolverOptions(kappa=kappa))

    state = dojo.init(box)
    for kappa in (1e-3, 1e-5, 1e-7):
        _, info = traced(box.replace(timestep=kappa**0.5, geom_friction=kappa), state, kappa)
        assert float(info.kappa) == pytest.approx(kappa)
    assert len(traces) == 1
    _, info = traced(box, state, 1e-20)
    assert float(info.kappa) == 1e-12
