"""Actuators and tendons on more than one joint, and gravity compensation."""

import dataclasses

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from differences import best_richardson, richardson
from jacobians import Steps

import dojo
from dojo.physics import mechanics
from dojo.physics.activation import driven
from dojo.physics.kinematics import difference, displace

KAPPA = 1e-8
ALL_KINDS = """
<mujoco><option timestep="0.01" gravity="{gravity}"><flag contact="disable"/></option><worldbody>
  <body name="drone" pos="0 0 1"><freejoint name="free"/><geom type="box" size=".1 .2 .05"/>
    <site name="rotor" pos=".1 .1 .02" euler="10 20 0"/>
    <body pos=".2 0 0"><joint name="ball" type="ball"/><geom type="box" size=".05 .1 .02"/>
      <body pos=".1 0 0" gravcomp=".7"><joint name="a" axis="0 1 0"/>
        <geom type="box" size=".1 .02 .03" pos=".1 0 0"/><site name="tip" pos=".2 0 .1"/>
        <body pos=".2 0 0"><joint name="b" axis="0 1 .3" range="-90 90"/>
          <geom size=".05" pos=".05 0 .05"/>
          <body><joint name="c" type="slide" axis="0 0 1"/><geom size=".03"/></body>
        </body></body></body></body>
</worldbody>
<tendon>
  <fixed name="sum" stiffness="30" springlength=".1 .2" damping=".4"><joint joint="a" coef="1"/>
    <joint joint="b" coef="-.5"/></fixed>
  <fixed name="pull"><joint joint="b" coef=".3"/><joint joint="c" coef="2"/></fixed>
</tendon>
<actuator>
  <motor name="thrust" site="rotor" gear="0 .1 1 .02 0 .3"/>
  <general name="jet" site="tip" gear="1 0 0 0 .1 0" biastype="affine" biasprm=".5 0 0"/>
  <motor name="joint" joint="a" gear="3"/>
  <position name="servo" tendon="pull" kp="20" kv="1" gear="2"/>
  <motor name="cable" tendon="sum" gear=".5"/>
  <position name="gimbal" joint="ball" gear="1 .5 -.2" kp="3" kv=".1"/>
  <motor name="push" joint="free" gear="1 2 3 .1 .2 .3"/>
  <damper name="brake" joint="c" kv="4" ctrlrange="0 1"/>
</actuator></mujoco>"""


@pytest.fixture(scope="module")
def kinds():
    return dojo.load(ALL_KINDS.format(gravity="0 0 -9.81"))


def stirred(model, seed):
    rng = np.random.default_rng(seed)
    q = displace(model, model.q_rest, 0.3 * rng.normal(size=model.nv))
    return dojo.init(model, q=q, v=rng.normal(size=model.nv)), rng.normal(size=model.nu)


@jax.jit
def forces(model, state, u):
    """All applied forces at a state, gravity included: those of a step of no length."""
    model = model.replace(timestep=1e-9)
    node = mechanics.prepare(model, state.q, state.v, driven(model, u, None).input, None)
    return (node.impulse.constant - node.impulse.resisted(state.v)) / model.timestep


@jax.jit
def step(model, state, u):
    return dojo.step(model, state, u, options=dojo.SolverOptions(kappa=KAPPA))


def test_forces_are_those_of_mujoco(kinds):
    m = mujoco.MjModel.from_xml_string(ALL_KINDS.format(gravity="0 0 -9.81"))
    d = mujoco.MjData(m)
    for seed in range(5):
        state, u = stirred(kinds, seed)
        d.qpos, d.qvel, d.ctrl = state.q, state.v, u
        mujoco.mj_forward(m, d)
        applied = d.qfrc_actuator + d.qfrc_passive
        # What remains of the bias without velocity is gravity.
        d.qvel = 0.0
        mujoco.mj_forward(m, d)
        found = forces(kinds, state, u)
        np.testing.assert_allclose(found, applied - d.qfrc_bias, atol=1e-6)


