"""The closed-form Jacobians of a step against forward mode through its equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chains import CHAIN
from paths import MODELS
from programs import equations

import dojo
from dojo.physics.kinematics import difference, displace

# Every joint kind, most geoms, contacts of every condim and all that acts on joints; a mesh and an
# ellipsoid on a ball joint.
WALKER = """
<mujoco><option timestep="0.02" gravity="0.5 0 -9.81"/>
  <default><geom contype="1" conaffinity="0"/></default>
  <asset><mesh name="wedge" vertex="-.1 -.1 0  .1 -.1 0  0 .1 0  0 0 .15"/></asset>
  <worldbody>
  <geom type="plane" size="3 3 .1" friction="0.4" euler="3 2 0" contype="0" conaffinity="1"/>
  <body pos="0 0 0.2" euler="4 3 10"><freejoint/>
    <geom type="box" size=".1 .06 .03" mass="1" friction="0.7 .02 .01" condim="6"/>
    <geom type="sphere" size=".03" pos="0 0 -.05" mass=".1" condim="1"/>
    <body pos=".1 0 0"><joint name="a" axis="0 1 .1" pos="0 0 .01" damping=".05" armature=".01"
        stiffness="2" springref="10" range="-40 25" limited="true" frictionloss=".1"/>
      <geom type="capsule" fromto="0 0 0 .06 0 -.09" size=".02" mass=".3" friction=".5"/>
      <body pos=".06 0 -.09"><joint type="ball" stiffness="1" damping=".02"/>
        <geom type="ellipsoid" size=".03 .04 .05" pos="0 0 -.02" mass=".2" condim="4"/>
        <body pos="0 0 -.1"><joint axis="1 0 0"/><joint type="slide" axis="0 0 1" stiffness="300"/>
          <geom type="mesh" mesh="wedge" mass=".1"/></body></body>
    </body>
    <body pos="-.1 0 0"><joint name="b" type="slide" axis=".1 0 1" range="-.05 .05" limited="true"/>
      <geom type="cylinder" size=".03 .05" pos="0 0 -.05" euler="20 30 0" mass=".2"/></body>
  </body></worldbody>
  <actuator><motor joint="a" gear="1.5" ctrlrange="-1 1" ctrllimited="true"/>
    <position joint="b" kp="40" kv="2" forcerange="-6 6" forcelimited="true"/>
    <velocity joint="a" kv=".3"/></actuator>
</mujoco>
"""
LANES = 24


@pytest.fixture(scope="module")
def walker():
    return dojo.load(WALKER)


@pytest.fixture(scope="module")
def box():
    return dojo.load(MODELS / "box.xml", timestep=0.02)


def pushed(model, state, u, wrench, options):
    """Forward mode, a column for each tangent; and what the step reports."""

    def moved(x, u):
        start = dojo.State(displace(model, state.q, x[: model.nv]), state.v + x[model.nv :])
        after, info = dojo.step(model, start, u, wrench=wrench, options=options)
        end = jax.lax.stop_gradient(after.q)
        return jnp.concatenate([difference(model, end, after.q), after.v]), info

    return jax.jacfwd(moved, argnums=(0, 1), has_aux=True)(jnp.zeros(2 * model.nv), u)


@jax.jit
def both_ways(model, states, us, wrenches, options):
    """Closed form, forward mode, and what the step reports, lane by lane."""

    def lane(q, v, u, wrench):
        state = dojo.init(model, q=q, v=v)
        closed = dojo.linearize(model, state, u, wrench=wrench, options=options)
        return closed, *pushed(model, state, u, wrench, options)

    return jax.vmap(lane)(*states, us, wrenches)


def states_of(model, height, seed=0):
    """Stirred states about a height: some touch, some sink in, some violate limits."""
    rng = np.random.default_rng(seed)
    q = np.asarray(dojo.init(model).q) + 0.2 * rng.normal(size=(LANES, model.nq))
    if model.topology.joint_kind[0] == "free":
        q[:, 2] = height + 0.03 * rng.normal(size=LANES)
    v = rng.normal(size=(LANES, model.nv))
    us = rng.uniform(-2, 2, (LANES, model.nu))
    wrenches = rng.normal(size=(LANES, model.topology.nl, 6))
    return (q, v), us, wrenches


def check(model, inputs, options):
    closed, reference, info = both_ways(model, *inputs, options)
    solved = np.asarray(info.grad_converged)
    assert solved.mean() > 0.9
    for mine, theirs in zip(closed, reference, strict=True):
        if theirs.shape[-1] == 0:  # no controls
            continue
        scale = np.abs(theirs[solved]).max(axis=(1, 2))
        error = np.abs(mine - theirs)[solved].max(axis=(1, 2))
        assert (error < 1e-8 * scale).all(), error / scale
        assert np.median(error / scale) < 1e-10
    return info


@pytest.mark.parametrize("kappa", [1e-2, 1e-4, 1e-6])
def test_closed_form_equals_forward_mode(walker, kappa):
    info = check(walker, states_of(walker, 0.2), dojo.SolverOptions(kappa=kappa))
    gamma = np.asarray(info.contacts.impulse)[..., 0]
    assert (gamma.max(axis=1) > 1e-2).sum() > LANES / 4, "hardly any contact"
    assert np.asarray(info.limit_impulse).max() > 1e-2, "no limit is touched"


def test_where_contacts_fade(walker):
    """Between one and two metres the share of a contact's impulse depends on the state."""
    height = 1.7
    inputs = states_of(walker, height)
    check(walker, inputs, dojo.SolverOptions(kappa=1.0))


