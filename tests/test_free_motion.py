"""Wrenches and servos on bodies without contact.

Conservation laws and orders of convergence are in tests/verification.
"""

import numpy as np
from simulator import simulate

import dojo

TUMBLER = """
<mujoco><option gravity="0 0 0"/><worldbody><body><freejoint/>
  <inertial pos="0 0 0" mass="1" diaginertia="1 2 3"/>
</body></worldbody></mujoco>
"""


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
