"""Models as MJCF files: what is read again is the same robot, for MuJoCo, too."""

import json
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from paths import MODELS, SUITE, needs_suite
from scipy.spatial.transform import Rotation
from test_fluid import SWIMMER, passive
from test_kinematics import full_mass_matrix, stir
from test_paths import PATHS
from test_sensors import ROBOT
from test_urdf import arm

import dojo
from dojo.model.model import parameter_names
from dojo.physics.kinematics import link_frames, local_maps
from dojo.physics.tendons import tendon_lengths

# Of everything that the format has: joints of every kind, several in a body, bodies fixed to
# others, explicit pairs and exclusions, priorities, loops and couplings, actuators with a memory.
RICH = """
<mujoco><option timestep=".003" gravity="0 1 -9" magnetic="0 .1 .2"/>
<asset><mesh name="rock" vertex="-.1 -.1 0 .1 -.1 0 0 .1 0 0 0 .15 .02 0 .1"/>
  <hfield name="hills" nrow="3" ncol="4" size="1 2 .3 .1" elevation="1 2 3 4 2 1 5 1 3 3 1 2"/>
</asset>
<worldbody>
  <geom name="floor" type="plane" size="1 1 .1" pos="0 0 -2" euler="5 0 0" priority="1" condim="4"
    friction=".7 .01 .002"/>
  <geom name="hills" type="hfield" hfield="hills" pos="0 0 -3" euler="0 20 10"/>
  <body name="trunk" pos="0 0 1" gravcomp=".4">
    <joint name="root" type="free" damping=".1" armature=".01"/>
    <geom name="trunk" type="box" size=".1 .2 .05" rgba="1 0 0 1" group="2"/>
    <body name="mast" pos="0 0 .1" euler="10 0 0"><geom name="mast" type="capsule" size=".02 .1"/>
      <site name="tip" pos="0 0 .1"/></body>
    <body name="gimbal" pos=".2 0 0" euler="0 30 0"><joint name="pan" axis="0 0 1" ref=".2"
        range="-1 1" limited="true" stiffness="3" springref=".1" damping=".2"/>
      <joint name="lift" type="slide" axis="1 0 0" pos=".1 0 0" frictionloss=".3" armature=".02"/>
      <geom name="gimbal" size=".05" priority="2" condim="6"/>
      <body name="hand" pos="0 .2 0"><joint name="wrist" type="ball" pos="0 .02 0" stiffness="1"/>
        <geom name="hand" type="mesh" mesh="rock" margin=".001"/></body>
      <body name="finger" pos="0 -.2 0"><joint name="finger" axis="1 1 0" actuatorfrcrange="-2 3"
        actuatorfrclimited="true"/><geom name="finger" type="cylinder" size=".03 .06" mass="1"/>
        <site name="nail" pos="0 0 .06"/></body>
    </body></body>
  <body name="ball" pos="1 0 1"><freejoint/>
    <geom name="egg" type="ellipsoid" size=".1 .12 .08"/></body>
  <body name="hook" pos="2 0 1" mocap="true"><geom name="hook" size=".05"/></body>
</worldbody>
<contact><pair geom1="egg" geom2="trunk" friction=".1 .2 .3 .4 .5" condim="6" margin=".002"/>
  <exclude body1="ball" body2="hand"/></contact>
<tendon><fixed name="sum"><joint joint="pan" coef="2"/><joint joint="lift" coef="-1"/></fixed>
</tendon>
<equality><connect site1="tip" site2="nail" name="loop"/>
  <joint name="gear" joint1="finger" joint2="pan" polycoef=".1 2 .3 0 0"/>
  <tendon name="both" tendon1="sum" polycoef=".3 0 0 0 0"/></equality>
<actuator><motor name="m" joint="pan" gear="3" ctrlrange="-1 1" ctrllimited="true"/>
  <position name="p" joint="finger" kp="10" kv="1" forcerange="-5 5" forcelimited="true"/>
  <general name="thrust" site="tip" gear="0 0 1 0 0 .1" dyntype="filter" dynprm=".05"
    actrange="0 2" actlimited="true"/>
  <intvelocity name="i" joint="lift" kp="5" actrange="-1 1"/></actuator>
<keyframe><key name="home" qpos="0 0 1 1 0 0 0 .1 .2 1 0 0 0 .3 0 0 2 1 0 0 0" ctrl="1 0 0 0"
  act=".5 .1" mpos="3 0 0"/></keyframe></mujoco>"""

