"""Sensors against MuJoCo's values, and against what they are to measure."""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from differences import richardson

import dojo
from dojo.physics.zones import ray_meets
from dojo.sensors import _OF_STATES, _OF_STEPS

ROBOT = """
<mujoco><option timestep="1e-4" gravity="0 0 -9.81" magnetic=".1 -.4 .2"><flag contact="disable"/>
  </option><worldbody>
  <site name="home" pos=".3 -.2 .1" euler="20 10 40"/>
  <body name="trunk" pos="0 0 1"><freejoint name="root"/>
    <geom type="box" size=".2 .1 .05" mass="3" pos=".02 0 .01"/>
    <site name="imu" pos=".05 .02 .06" euler="10 30 -20"/>
    <body name="mast" pos="0 0 .1" euler="0 20 0">
      <geom name="tip" type="box" size=".02 .05 .1" pos=".03 0 .1" mass=".4"/>
      <site name="mast" pos="0 .01 0" euler="5 0 70"/>
      <body name="flag" pos="0 0 .2"><joint name="flag" axis="0 1 1" stiffness=".5" damping=".01"/>
        <geom type="capsule" size=".01 .1" pos=".1 0 0" mass=".1"/></body></body>
    <body name="thigh" pos=".2 0 0"><joint name="hip" axis="0 1 .2" damping=".1"/>
      <geom type="capsule" size=".03" fromto="0 0 0 0 .02 -.3" mass=".6"/>
      <site name="knee" pos="0 .02 -.3" euler="0 40 0"/>
      <body name="shin" pos="0 .02 -.3"><joint name="knee" axis="0 1 0" damping=".1"/>
        <geom name="shin" type="capsule" size=".02" fromto="0 0 0 .02 0 -.3" mass=".3"/>
        <site name="foot" pos=".02 0 -.3" euler="0 20 10"/></body></body>
    <body name="eye" pos="-.2 0 .05"><joint name="eye" type="ball" damping=".01"/>
      <geom type="ellipsoid" size=".04 .05 .06" mass=".2" pos="0 0 .03"/>
      <camera name="eye" pos="0 0 .06" euler="30 0 0"/></body>
  </body></worldbody>
  <tendon><fixed name="both"><joint joint="hip" coef="1"/><joint joint="knee" coef="-.5"/></fixed>
  </tendon>
  <actuator><motor name="hip" joint="hip" gear="2"/><position name="knee" joint="knee" kp="5"
    kv=".2" forcerange="-1 1"/><motor name="both" tendon="both" gear="1.5"/>
    <motor name="push" site="foot" gear="1 0 0 0 .1 0"/></actuator>
  <sensor>
    <jointpos name="hip" joint="hip"/><jointvel joint="knee"/><ballquat joint="eye"/>
    <ballangvel joint="eye"/><tendonpos tendon="both"/><tendonvel tendon="both"/>
    <actuatorpos actuator="knee"/><actuatorvel actuator="both"/><actuatorvel actuator="push"/>
    <framepos objtype="site" objname="foot"/><framepos objtype="body" objname="trunk"/>
    <framepos objtype="xbody" objname="mast" reftype="site" refname="foot"/>
    <framequat objtype="geom" objname="tip" reftype="camera" refname="eye"/>
    <framequat objtype="site" objname="imu"/>
    <framexaxis objtype="site" objname="foot"/><frameyaxis objtype="camera" objname="eye"/>
    <framezaxis objtype="site" objname="foot" reftype="site" refname="home"/>
    <framelinvel objtype="site" objname="foot"/><frameangvel objtype="geom" objname="tip"/>
    <framelinvel objtype="site" objname="foot" reftype="site" refname="imu"/>
    <framelinvel objtype="body" objname="shin" reftype="site" refname="home"/>
    <frameangvel objtype="body" objname="shin" reftype="site" refname="imu"/>
    <velocimeter site="foot"/><gyro name="gyro" site="imu" cutoff=".5"/>
    <magnetometer site="imu"/>
    <subtreecom body="trunk"/><subtreecom body="mast"/><subtreelinvel body="thigh"/>
    <subtreelinvel body="mast"/><subtreeangmom body="trunk"/><subtreeangmom body="mast"/>
    <e_potential/><e_kinetic/>
    <accelerometer name="imu" site="imu"/><accelerometer site="foot"/>
    <framelinacc objtype="site" objname="foot"/><frameangacc objtype="body" objname="shin"/>
    <force name="hip force" site="knee"/><torque name="hip torque" site="knee"/>
    <force site="mast"/><torque site="mast"/><force site="foot"/><torque site="foot"/>
    <force site="imu"/><torque site="imu"/>
    <actuatorfrc actuator="hip"/><actuatorfrc actuator="knee"/><actuatorfrc actuator="both"/>
    <jointactuatorfrc joint="hip"/><jointactuatorfrc joint="knee"/>
    <clock name="time"/>
  </sensor></mujoco>
"""
# Bodies that stand, hang and are held together.
STANDING = """
<mujoco><option timestep="0.002"/><worldbody><geom type="plane" size="2 2 .1"/>
  <body name="legged" pos="0 0 .52"><freejoint/>
    <geom type="box" size=".2 .2 .05" mass="2" contype="0" conaffinity="0"/>
    <site name="back" pos="0 0 -.05"/>
    <body name="foot" pos="0 0 -.45"><geom name="sole" type="box" size=".15 .15 .05" mass="1"/>
      <site name="sole" type="box" size=".2 .2 .06"/>
      <site name="heel" type="box" size=".08 .2 .06" pos="-.1 0 0"/>
      <site name="beside" size=".05" pos=".4 0 0"/></body></body>
  <body name="ball" pos="1 0 .1"><freejoint/><geom size=".1" mass=".5"/>
    <site name="skin" size=".11"/><site name="top" size=".05" pos="0 0 .1"/></body>
  <body name="left" pos="0 1 1"><joint name="left" axis="0 1 0" damping="1"/>
    <geom type="capsule" size=".02" fromto="0 0 0 .3 0 0" mass=".3" contype="0" conaffinity="0"/>
    <site name="shoulder"/></body>
  <body name="right" pos=".6 1 1"><joint name="right" axis="0 1 0" damping="1"/>
    <geom type="capsule" size=".02" fromto="0 0 0 -.3 0 0" mass=".3" contype="0" conaffinity="0"/>
    </body></worldbody>
  <equality><weld body1="left" body2="right"/></equality>
  <sensor><touch name="sole" site="sole"/><touch name="heel" site="heel"/>
    <touch name="beside" site="beside"/><force name="sole force" site="sole"/>
    <touch name="skin" site="skin"/><touch name="top" site="top"/>
    <accelerometer name="still" site="back"/><force name="shoulder" site="shoulder"/>
    <torque name="shoulder torque" site="shoulder"/></sensor></mujoco>
"""
PUSH = np.array([0.3, -0.4, 0.2, 0.5])