def test_jacobians(kinds):
    """By state and by control against differences."""
    steps = Steps(kinds, kappa=1e-6)
    states = [stirred(kinds, seed)[0] for seed in range(3)]
    q, v = (jnp.stack([getattr(s, name) for s in states]) for name in ("q", "v"))
    info, error = steps.errors(q, v)
    assert info.converged.all()
    assert (error < 1e-6).all(), error
    state, u = stirred(kinds, 0)
    options = dojo.SolverOptions(kappa=KAPPA)
    _, b = jax.jit(dojo.linearize)(kinds, state, u, options=options)
    for i in range(kinds.nu):
        slope = richardson(
            lambda h, i=i: step(kinds, state, u + h * np.eye(kinds.nu)[i])[0].v, 1e-3
        )
        np.testing.assert_allclose(b[kinds.nv :, i], slope, atol=1e-6 * np.abs(slope).max())


PARAMETERS = (
    "link_gravcomp",
    "tendon_coefficients",
    "tendon_stiffness",
    "tendon_springlength",
    "tendon_damping",
    "actuator_gear",
    "actuator_pos",
    "actuator_quat",
    "actuator_gain",
    "actuator_bias",
)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_derivatives(kinds, name):
    """Of the next state against differences."""
    (state, u), before = stirred(kinds, 1), np.asarray(getattr(kinds, name))
    change = np.random.default_rng(1).normal(size=before.shape)
    if name == "tendon_coefficients":
        change *= before != 0
    center = step(kinds, state, u)[0]

    @jax.jit
    def after(h):
        end, _ = step(dataclasses.replace(kinds, **{name: before + h * change}), state, u)
        return jnp.concatenate([difference(kinds, center.q, end.q), end.v])

    expected = best_richardson(lambda h: np.asarray(after(h)), [1e-6, 1e-5, 1e-4])
    found = jax.jit(jax.jacfwd(after))(0.0)
    assert np.abs(expected).max() > 1e-3
    assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()


def test_the_range_of_a_tendon_has_derivatives():
    """At rest against it the angle follows the limit."""
    rest = f'<tendon><fixed limited="true" range="-9 .5">{ON_A}</fixed></tendon>'
    model = dojo.load(ARM.format(joint="", rest=rest))
    state = dojo.init(model, q=[0.4])
    for _ in range(100):
        state, _ = step(model, state, [])

    @jax.jit
    def after(high):
        return step(model.replace(tendon_range=jnp.array([[-9.0, high]])), state, [])[0].q[0]

    slope = jax.jit(jax.grad(after))(0.5)
    expected = best_richardson(lambda h: np.asarray(after(0.5 + h)), [1e-9, 1e-8, 1e-7])
    assert slope == pytest.approx(float(expected), rel=1e-6)
    assert slope > 0.9


ARM = """<mujoco><option timestep="0.01"/><worldbody><body><joint name="a" axis="0 1 0" {joint}/>
  <geom type="capsule" fromto="0 0 0 .5 0 0" size=".02"/></body></worldbody>{rest}</mujoco>"""
ON_A = '<joint joint="a" coef="1"/>'


