"""A medium: MuJoCo's forces, their derivatives, and speeds that have a closed form."""

import dataclasses

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from differences import best_richardson
from jacobians import Steps

import dojo
from dojo.metrics import energy
from dojo.physics import mechanics
from dojo.physics.kinematics import difference, displace

# A swimmer with a free root, a fin that is fixed to a link, joints of every kind, and a current.
SWIMMER = """<mujoco><option timestep="0.01" density="900" viscosity=".4" wind="{wind}"
  gravity="{gravity}"><flag contact="disable"/></option>
<worldbody><body name="head" pos="0 0 1"><freejoint/><geom type="box" size=".1 .06 .04"/>
  <body pos="-.1 0 0"><joint name="neck" type="ball"/>
    <geom type="capsule" fromto="0 0 0 -.2 0 0" size=".03"/>
    <body pos="-.1 0 .05" euler="0 20 30"><geom type="box" size=".05 .003 .05"/></body>
    <body pos="-.2 0 0"><joint name="tail" axis="0 0 1" damping=".01"/>
      <geom type="ellipsoid" size=".08 .02 .05" pos="-.08 0 0"/>
      <body pos="-.15 0 0"><joint name="tip" type="slide" axis="1 0 0" stiffness="40"/>
        <geom size=".02"/></body></body></body></body></worldbody></mujoco>"""
PARAMETERS = tuple(f"fluid_{x}" for x in ("density", "viscosity", "wind", "box", "pos", "quat"))


@pytest.fixture(scope="module")
def swimmer():
    return dojo.load(SWIMMER.format(wind=".3 -.2 .1", gravity="0 0 -9.81"))


def stirred(model, seed):
    rng = np.random.default_rng(seed)
    q = displace(model, model.q_rest, 0.5 * rng.normal(size=model.nv))
    return dojo.init(model, q=q, v=2.0 * rng.normal(size=model.nv))


@jax.jit
def passive(model, state):
    """Generalized forces but gravity's, those of a step of no length at these speeds."""
    model = model.replace(timestep=1e-9, gravity=jnp.zeros(3))
    node = mechanics.prepare(model, state.q, state.v, jnp.zeros(model.nu), None)
    return (node.impulse.constant - node.impulse.resisted(state.v)) / model.timestep


@jax.jit
def step(model, state):
    return dojo.step(model, state, options=dojo.SolverOptions(kappa=1e-8))


def test_forces_are_those_of_mujoco(swimmer):
    m = mujoco.MjModel.from_xml_string(SWIMMER.format(wind=".3 -.2 .1", gravity="0 0 -9.81"))
    d = mujoco.MjData(m)
    for seed in range(5):
        state = stirred(swimmer, seed)
        d.qpos, d.qvel = state.q, state.v
        mujoco.mj_forward(m, d)
        expected = d.qfrc_passive
        assert np.abs(d.qfrc_fluid).max() > 10
        np.testing.assert_allclose(
            passive(swimmer, state), expected, atol=1e-7 * np.abs(expected).max()
        )


def test_jacobians(swimmer):
    steps = Steps(swimmer, kappa=1e-6)
    states = [stirred(swimmer, seed) for seed in range(3)]
    q, v = (jnp.stack([getattr(s, name) for s in states]) for name in ("q", "v"))
    # Not finer: forces of thousands of newtons round.
    info, error = steps.errors(q, v, scales=(1e-6, 1e-5, 1e-4))
    assert info.converged.all()
    assert (error < 1e-6).all(), error