@pytest.fixture(scope="module")
def robot():
    return dojo.load(ROBOT)


@functools.cache
def reading():
    """Jitted steps with their sensors: model, state, u, wrench."""

    def run(model, state, u, wrench):
        after, info = dojo.step(model, state, u, wrench=wrench)
        read = functools.partial(dojo.sensor_data, model, before=state, info=info, u=u)
        return after, info, read(state, wrench=wrench), read(after, wrench=wrench)

    return jax.jit(run)


def random_states(m, count):
    rng = np.random.default_rng(1)
    for _ in range(count):
        q = m.qpos0.copy()
        mujoco.mj_integratePos(m, q, rng.uniform(-1, 1, m.nv), 1.0)
        yield q, rng.uniform(-2, 2, m.nv), rng.normal(size=(m.nbody, 6))


def test_every_kind_is_that_of_mujoco(robot):
    """Of states to rounding; of steps to the length of the step, their means."""
    m = mujoco.MjModel.from_xml_string(ROBOT)
    assert {s.kind for s in robot.topology.sensors} == {*_OF_STATES, *_OF_STEPS} - {"touch"}
    assert any("time (clock)" in note for note in robot.topology.notes)
    kept = m.nsensordata - 1
    wrench_of = [m.body(name).id for name in robot.topology.link_names]
    for q, v, wrenches in random_states(m, 4):
        data = mujoco.MjData(m)
        data.qpos, data.qvel, data.ctrl = q, v, PUSH
        data.xfrc_applied[wrench_of] = wrenches[wrench_of]
        mujoco.mj_forward(m, data)
        expected = data.sensordata[:kept]
        state = dojo.State(jnp.asarray(q), jnp.asarray(v))
        _, info, now, later = reading()(robot, state, PUSH, wrenches[wrench_of])
        assert info.converged
        for sensor in robot.topology.sensors:
            place = robot.sensor(sensor.name)
            if sensor.kind in _OF_STATES:
                ours, reference = now[place], expected[place]
                if sensor.kind == "framequat":
                    reference = reference * np.sign(reference @ ours)
                np.testing.assert_allclose(ours, reference, atol=1e-10, err_msg=sensor.name)
            else:
                # Over a ten-thousandth of a second; accelerations are up to a hundred or so.
                scale = 1.0 + abs(expected[place]).max()
                error = abs(later[place] - expected[place]).max()
                assert error < 1e-2 * scale, (sensor.name, later[place], expected[place])