@pytest.mark.parametrize(
    ("of_joint", "of_tendon", "actuators"),
    [
        (
            'range="-20 30"',
            f'<fixed range="-.34906585 .52359878" limited="true">{ON_A}</fixed>',
            "",
        ),
        (
            'stiffness="5" damping=".3" springref="40"',
            f'<fixed stiffness="5" damping=".3" springlength=".6981317">{ON_A}</fixed>',
            "",
        ),
        ('stiffness="5e4"', f'<fixed stiffness="5e4" springlength="0">{ON_A}</fixed>', ""),
        ("", f'<fixed name="t">{ON_A}</fixed>', '<position {} kp="9" kv=".2" ctrlrange="-1 1"/>'),
        ("", f'<fixed name="t">{ON_A}</fixed>', '<motor {} gear="2" forcerange="-.4 .4"/>'),
    ],
    ids=["limit", "spring", "stiff", "servo", "force limit"],
)
def test_a_tendon_of_one_joint_is_that_joint(of_joint, of_tendon, actuators):
    """Limits, springs, servos: the same motion either way."""
    acting = "<actuator>{}</actuator>"
    joint = ARM.format(joint=of_joint, rest=acting.format(actuators.format('joint="a"')))
    tendon = ARM.format(
        joint="",
        rest=f"<tendon>{of_tendon}</tendon>" + acting.format(actuators.format('tendon="t"')),
    )
    ends = []
    for xml in (joint, tendon):
        model = dojo.load(xml)
        state, impulses = dojo.init(model, q=[0.0], v=[1.0]), []
        for _ in range(25):
            state, info = step(model, state, np.full(model.nu, 0.7))
            assert info.converged
            impulses.append(info.limit_impulse)
        ends.append([state.q, state.v, *impulses])
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_a_tendon_limit_holds_a_sum():
    """Two pendulums that may lean out 0.5 rad together; the impulse is the same on both."""
    body = """<body pos="0 {y} 0"><joint name="{n}" axis="0 1 0"/>
      <inertial pos="0 0 -1" mass="{m}" diaginertia=".1 .1 .1"/></body>"""
    bodies = body.format(y=0, n="a", m=1) + body.format(y=1, n="b", m=2)
    model = dojo.load(
        f"""<mujoco><option timestep="0.01" gravity="5 0 0"/><worldbody>{bodies}</worldbody>
        <tendon><fixed range="-.5 9" limited="true"><joint joint="a" coef="1"/>
          <joint joint="b" coef="2"/></fixed></tendon></mujoco>"""
    )
    state = dojo.init(model)
    for _ in range(200):
        state, info = step(model, state, [])
        assert info.converged
        total = np.asarray(state.q) @ [1.0, 2.0]
        assert total > -0.5
    assert total == pytest.approx(-0.5, abs=1e-4)
    assert info.limit_impulse[0] > 1e-2
    closed = jax.jit(dojo.linearize)(model, state)[0]
    # At the limit the positions move along it: without it these would be about 1 and 2.
    assert np.abs(np.array([1.0, 2.0, 0, 0]) @ closed[:, :2]).max() < 0.05


def test_four_rotors_carry_a_quadrotor():
    """Hover; more thrust on one side turns it: torque over inertia."""
    rotors = "".join(
        f'<site name="{k}" pos="{x} {y} 0"/>'
        for k, (x, y) in enumerate([(0.1, 0.1), (0.1, -0.1), (-0.1, -0.1), (-0.1, 0.1)])
    )
    motors = "".join(
        f'<motor site="{k}" gear="0 0 1 0 0 {0.02 * (-1) ** k}" ctrlrange="0 5"/>' for k in range(4)
    )
    model = dojo.load(
        f"""<mujoco><option timestep="0.01"/><worldbody><body pos="0 0 1"><freejoint/>
        <inertial pos="0 0 0" mass="0.5" diaginertia=".004 .005 .008"/>{rotors}</body></worldbody>
        <actuator>{motors}</actuator></mujoco>"""
    )
    hover = np.full(4, 0.5 * 9.81 / 4)
    state, _ = step(model, dojo.init(model), hover)
    np.testing.assert_allclose(state.v, 0.0, atol=1e-12)
    turning = hover + 0.01 * np.array([1, -1, 1, -1])
    state, _ = step(model, dojo.init(model), turning)
    np.testing.assert_allclose(state.v[5], 0.01 * 4 * 0.01 * 0.02 / 0.008, rtol=1e-6)
    tilting = hover + 0.01 * np.array([1, 0, 0, 1])
    state, _ = step(model, dojo.init(model), tilting)
    np.testing.assert_allclose(state.v[3], 0.01 * 2 * 0.01 * 0.1 / 0.004, rtol=1e-4)


