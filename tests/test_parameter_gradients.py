"""Every float leaf of the model, and kappa, against central differences in every regime of contact.

Two free bodies and a ball on one plane: a walker with every joint kind, geom and actuator feature,
a tumbling hull, a sphere. Outputs are the next state and all that a step reports of its contacts.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from differences import best_richardson, richardson
from extended import ExtendedSteps, needs_long_double
from simulator import simulate

import dojo
from dojo.model.model import parameter_names
from dojo.physics.kinematics import difference, displace

SCENE = """
<mujoco><option timestep="0.01"/>
  <default><geom contype="1" conaffinity="0"/></default>
  <asset><mesh name="wedge" vertex="-.1 -.1 0  .1 -.1 0  0 .1 0  0 0 .15"/></asset>
  <worldbody>
  <geom name="floor" type="plane" size="3 3 .1" friction=".4" euler="0 1 0" contype="0"
      conaffinity="1" margin=".002"/>
  <body pos="0 0 .16" euler="4 3 10"><freejoint/>
    <geom type="box" size=".1 .06 .03" mass="1" friction=".7"/>
    <body pos=".1 0 0"><joint name="a" axis="0 1 .1" pos="0 0 .01" damping=".05" armature=".01"
        stiffness="2" springref="10" range="-40 25" limited="true" frictionloss=".1"/>
      <geom type="capsule" fromto="0 0 0 .06 0 -.09" size=".02" mass=".3" friction=".5"/>
      <body pos=".06 0 -.05"><joint type="ball" stiffness="1" damping=".02"/>
        <geom type="ellipsoid" size=".03 .04 .05" pos="0 0 -.02" mass=".2" friction=".6"/></body>
    </body>
    <body pos="-.1 0 0"><joint name="b" type="slide" axis=".1 0 1" range="-.05 .05"
        limited="true" frictionloss="2" actuatorfrcrange="-9 9" actuatorfrclimited="true"/>
      <geom type="cylinder" size=".03 .05" pos="0 0 -.05" mass=".2" friction=".6"/></body>
  </body>
  <body pos=".6 0 .05"><freejoint/>
    <geom type="mesh" mesh="wedge" mass=".5" friction=".5 .02 .01" condim="6"/></body>
  <body pos="-.6 0 .05"><freejoint/><geom name="ball" size=".05" mass=".4"/></body>
  </worldbody>
  <contact><pair geom1="floor" geom2="ball" friction=".3 .35 .01 .006 .008"
      condim="6" margin=".003"/></contact>
  <actuator><motor joint="a" gear="1.5" ctrlrange="-1 1" ctrllimited="true"/>
    <position joint="b" kp="40" kv="2"/>
    <motor joint="a" forcerange="-.2 .2" forcelimited="true"/></actuator>