SOURCES = [
    pytest.param(MODELS / "humanoid.xml", id="humanoid"),
    pytest.param(RICH, id="rich"),
    pytest.param(PATHS, id="tendons"),
    pytest.param(ROBOT, id="sensors"),
    pytest.param(arm(), id="urdf"),
]
# Of frames there are more, as sites; meshes and heights turn with their inertia, see below.
RENUMBERED = ("frame_", "sensor_", "tendon_point", "hfield", "mesh_vertices", "equality_quat")


def written(model, tmp_path):
    """A model and how it comes back."""
    dojo.save_mjcf(model, tmp_path / "robot.xml")
    return dojo.load(tmp_path / "robot.xml")


def by_name(model, name):
    """A parameter, by the names of the geoms if it is one of theirs; not of meshes and heights."""
    values = np.asarray(getattr(model, name))
    if not name.startswith("geom_"):
        return values
    t = model.topology
    plain = [g for g, k in enumerate(t.geom_kind) if k not in ("mesh", "hfield")]
    return values[sorted(plain, key=lambda g: t.geom_names[g])]


def contacts(model):
    """Pairs of geoms that may touch, and how."""
    t, found = model.topology, {}
    for group in t.contacts:
        for k, ends in enumerate(zip(group.first, group.second, strict=True)):
            names = [t.geom_names[g] for g in ends]
            winner = [None, *names][group.friction_rule[k]]
            row = (
                tuple(np.asarray(model.pair_friction)[group.pair[k]]) if group.pair[k] >= 0 else ()
            )
            found[frozenset(names)] = (group.condim, winner, row)
    return found


def corners(model):
    """Corners of the hulls that collide, in their links."""
    found = {}
    for g, hull in enumerate(model.topology.geom_hull):
        if hull is not None:
            turn = Rotation.from_quat(np.asarray(model.geom_quat[g]), scalar_first=True)
            own = np.asarray(model.mesh_vertices)[hull.rows]
            found[model.topology.geom_names[g]] = turn.apply(own) + np.asarray(model.geom_pos[g])
    return found


def same(again, model):
    """Whether a model came back."""
    for field in ("joint_names", "link_names", "joint_kind", "actuator_names", "keyframes"):
        assert getattr(again.topology, field) == getattr(model.topology, field), field
    assert contacts(again) == contacts(model)
    for name in parameter_names():
        if name.startswith(RENUMBERED):
            continue
        ours, reference = by_name(again, name), by_name(model, name)
        if name.endswith("quat"):
            ours = np.where(np.sum(ours * reference, axis=-1, keepdims=True) < 0, -ours, ours)
        np.testing.assert_allclose(ours, reference, rtol=1e-12, atol=1e-15, err_msg=name)
    ours, reference = corners(again), corners(model)
    assert ours.keys() == reference.keys()
    for name, points in reference.items():  # MuJoCo keeps them in single precision
        off = np.abs(points[:, None] - ours[name]).max(axis=2).min(axis=1)
        assert off.max() < 1e-7, name


@pytest.mark.parametrize("source", SOURCES)
def test_a_model_comes_back(source, tmp_path):
    model = dojo.load(source)
    model = model.replace(
        link_mass=model.link_mass * 1.0625,
        geom_friction=model.geom_friction * 1.25,
        timestep=0.0123,
    )
    same(written(model, tmp_path), model)


@needs_suite
@pytest.mark.slow
def test_third_party_models_come_back(tmp_path):
    """But for contacts of bodies of which some geoms may touch: those are explicit pairs then."""
    files = [SUITE / entry["path"] for entry in json.loads((SUITE / "manifest.json").read_text())]
    count = 0
    for file in files:
        try:
            model = dojo.load(file)
        except dojo.UnsupportedFeature:
            continue
        again = written(model, tmp_path)
        mine, theirs = contacts(again), contacts(model)
        assert mine.keys() == theirs.keys(), file
        assert {c[0] for c in mine.values()} == {c[0] for c in theirs.values()}, file
        np.testing.assert_allclose(again.link_inertia, model.link_inertia, rtol=1e-9, atol=1e-12)
        count += 1
    assert count > 40