def test_gravity_compensation_carries():
    """An arm with gravcomp 1 stays; half of it falls half as fast at first."""
    body = '<body gravcomp="{}"><joint axis="0 1 0"/><geom size=".1" pos=".5 0 0"/></body>'
    for share, expected in ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0)):
        xml = f"<mujoco><worldbody>{body.format(share)}</worldbody></mujoco>"
        model = dojo.load(xml, timestep=1e-4)
        state, _ = step(model, dojo.init(model), [])
        inertia = float(dojo.mass_matrix(model, state.q)[0, 0])
        weight = float(model.link_mass[0]) * 9.81 * 0.5
        np.testing.assert_allclose(state.v[0], expected * 1e-4 * weight / inertia, atol=1e-9)


def test_single_precision(kinds):
    model = dojo.load(ALL_KINDS.format(gravity="0 0 -9.81"), dtype="float32")
    state, u = stirred(kinds, 0)
    single = dojo.State(state.q.astype(jnp.float32), state.v.astype(jnp.float32))
    after, info = dojo.step(model, single, u)
    assert info.converged
    assert after.v.dtype == jnp.float32
    # At the kappa of single precision, which a joint near its limit feels.
    options = dojo.SolverOptions(kappa=float(info.kappa))
    expected = dojo.step(kinds, state, u, options=options)[0].v
    np.testing.assert_allclose(after.v, expected, atol=1e-4 * np.abs(expected).max())


def test_jacobians_where_a_joint_limits_a_tendon_s_servo():
    """What the limit leaves of the servo's resistance meets the speed that the step starts with."""
    model = dojo.load(
        """<mujoco><option timestep="0.01"/><worldbody><body>
        <joint name="a" axis="0 1 0" actuatorfrcrange="-.5 .5"/><geom size=".05" pos=".2 0 0"/>
        <body pos=".4 0 0"><joint name="b" axis="0 1 0"/><geom size=".05" pos=".2 0 0"/></body>
        </body></worldbody><tendon><fixed name="both"><joint joint="a" coef="1"/>
        <joint joint="b" coef=".5"/></fixed></tendon>
        <actuator><velocity tendon="both" kv="3"/></actuator></mujoco>"""
    )
    x, u = jnp.array([0.3, 0.2, 2.0, -1.0]), jnp.array([-1.5])

    def after(x):
        end, info = dojo.step(model, dojo.State(x[:2], x[2:]), u)
        return jnp.concatenate([end.q, end.v]), info.converged

    expected, converged = jax.jit(jax.jacfwd(after, has_aux=True))(x)
    found, _ = jax.jit(dojo.linearize)(model, dojo.State(x[:2], x[2:]), u)
    assert converged
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.skipif(not hasattr(mujoco.MjModel, "nactuator"), reason="needs MuJoCo 4")
def test_actuators_of_several_controls_are_refused_and_leave_others_in_their_places():
    """An orientation servo has three controls: what stands behind it is three further on."""
    xml = """<mujoco><worldbody><body><joint name="ball" type="ball"/><geom size=".1"/></body>
    <body pos="1 0 0"><joint name="hinge"/><geom size=".1"/></body></worldbody><actuator>
    <orientation name="servo" joint="ball" kp="1" ctrlrange="-7 7"/>
    <motor name="motor" joint="hinge" gear="2" ctrlrange="-3 4" forcerange="-5 6"/></actuator>
    <keyframe><key name="home" ctrl=".1 .2 .3 .4"/></keyframe></mujoco>"""
    with pytest.raises(dojo.UnsupportedFeature, match=r"servo \(several controls or forces\)"):
        dojo.load(xml)
    model = dojo.load(xml, ignore="actuator")
    assert model.topology.actuator_names == ("motor",)
    assert model.topology.keyframes[0].ctrl == (0.4,)
    np.testing.assert_array_equal(model.actuator_ctrl_range, [[-3, 4]])
    np.testing.assert_array_equal(model.actuator_force_range, [[-5, 6]])
    np.testing.assert_array_equal(model.actuator_gear[:, 0], [2])