def test_forces_of_steps_are_means_of_first_order(robot):
    """Half of the timestep halves the difference from MuJoCo's values at the start."""
    m = mujoco.MjModel.from_xml_string(ROBOT)
    (q, v, _), data = next(random_states(m, 1)), mujoco.MjData(m)
    data.qpos, data.qvel, data.ctrl = q, v, PUSH
    mujoco.mj_forward(m, data)
    state = dojo.State(jnp.asarray(q), jnp.asarray(v))
    wrench = np.zeros((robot.topology.nl, 6))
    errors = []
    for h in (4e-4, 2e-4):
        *_, later = reading()(robot.replace(timestep=h), state, PUSH, wrench)
        steps = np.concatenate(
            [
                later[robot.sensor(n)] - data.sensor(n).data
                for n in ("imu", "hip force", "hip torque")
            ]
        )
        errors.append(np.abs(steps).max())
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)


@pytest.fixture(scope="module")
def standing():
    """A scene at rest: the model, what its sensors read."""
    model = dojo.load(STANDING)

    @jax.jit
    def settle(state):
        states, _ = dojo.rollout(model, state, jnp.zeros((1500, 0)))
        last = jax.tree.map(lambda x: x[-1], states)
        after, info = dojo.step(model, last)
        return info.converged, dojo.sensor_data(model, after, before=last, info=info)

    converged, data = settle(dojo.init(model))
    assert converged
    return model, np.asarray(data)


def test_what_stands_presses(standing):
    """Weights on soles and skins; feet fixed to a body are told apart from it."""
    model, data = standing
    g = 9.81
    read = {s.name: data[model.sensor(s.name)] for s in model.topology.sensors}
    np.testing.assert_allclose(read["sole"], 3 * g, rtol=1e-4)
    np.testing.assert_allclose(read["heel"], 1.5 * g, rtol=1e-3)
    assert read["beside"] == 0
    # Out of the ball, down: from the point at its foot no ray goes through its top.
    np.testing.assert_allclose(read["skin"], 0.5 * g, rtol=1e-4)
    assert read["top"] == 0
    np.testing.assert_allclose(read["still"], [0, 0, g], atol=1e-4)
    # The foot weighs 1 kg and bears 3: the body above presses it down by 2.
    np.testing.assert_allclose(read["sole force"], [0, 0, -2 * g], atol=1e-3)
    # Two arms welded at their ends to one beam, each hinge bears half.
    np.testing.assert_allclose(read["shoulder"], [0, 0, 0.3 * g], atol=1e-3)


def test_what_is_measured_over_steps_needs_one(robot):
    with pytest.raises(ValueError, match=r"sensor 'imu' \(accelerometer\) is measured over a step"):
        dojo.sensor_data(robot, dojo.init(robot))
    with pytest.raises(dojo.ModelError, match=r"no sensor 'imv'. Did you mean 'imu'"):
        robot.sensor("imv")


@pytest.mark.slow
def test_gradients_and_batches(robot):
    """By the place of a sensor, in a batch, through a step."""
    rng = np.random.default_rng(0)
    along = rng.normal(size=robot.sensor_pos.shape)
    v = jnp.asarray(rng.normal(size=(2, robot.nv)))

    def loss(t, v):
        model = robot.replace(sensor_pos=robot.sensor_pos + t * along)
        before = dojo.State(model.q_rest, v)
        after, info = dojo.step(model, before, PUSH)
        data = dojo.sensor_data(model, after, before=before, info=info, u=PUSH)
        return jnp.sum(jnp.sin(0.01 * data))

    lanes = jax.jit(jax.vmap(loss, in_axes=(None, 0)))
    slopes = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))(0.0, v)
    expected = richardson(lambda t: np.asarray(lanes(t, v)), 1e-3)
    np.testing.assert_allclose(slopes, expected, rtol=1e-7)