</mujoco>
"""
CONTROL = np.array([2.0, 0.5, 1.0])  # the first beyond its range, the others beyond force limits
# No step reads the rest pose, frames and sensors; restitution, height fields, equality constraints,
# tendons, sites and activations have tests of their own.
_ELSEWHERE = ("q_rest", "geom_restitution", "hfield_heights", "actuator_pos", "actuator_quat")
_APART = ("equality", "coupling", "tendon", "activation", "fluid", "ball", "sensor", "frame")
PARAMETERS = [
    name for name in parameter_names() if name not in _ELSEWHERE and not name.startswith(_APART)
]
# Changes over the size of a parameter, and all that differences of them need.
SCALES = 2.0 ** np.arange(-28, -8)
CHANGES = np.concatenate([sign * SCALES[0] / 2 * 2.0 ** np.arange(21) for sign in (-1, 1)])
KAPPAS = [1e-2, pytest.param(1e-3, marks=pytest.mark.slow), 1e-4]


@pytest.fixture(scope="module")
def scene(optimized):
    return dojo.load(SCENE)


@pytest.fixture(scope="module")
def regimes(scene):
    """States by name: q and v, all at rest first and then set in motion."""
    states, infos = simulate(scene, dojo.init(scene), 150, us=np.tile(CONTROL, (150, 1)))
    assert infos.converged.all()
    touching = infos.contacts.geoms[-1, infos.contacts.impulse[-1, :, 0] > 1e-2, 1]
    assert len(set(touching)) >= 4, "several bodies in contact"
    q, v = states.q[-1], states.v[-1]
    places = np.array([scene.topology.v_start[j] for j in scene.topology.joints_of("free")])
    knee = scene.topology.v_start[scene.topology.limited[0]]

    def moving(x=0.0, z=0.0, height=0.0, spin=0.0):
        there, speed = q.copy(), v.copy()
        heights = [int(scene.topology.q_start[j]) + 2 for j in scene.topology.joints_of("free")]
        there[heights] += height
        speed[places] += x
        speed[places + 2] += z
        speed[places + 4] += spin
        return there, speed

    at_limit = moving()
    at_limit[1][knee] += 3.0
    return {
        "flight": moving(x=0.3, z=0.5, height=0.4, spin=1.0),
        "impact": moving(x=0.5, z=-2.0, height=0.01),
        "stick": moving(),
        "slip": moving(x=0.8),
        "lift-off": moving(z=1.0),
        "rolling": moving(x=0.5, spin=10.0),
        "limit": at_limit,
    }


def vector(model, q, v, u, kappa, center):
    """Next state, its q as a tangent from `center`, and what the step reports, as one vector."""
    options = dojo.SolverOptions(kappa=kappa)
    after, info = dojo.step(model, dojo.State(q, v), u, options=options)
    c = info.contacts
    parts = [difference(model, center, after.q), after.v, c.impulse.ravel(), c.gap, c.point.ravel()]
    return jnp.concatenate([*parts, c.frame.ravel(), info.limit_impulse, info.frictionloss_impulse])


@jax.jit
def values(model, model_rate, kappa, kappa_rate, q, v):
    """Vectors in all regimes (R, nq) and (R, nv), with CHANGES of model and kappa: (R, C, n)."""

    def changed(q, v, h):
        at = jax.tree.map(lambda x, rate: x + h * rate, model, model_rate)
        return vector(at, q, v, CONTROL, kappa + h * kappa_rate, q)

    along = jax.vmap(changed, in_axes=(None, None, 0))
    return jax.vmap(along, in_axes=(0, 0, None))(q, v, jnp.asarray(CHANGES))


def differences_of(scene, model_rate, kappa, kappa_rate, regimes):
    """Derivatives of the vector in every regime, by differences."""
    q, v = map(np.stack, zip(*regimes.values(), strict=True))
    for ends in np.asarray(values(scene, model_rate, kappa, kappa_rate, q, v)):
        yield best_richardson(dict(zip(CHANGES, ends, strict=True)).__getitem__, SCALES)


@jax.jit
def rate(inputs, rates, center):
    """Derivative of the vector along rates of (model, q, v, u, kappa), that of q a tangent."""
    (model, q, v, u, kappa), (model_rate, dq, *others) = inputs, rates

    def moved(model, dq, v, u, kappa):
        return vector(model, displace(model, q, dq), v, u, kappa, center)

    at = (model, jnp.zeros_like(dq), v, u, kappa)
    return jax.jvp(moved, at, (model_rate, dq, *others))[1]


def still(scene):
    """Rates of nothing."""
    nv = scene.nv
    zero = jax.tree.map(jnp.zeros_like, scene)
    return zero, np.zeros(nv), np.zeros(nv), np.zeros(len(CONTROL)), 0.0


def exchanged(model, name, new):
    """`replace` without its checks: tangents may be negative."""
    return dataclasses.replace(model, **{name: jnp.asarray(new)})


@pytest.mark.parametrize("kappa", KAPPAS)
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(scene, regimes, name, kappa):
    before = np.asarray(getattr(scene, name))
    change = np.random.default_rng(5).normal(size=before.shape) * max(1.0, abs(before).max())
    if name == "dof_frictionloss":
        change = before * change
    rest = still(scene)
    rates = (exchanged(rest[0], name, change), *rest[1:])
    effects = []
    expectations = differences_of(scene, rates[0], kappa, 0.0, regimes)
    for (q, v), expected in zip(regimes.values(), expectations, strict=True):
        actual = rate((scene, q, v, CONTROL, kappa), rates, q)
        scale = np.abs(expected).max()
        effects.append(scale)
        assert np.abs(actual - expected).max() < 1e-6 * max(scale, 1e-3)
    assert max(effects) > 0.02, "a parameter without effect: the test would check nothing"


@pytest.fixture(scope="module")
def extended_scene():
    return ExtendedSteps()


def random_rates(scene, kappa):
    """Rates of all parameters, state, control and kappa, in proportion to their sizes."""
    rng = np.random.default_rng(6)

    def random(size):
        return jnp.asarray(rng.normal(size=np.shape(size)) * size)

    rest = still(scene)
    changes = {name: random(getattr(scene, name)) for name in PARAMETERS}
    model_rate = dataclasses.replace(rest[0], **changes)
    return model_rate, random(0.1 + rest[1]), random(1.0 + rest[2]), random(CONTROL), kappa


@needs_long_double
@pytest.mark.parametrize("kappa", [1e-5, pytest.param(1e-7, marks=pytest.mark.slow), 1e-9])
def test_near_hard_contact(scene, regimes, extended_scene, kappa):
    """All inputs at once against differences in extended precision."""
    rates = random_rates(scene, kappa)
    for q, v in regimes.values():
        inputs = (scene, q, v, CONTROL, kappa)
        actual = np.asarray(rate(inputs, rates, q))[: 2 * scene.nv]
        moved = extended_scene.along(inputs, rates, q)
        expected = best_richardson(moved, kappa * 32.0 ** np.arange(-3, 1))
        for part in (slice(scene.nv), slice(scene.nv, None)):
            error = np.abs(actual - expected)[part].max()
            assert error < 1e-6 * np.abs(expected[part]).max()


def test_single_precision(scene, regimes):
    """All inputs at once at the default kappa of float32, against float64 at that kappa."""
    kappa, nv = 1e-4, scene.nv
    for q, v in regimes.values():
        arguments = (scene, q, v, CONTROL, kappa), random_rates(scene, kappa), q
        single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), arguments)
        actual, expected = rate(*single), rate(*arguments)
        assert actual.dtype == jnp.float32
        for part in (slice(nv), slice(nv, 2 * nv), slice(2 * nv, None)):
            error = np.abs(actual - expected)[part].max()
            assert error < 1e-2 * np.abs(expected[part]).max()


@pytest.mark.parametrize("restitution", [None, 0.5])
def test_single_precision_stays_single(restitution):
    """A float32 model computes in float32 also where double precision is switched on."""
    model = dojo.load(SCENE, restitution=restitution, dtype="float32")
    state, us = dojo.init(model), np.tile(CONTROL, (3, 1))
    options = dojo.SolverOptions(grad_kappa=1e-2, substeps=2)
    functions = {
        "step": lambda m, s: dojo.step(m, s, CONTROL, options=options),
        "linearize": lambda m, s: dojo.linearize(m, s, CONTROL),
        "rollout": lambda m, s: dojo.rollout(m, s, us),
        "energy": dojo.energy,
        "momentum": dojo.momentum,
        "mass_matrix": lambda m, s: dojo.mass_matrix(m, s.q),
        "bias_force": dojo.bias_force,
        "forward_kinematics": lambda m, s: dojo.forward_kinematics(m, s.q),
    }
    for name, function in functions.items():
        shapes = jax.eval_shape(function, model, state)
        assert not [x for x in jax.tree.leaves(shapes) if x.dtype == jnp.float64], name


@pytest.mark.parametrize("kappa", KAPPAS)
def test_kappa(scene, regimes, kappa):
    rates = (*still(scene)[:-1], kappa)
    expectations = differences_of(scene, rates[0], kappa, kappa, regimes)
    for (q, v), expected in zip(regimes.values(), expectations, strict=True):
        actual = rate((scene, q, v, CONTROL, kappa), rates, q)
        assert np.abs(actual - expected).max() < 1e-6 * np.abs(expected).max()


def test_restitution():
    """d v / d e in a bounce, against differences and the law v = -e v_before."""
    model = dojo.load(
        """<mujoco><option timestep="0.01" gravity="0 0 0"/><worldbody>
        <geom type="plane" size="1 1 .1"/>
        <body pos="0 0 .1"><freejoint/><geom size=".1" mass="1"/></body></worldbody></mujoco>""",
        restitution=0.6,
    )
    start = dojo.init(model, q=[0, 0, 0.101, 1, 0, 0, 0], v=[0.5, 0, -1, 0, 0, 0])

    @jax.jit
    def after(e):
        changed = model.replace(geom_restitution=jnp.full(2, e))
        return dojo.step(changed, start, options=dojo.SolverOptions(kappa=1e-6))[0].v

    slope = jax.jit(jax.jacfwd(after))(0.6)
    expected = richardson(lambda h: np.asarray(after(0.6 + h)), 1e-4)
    assert np.abs(slope - expected).max() < 1e-6 * np.abs(expected).max()
    assert slope[2] == pytest.approx(1.0, rel=1e-3)