@pytest.mark.slow
def test_at_another_kappa(box):
    check(box, states_of(box, 0.3), dojo.SolverOptions(kappa=1e-6, grad_kappa=1e-2))


def test_in_substeps(box):
    """The chain rule through three steps of a third."""
    state = dojo.init(box, q=[0, 0, 0.26, 1, 0.02, 0.01, 0], v=[0.5, 0.2, -1, 0.1, 0.2, 0])
    whole = jax.jit(dojo.linearize)(box, state, options=dojo.SolverOptions(substeps=3))
    part = jax.jit(dojo.step_and_linearize)
    third, product = box.replace(timestep=box.timestep / 3), np.eye(2 * box.nv)
    for _ in range(3):
        state, _, (a, _) = part(third, state)
        product = a @ product
    assert np.abs(product - np.eye(2 * box.nv)).max() > 0.1
    np.testing.assert_allclose(whole[0], product, atol=1e-10 * np.abs(product).max())


@pytest.mark.parametrize(
    ("speed", "parts"), [pytest.param(-1.4, 16, marks=pytest.mark.slow), (-0.5, 1)]
)
def test_of_what_was_taken_again_in_parts(speed, parts):
    """A chain that cannot take its momentum in one step: derivatives are those of the parts."""
    model, ends = dojo.load(CHAIN), np.array([1.0, -2.0])
    q, v = 0.2 * ends, speed * ends
    again = dojo.SolverOptions(max_iterations=300, retry_substeps=16)
    state = dojo.init(model, q=q, v=v)
    _, info, (a, _) = jax.jit(dojo.step_and_linearize)(model, state, options=again)
    assert int(info.parts) == parts
    expected, _ = dojo.linearize(model, state, options=dojo.SolverOptions(substeps=parts))
    np.testing.assert_allclose(a, expected, atol=1e-10 * np.abs(expected).max())

    def end(x):
        after, _ = dojo.step(model, dojo.init(model, q=x[:2], v=x[2:]), options=again)
        return jnp.concatenate([after.q, after.v])

    x = jnp.concatenate([jnp.asarray(q), jnp.asarray(v)])
    for jacobian in (jax.jacfwd(end)(x), jax.jacrev(end)(x)):
        np.testing.assert_allclose(jacobian, expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("restitution", [0.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_failures_are_raised_on_request(restitution):
    model = dojo.load(MODELS / "box.xml", restitution=restitution)
    options = dojo.SolverOptions(max_iterations=1, raise_on_failure=True)
    with pytest.raises(dojo.SolverError, match="MAX_ITERATIONS"):
        dojo.linearize(model, dojo.init(model), options=options)


def test_triangular_solves_stay_small():
    """Large ones at once never end in jaxlib 0.10 (docs/gradients.md): a column an input here."""
    model = dojo.load(WALKER, restitution=0.5)
    starts = dojo.State(jnp.tile(dojo.init(model).q, (2, 1)), jnp.zeros((2, model.nv)))
    jaxpr = jax.make_jaxpr(jax.vmap(lambda state: dojo.linearize(model, state)))(starts)
    solves = [e.outvars[0] for e in equations(jaxpr) if e.primitive.name == "triangular_solve"]
    columns = [x.aval.size // (len(starts.q) * model.nv) for x in solves]
    assert columns
    assert max(columns) <= 2 * model.nv + model.nu


def test_without_contacts():
    model = dojo.load(WALKER.replace('conaffinity="1"', 'conaffinity="0"'))
    assert model.topology.nc == 0
    check(model, states_of(model, 0.2), dojo.SolverOptions())


@pytest.mark.slow
def test_can_be_differentiated(box):
    """d A / d q, as second-order methods ask for, against central differences."""
    options = dojo.SolverOptions(kappa=1e-3)
    direction = np.random.default_rng(3).normal(size=box.nv)

    @jax.jit
    def a(h):
        state = dojo.init(box, q=[0, 0, 0.26, 1, 0.02, 0.01, 0], v=[0.5, 0.2, -1, 0.1, 0.2, 0])
        moved = dojo.State(displace(box, state.q, h * direction), state.v)
        return dojo.linearize(box, moved, options=options)[0]

    h = 1e-5
    expected = (a(h) - a(-h)) / (2 * h)
    actual = jax.jit(jax.jacfwd(a))(0.0)
    assert np.abs(expected).max() > 1.0
    assert np.abs(actual - expected).max() < 1e-6 * np.abs(expected).max()