ZONES = {
    "sphere": (0.3, 0.0, 0.0),
    "capsule": (0.2, 0.3, 0.0),
    "ellipsoid": (0.2, 0.3, 0.4),
    "cylinder": (0.3, 0.2, 0.0),
    "box": (0.2, 0.3, 0.4),
}


@pytest.mark.parametrize("shape", ZONES)
def test_rays_meet_zones_as_in_mujoco(shape):
    rng, size = np.random.default_rng(3), np.array(ZONES[shape])
    start = rng.uniform(-0.8, 0.8, (3, 400))
    way = rng.uniform(-0.4, 0.4, (3, 400)) - rng.choice([-1, 1, 1], 400) * start
    way[:, :30], way[2, :10] = [[0.0], [0.0], [-1.0]], 1.0
    kind = getattr(mujoco.mjtGeom, f"mjGEOM_{shape.upper()}")
    hits = [
        mujoco.mju_rayGeom(np.zeros(3), np.eye(3).ravel(), size, a, b, kind, None) >= 0
        for a, b in zip(start.T.copy(), way.T.copy(), strict=True)
    ]
    assert 40 < sum(hits) < 360
    np.testing.assert_array_equal(ray_meets((shape, tuple(size)), start, way), hits)


FIXED = """
<mujoco><worldbody>
  <body name="arm"><joint axis="0 1 0" damping="5"/><geom type="capsule" size=".02"
    fromto="0 0 0 0 0 -.3" mass="1"/>
    <body name="tool" pos="0 0 -.3"><geom size=".05" mass="2"/><site name="wrist"/></body>
    <body name="mark" pos="0 0 -.1"/></body></worldbody>
  <sensor><force name="wrist" site="wrist"/><subtreecom name="mark" body="mark"/>
    <subtreelinvel name="speed" body="mark"/></sensor></mujoco>
"""


def test_what_is_fixed_to_a_link_is_weighed_with_it():
    """A wrist bears the tool beyond it, also after the masses were identified."""
    model = dojo.load(FIXED)

    @jax.jit
    def read(model):
        before = dojo.init(model)
        after, info = dojo.step(model, before)
        return dojo.sensor_data(model, after, before=before, info=info)

    heavier = model.replace(link_mass=2 * model.link_mass, link_inertia=2 * model.link_inertia)
    place = model.sensor("wrist")
    np.testing.assert_allclose(read(model)[place], [0, 0, 2 * 9.81], atol=1e-9)
    np.testing.assert_allclose(read(heavier)[place], [0, 0, 4 * 9.81], atol=1e-9)
    # A body without mass is where its frame is.
    np.testing.assert_allclose(read(model)[model.sensor("mark")], [0, 0, -0.1], atol=1e-12)
    np.testing.assert_allclose(read(model)[model.sensor("speed")], 0.0)


def test_what_a_report_does_not_hold_is_not_a_number():
    """After a step in parts whose contacts are a selection, the report has those of the last."""
    xml = """<mujoco><worldbody><geom size=".1"/><body pos="0 0 .2">
      <joint type="slide" axis="0 0 1"/><geom size=".1" mass="1"/><site name="skin" size=".2"/>
      </body></worldbody><sensor><touch name="skin" site="skin"/></sensor></mujoco>"""
    # Two pairs, of which one takes part.
    xml = xml.replace("<body", '<geom size=".1" pos="1 0 0"/><body', 1)
    model = dojo.load(xml, contact_budget=1)
    before = dojo.init(model)
    whole, parts = (dojo.SolverOptions(substeps=n) for n in (1, 2))
    for options, known in ((whole, True), (parts, False)):
        after, info = dojo.step(model, before, options=options)
        data = dojo.sensor_data(model, after, before=before, info=info)
        assert np.isfinite(data).all() == known


def test_cameras_that_follow_are_left_out():
    xml = """<mujoco><worldbody><body name="b"><joint/><geom size=".1"/></body>
      <camera name="c" mode="targetbody" target="b" pos="1 0 0"/></worldbody>
      <sensor><framezaxis name="view" objtype="camera" objname="c"/></sensor></mujoco>"""
    model = dojo.load(xml)
    assert model.topology.sensors == ()
    assert any("view (a camera that follows something)" in n for n in model.topology.notes)