def test_mujoco_reads_the_same_robot(tmp_path):
    """Mass matrix and bias force at a random state, of a file with everything."""
    dojo.save_mjcf(dojo.load(RICH), tmp_path / "robot.xml")
    models = (
        mujoco.MjModel.from_xml_string(RICH),
        mujoco.MjModel.from_xml_path(str(tmp_path / "robot.xml")),
    )
    theirs, ours = (stir(m, np.random.default_rng(0)) for m in models)
    mass = [full_mass_matrix(m, d) for m, d in zip(models, (theirs, ours), strict=True)]
    np.testing.assert_allclose(mass[1], mass[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.qfrc_bias, theirs.qfrc_bias, rtol=1e-9, atol=1e-12)
    for name in ("floor", "hills", "egg", "mast", "finger"):
        place = [d.geom_xpos[m.geom(name).id] for m, d in zip(models, (theirs, ours), strict=True)]
        np.testing.assert_allclose(place[1], place[0], atol=1e-7)
    heights = [m.hfield_data * m.hfield_size[0, 2] for m in models]
    np.testing.assert_allclose(heights[1] - heights[1][0], heights[0] - heights[0][0], atol=1e-6)


def test_lengths_of_tendons_are_the_same(tmp_path):
    """Branches stand for pulleys: every piece is one."""
    model = dojo.load(PATHS)
    again = written(model, tmp_path)
    q = dojo.init(model).q + 0.3 * np.random.default_rng(0).normal(size=model.nq)

    def lengths(model):
        return tendon_lengths(model, q, link_frames(model, local_maps(model), q))

    assert model.topology.tendon_paths.shares.max(initial=0) > 0
    np.testing.assert_allclose(jax.jit(lengths)(again), jax.jit(lengths)(model), rtol=1e-12)


def test_restitution_and_heights_of_hills_that_sink(tmp_path):
    """Of restitution the format has none; ours is a custom tuple."""
    model = dojo.load(RICH, restitution={"egg": 0.5, "floor": 0.25})
    model = model.replace(hfield_heights=model.hfield_heights - 1.0)
    again = written(model, tmp_path)
    t = again.topology
    assert t.restitution
    found = dict(zip(t.geom_names, np.asarray(again.geom_restitution).tolist(), strict=True))
    assert (found["egg"], found["floor"], found["hand"]) == (0.5, 0.25, 0.0)
    g, h = t.geom_names.index("hills"), model.topology.geom_names.index("hills")
    down = Rotation.from_quat(np.asarray(again.geom_quat[g]), scalar_first=True).as_matrix()[:, 2]
    ours = again.geom_pos[g] + again.hfield_heights[:, None] * down
    expected = model.geom_pos[h] + model.hfield_heights[:, None] * down
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_polynomials_measure_from_where_they_did(tmp_path):
    """A model's couplings have offsets of their own."""
    model = dojo.load(RICH)
    model = model.replace(coupling_offset=model.coupling_offset + jnp.array([[0.3, 0.2], [0.1, 0]]))
    again = written(model, tmp_path)
    at = np.random.default_rng(0).normal(size=(2, model.nv))

    def error(model, k, row):
        sums = np.asarray(model.coupling_coefficients[k]) @ row - np.asarray(
            model.coupling_offset[k]
        )
        return sums[0] - np.polynomial.polynomial.polyval(sums[1], model.coupling_polynomial[k])

    for k in range(2):
        for row in at:
            assert error(again, k, row) == pytest.approx(error(model, k, row), abs=1e-12)


def test_what_the_format_cannot_say_is_named(tmp_path):
    model, file = dojo.load(RICH), tmp_path / "robot.xml"
    with pytest.raises(
        dojo.ModelError, match=r"dof_damping of joint root is .*one\s+number a joint"
    ):
        dojo.save_mjcf(model.replace(dof_damping=np.arange(model.nv) * 0.1), file)
    wrist = model.joint("wrist").q
    turned = model.spring_ref.at[wrist].set(jnp.array([0.6, 0.8, 0.0, 0.0]))
    with pytest.raises(dojo.ModelError, match="joint wrist has a spring that is relaxed away"):
        dojo.save_mjcf(model.replace(spring_ref=turned), file)
    finger = model.link("finger")
    for changes, message in (
        ({"link_mass": model.link_mass.at[finger].set(0.0)}, "link finger has no mass"),
        ({"link_inertia": model.link_inertia.at[finger].set(0.0)}, "finger has the moments"),
        (
            {"link_inertia": model.link_inertia.at[finger].set(np.diag([1.0, 1.0, 5.0]))},
            "finger has the moments",
        ),
        ({"link_mass": model.link_mass + 0.1}, "has the moments of inertia"),
    ):
        with pytest.raises(dojo.ModelError, match=message):
            dojo.save_mjcf(model.replace(**changes), file)
    with pytest.raises(dojo.ModelError, match="one model, not a batch"):
        dojo.save_mjcf(jax.tree.map(lambda x: jnp.stack([x, x]), model), file)


def test_a_medium_comes_back(tmp_path):
    """Forces of a swimmer at a random state; a fin that is fixed to a link is told of."""
    whole = SWIMMER.format(wind="1 2 3", gravity="0 0 -9.81")
    model = dojo.load(whole)
    notes = dojo.save_mjcf(model.replace(fluid_density=800.0), tmp_path / "robot.xml")
    assert len(notes) == 1
    assert "drag is not that of the box" in notes[0]
    fin = '<body pos="-.1 0 .05" euler="0 20 30"><geom type="box" size=".05 .003 .05"/></body>'
    assert fin in whole
    model = dojo.load(whole.replace(fin, "")).replace(fluid_density=800.0)
    again = written(model, tmp_path)
    state = dojo.init(model, v=np.random.default_rng(0).normal(size=model.nv))
    expected = np.asarray(passive(model, state))
    np.testing.assert_allclose(passive(again, state), expected, rtol=1e-6, atol=1e-9)


BALLAST = '<geom size=".1"/>'
MASSLESS = f"""<body name="table" pos="0 0 1">{BALLAST}
  <body pos="1 0 0"><joint axis="0 1 0"/>{BALLAST}
  <body name="mount" pos=".2 0 0"><site name="at"/><body name="hand" pos=".1 0 0">{BALLAST}</body>
  </body></body><body pos="2 0 0"><joint axis="0 1 0"/>{BALLAST}</body></body>"""


@pytest.mark.parametrize(
    "sensor", ['subtreecom body="world"', 'subtreecom body="table"', 'force site="at"']
)
def test_sensors_at_fixed_bodies_are_told_of(sensor, tmp_path):
    """What they measure is part of a link, or of none."""
    xml = f"""<mujoco><worldbody>{MASSLESS}</worldbody><sensor><{sensor} name="felt---so"/>
      <gyro name="gyro" site="at"/></sensor></mujoco>"""
    notes = dojo.save_mjcf(dojo.load(xml), tmp_path / "robot.xml")
    assert len(notes) == 1
    assert "left out: felt---so" in notes[0]
    ElementTree.parse(tmp_path / "robot.xml")
    assert [s.name for s in dojo.load(tmp_path / "robot.xml").topology.sensors] == ["gyro"]


def test_names_that_come_twice_get_numbers(tmp_path):
    """Elements without one are called by their place, as others may be."""
    xml = """<mujoco><worldbody><body><joint name="joint1" type="slide"/><joint axis="0 1 0"/>
      <geom name="geom1" size=".1"/><geom size=".1"/></body></worldbody>
      <sensor><jointpos name="sensor1" joint="joint1"/><jointvel joint="joint1"/></sensor>
      <keyframe><key name="key1" qpos="1 0"/><key qpos="2 0"/></keyframe></mujoco>"""
    again = written(dojo.load(xml), tmp_path)
    t = again.topology
    assert t.joint_names == ("joint1", "joint1_2")
    assert [s.name for s in t.sensors] == ["sensor1", "sensor1_2"]
    assert [(key.name, key.q[0]) for key in t.keyframes] == [("key1", 1.0), ("key1_2", 2.0)]


def test_rests_of_its_own_are_told_of(tmp_path):
    """MJCF has the reference of a joint alone; couplings stay what they are."""
    model = dojo.load(RICH)
    moved = model.replace(q_rest=model.q_rest.at[model.joint("finger").q].set(0.4))
    notes = dojo.save_mjcf(moved, tmp_path / "robot.xml")
    assert notes == ("joints whose rest is not that of the file: finger",)
    again = dojo.load(tmp_path / "robot.xml")
    np.testing.assert_allclose(again.coupling_polynomial, model.coupling_polynomial, atol=1e-12)


def test_single_precision_comes_back(tmp_path):
    """The box of a body with two equal moments keeps its axes."""
    plate = """<mujoco><option density="1000"/><worldbody><body><freejoint/>
      <geom type="box" size=".2 .2 .01" euler="20 30 40"/></body></worldbody></mujoco>"""
    model = dojo.load(plate, dtype="float32")
    assert dojo.save_mjcf(model, tmp_path / "robot.xml") == ()
    again = dojo.load(tmp_path / "robot.xml", dtype="float32")
    state = dojo.init(model, v=[1, 2, 3, 4, 5, 6])
    np.testing.assert_allclose(passive(again, state), passive(model, state), rtol=1e-4, atol=1e-3)
    aside = model.replace(link_com=model.link_com + 0.1)
    assert "drag is not that of the box" in dojo.save_mjcf(aside, tmp_path / "robot.xml")[0]


def test_restitution_of_parts_of_a_scene(tmp_path):
    ball = """<mujoco><worldbody><body name="ball"><freejoint/><geom name="ball" size=".1"/></body>
      </worldbody></mujoco>"""
    dojo.save_mjcf(dojo.load(ball, restitution=0.5), tmp_path / "ball.xml")
    scene = dojo.load(["<mujoco/>", dojo.Part(tmp_path / "ball.xml", prefix="one/")])
    assert float(scene.geom_restitution[scene.geom("one/ball")]) == 0.5
