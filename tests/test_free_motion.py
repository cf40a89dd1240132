"""Motion without contact: conservation laws, and MuJoCo as the step goes to zero."""

import mujoco
import numpy as np
import pytest
from paths import MODELS
from simulator import energies, momenta, simulate

import dojo

TUMBLER = """
<mujoco><option gravity="0 0 0"/><worldbody><body><freejoint/>
  <inertial pos="0 0 0" mass="1" diaginertia="1 2 3"/>
</body></worldbody></mujoco>
"""


@pytest.mark.parametrize("h", [0.1, 0.01])
def test_tumbling_body_keeps_energy_and_momentum(h):
    """Inertia 1, 2, 3 for 100 s, turning near the unstable axis."""
    model = dojo.load(TUMBLER, timestep=h)
    start = dojo.init(model, v=[0.1, 0.2, 0.3, 0.05, 1.0, -0.03])
    states, infos = simulate(model, start, round(100 / h))
    assert infos.converged.all()
    energy = energies(model, states)
    momentum = momenta(model, states)
    first = np.concatenate(dojo.momentum(model, start))
    assert np.abs(energy - sum(dojo.energy(model, start))).max() < 1e-10
    assert np.abs(momentum - first).max() < 1e-10
    # The flip of the middle axis must really be in the data.
    assert states.v[:, 4].min() < -0.9


@pytest.mark.parametrize("h", [0.01, 0.001])
def test_humanoid_keeps_momentum_under_internal_torques(h):
    model = dojo.load(MODELS / "humanoid.xml", timestep=h).replace(gravity=np.zeros(3))
    q = np.asarray(dojo.init(model).q).copy()
    q[2] = 10.0
    rng = np.random.default_rng(0)
    us = np.repeat(rng.uniform(-0.1, 0.1, (10, model.nu)), round(0.1 / h), axis=0)
    states, infos = simulate(model, dojo.init(model, q=q), len(us), us=us)
    assert infos.converged.all()
    assert np.abs(states.v[:, 6:]).max() > 0.5
    assert np.abs(momenta(model, states)).max() < 1e-9


CHAIN = """
<mujoco><option timestep="{h}" integrator="RK4"/><worldbody>
  <body><freejoint/><geom type="box" size=".1 .2 .05" mass="1" contype="0" conaffinity="0"/>
    <body pos=".2 0 0"><joint type="ball" damping=".05" stiffness="2"/>
      <geom type="capsule" fromto="0 0 0 .3 .05 0" size=".03" mass=".5" contype="0"
            conaffinity="0"/>
      <body pos=".3 .05 0" euler="20 10 0">
        <joint name="hinge" axis="0 1 .2" pos="0 .02 0" damping=".02" stiffness="1"
               springref="20" armature=".01"/>
        <joint name="slide" type="slide" axis="1 0 0" stiffness="30" damping=".3"/>
        <geom type="box" size=".1 .02 .03" pos=".1 0 0" mass=".3" contype="0" conaffinity="0"/>
      </body>
    </body>
  </body>
</worldbody>
<actuator><motor joint="hinge" gear="2"/><position joint="slide" kp="20" kv="1"/></actuator>
</mujoco>
"""


def test_smooth_motion_converges_to_mujoco():
    """Error at t = 0.2 s against MuJoCo's RK4 at 1e-4 s: first order or better in h."""
    control = np.array([0.3, 0.05])
    rng = np.random.default_rng(3)
    reference = mujoco.MjModel.from_xml_string(CHAIN.format(h=1e-4))
    data = mujoco.MjData(reference)
    v0 = rng.normal(size=reference.nv)
    data.qvel[:] = v0
    data.ctrl[:] = control
    for _ in range(2000):
        mujoco.mj_step(reference, data)
    errors = []
    for h in (0.004, 0.002, 0.001):
        model = dojo.load(CHAIN.format(h=h))
        steps = round(0.2 / h)
        states, infos = simulate(
            model, dojo.init(model, v=v0), steps, us=np.tile(control, (steps, 1))
        )
        assert infos.converged.all()
        dq = np.zeros(reference.nv)
        mujoco.mj_differentiatePos(reference, dq, 1.0, data.qpos, states.q[-1].astype(float))
        errors.append((np.abs(dq).max(), np.abs(states.v[-1] - data.qvel).max()))
    orders = np.log2(np.array(errors)[:-1] / np.array(errors)[1:])
    assert orders.min() > 0.95, (errors, orders)
    assert errors[-1][0] < 5e-3


def test_pendulum_energy_swings_without_trend():
    xml = """<mujoco><worldbody><body><joint axis="0 1 0"/>
      <geom type="capsule" fromto="0 0 0 0 0 -1" size=".02" mass="1"/>
      </body></worldbody></mujoco>"""
    model = dojo.load(xml, timestep=0.01)
    states, _ = simulate(model, dojo.init(model, q=[2.0]), 4000)
    energy = energies(model, states)
    spread = energy.max() - energy.min()
    # Symplectic Euler keeps H - (h/2) q' dV/dq up to h^2: H itself swings by h max |q' dV/dq|.
    q, v = states.q[:, 0], states.v[:, 0]
    power = np.abs(v * 9.81 * 0.5 * np.sin(q)).max()
    assert spread == pytest.approx(0.01 * power, rel=0.05)
    first, last = energy[:1000], energy[-1000:]
    assert abs(first.mean() - last.mean()) < 0.02 * spread


def test_external_wrench_accelerates_a_free_body():
    model = dojo.load(TUMBLER, timestep=0.01)
    wrench = np.array([[1.0, 2.0, 3.0, 0.1, 0.2, 0.3]])
    after, _ = dojo.step(model, dojo.init(model), wrench=wrench)
    momentum = dojo.momentum(model, after)
    np.testing.assert_allclose(momentum.linear, 0.01 * wrench[0, :3], rtol=1e-10)
    np.testing.assert_allclose(momentum.angular, 0.01 * wrench[0, 3:], rtol=1e-10)


def test_position_servo_holds_and_force_range_caps():
    xml = """<mujoco><option timestep="0.01" gravity="0 0 0"/><worldbody><body>
      <joint name="j" type="slide" axis="1 0 0"/><geom type="sphere" size=".1" mass="1"/>
      </body></worldbody><actuator>
      <position joint="j" kp="5000" kv="100" forcelimited="true" forcerange="-2 2"/>
      </actuator></mujoco>"""
    model = dojo.load(xml)
    us = np.full((200, 1), 0.5)
    states, infos = simulate(model, dojo.init(model), 200, us=us)
    assert infos.converged.all()
    # Far from the target: constant acceleration 2 m/s2, the cap, for a 1 kg body.
    np.testing.assert_allclose(np.diff(states.v[:20, 0]), 0.02, rtol=1e-9)
    assert np.abs(np.diff(states.v[:, 0])).max() < 0.0201