def test_parameter_derivatives(swimmer):
    """Of the next state by each parameter against differences."""
    state, rng = stirred(swimmer, 1), np.random.default_rng(1)
    before = [np.asarray(getattr(swimmer, name)) for name in PARAMETERS]
    changes = [rng.normal(size=x.shape) * (0.1 + np.abs(x)) for x in before]
    center = step(swimmer, state)[0]

    @jax.jit
    def after(h):
        moved = [x + t * change for x, t, change in zip(before, h, changes, strict=True)]
        end, _ = step(
            dataclasses.replace(swimmer, **dict(zip(PARAMETERS, moved, strict=True))), state
        )
        return jnp.concatenate([difference(swimmer, center.q, end.q), end.v])

    found = jax.jit(jax.jacfwd(after))(np.zeros(len(PARAMETERS)))
    for k, direction in enumerate(np.eye(len(PARAMETERS))):
        expected = best_richardson(
            lambda h, d=direction: np.asarray(after(h * d)), [1e-6, 1e-5, 1e-4]
        )
        assert np.abs(expected).max() > 1e-4, PARAMETERS[k]
        error = np.abs(np.asarray(found)[:, k] - expected).max()
        assert error < 1e-6 * np.abs(expected).max(), PARAMETERS[k]


@pytest.mark.parametrize(
    ("medium", "coefficients"),
    [
        ('density="1.2"', (0.0, 0.5 * 1.2 * 0.4 * 0.6)),
        ('viscosity="20"', (3 * np.pi * 20 * (0.2 + 0.4 + 0.6) / 3, 0.0)),
    ],
    ids=["pressure", "viscous"],
)
def test_what_falls_reaches_its_closed_form_speed(medium, coefficients):
    """m g = a v + b v^2: the fixed point of the scheme itself, at any timestep."""
    model = dojo.load(
        f"""<mujoco><option timestep="0.1" {medium}/><worldbody><body pos="0 0 5"><freejoint/>
        <geom type="box" size=".2 .3 .1" mass="2"/></body></worldbody></mujoco>"""
    )
    states, infos = jax.jit(dojo.rollout)(model, dojo.init(model), jnp.zeros((200, 0)))
    slow, fast = coefficients
    weight = 2 * 9.81
    speed = np.sqrt(weight / fast) if fast else weight / slow
    assert infos.converged.all()
    np.testing.assert_allclose(states.v[-1, 2], -speed, rtol=1e-9)
    np.testing.assert_allclose(states.v[-1, [0, 1, 3, 4, 5]], 0.0, atol=1e-9)


def test_still_water_takes_energy_however_dense():
    """A hundred times as dense as water, at a tenth of a second: no step gains."""
    model = dojo.load(SWIMMER.format(wind="0 0 0", gravity="0 0 0"), timestep=0.1)
    model = model.replace(fluid_density=1e5, joint_stiffness=0.0)
    state, kinetic = stirred(model, 3), []
    for _ in range(30):
        kinetic.append(float(energy(model, state)[0]))
        state, info = step(model, state)
        assert info.converged
    assert (np.diff(kinetic) < 0).all()
    assert kinetic[-1] < 1e-3 * kinetic[0]


def test_a_current_takes_along_what_floats(swimmer):
    model = swimmer.replace(gravity=jnp.zeros(3), fluid_viscosity=50.0)
    state = dojo.init(model)
    for _ in range(300):
        state, _ = step(model, state)
    np.testing.assert_allclose(state.v[:3], model.fluid_wind, atol=1e-6)


def test_ellipsoids_that_are_ignored_feel_nothing():
    xml = """<mujoco><option density="1.2"/><worldbody><body><freejoint/>
      <geom size=".1" fluidshape="ellipsoid"/></body>
      <body><freejoint/><geom size=".2"/></body></worldbody></mujoco>"""
    assert dojo.load(xml, ignore="fluid").topology.fluid_link.tolist() == [1]


def test_files_without_a_medium_have_none():
    xml = SWIMMER.replace('density="900" viscosity=".4"', "").format(wind="1 0 0", gravity="0 0 0")
    assert dojo.load(xml).fluid_box.shape == (0, 3)
    off = SWIMMER.replace("<flag ", '<flag spring="disable" damper="disable" ')
    assert dojo.load(off.format(wind="1 0 0", gravity="0 0 0")).fluid_box.shape == (0, 3)
