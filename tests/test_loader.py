"""What `load` reads from a file, and what `replace` accepts."""

import copy
import pickle

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from paths import MODELS

import dojo
from dojo.model.model import parameter_names
from dojo.model.topology import WORLD
from dojo.physics.activation import clip_control

FLOOR = '<geom name="floor" type="plane" size="0 0 1" {0}/>'
BALL = '<body name="ball"><freejoint name="root"/><geom name="ball" size=".1" {0}/></body>'
ARM = '<body name="arm"><joint name="hinge" {0}/><geom name="arm" size=".1" pos="0 0 .5"/></body>'


def mjcf(world, extra="", option=""):
    return f"<mujoco>{option}<worldbody>{world}</worldbody>{extra}</mujoco>"


def hinged(extra="", joint="", option=""):
    return mjcf(ARM.format(joint), extra, option)


# Links


def test_a_body_with_several_joints_is_a_chain_of_links():
    model = dojo.load(
        mjcf("""
        <body name="base" pos="1 2 3">
          <joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0"/>
          <joint name="yaw" axis="0 0 1"/><geom size=".1" mass="2"/>
          <body name="tip" pos="0 0 1"><joint name="wrist" type="ball"/><geom size=".1"/></body>
        </body>""")
    )
    t = model.topology
    assert t.joint_kind == ("slide", "slide", "hinge", "ball")
    assert t.parent.tolist() == [WORLD, 0, 1, 2]
    assert t.joint_names == ("x", "y", "yaw", "wrist")
    assert t.link_names == ("base/x", "base/y", "base", "tip")
    np.testing.assert_array_equal(model.link_mass[:3], [0, 0, 2])
    np.testing.assert_array_equal(model.link_pos[:3], [[1, 2, 3], [0, 0, 0], [0, 0, 0]])
    assert (model.nq, model.nv) == (7, 6)


FIXED = """
<body name="base" pos="0 0 1" euler="10 20 30"><freejoint/><geom size=".1" mass="1"/>
  <body name="mount" pos=".3 0 .1" euler="40 0 20"><geom type="box" size=".1 .2 .3" mass="2"/>
    <body name="camera" pos="0 .2 0" euler="0 50 0">
      <geom name="lens" type="box" size=".3 .1 .1" mass="3"/></body></body></body>"""


def test_fixed_bodies_are_merged_into_the_link_that_carries_them():
    model = dojo.load(mjcf(FIXED))
    assert model.topology.link_names == ("base",)
    assert any("mount, camera" in note for note in model.topology.notes)

    m = mujoco.MjModel.from_xml_string(mjcf(FIXED))
    d = mujoco.MjData(m)
    mujoco.mj_forward(m, d)
    rot = d.xmat[1].reshape(3, 3)
    com = d.subtree_com[1]
    inertia = np.zeros((3, 3))
    for b in range(1, 4):
        axes, arm = d.ximat[b].reshape(3, 3), d.xipos[b] - com
        inertia += axes @ np.diag(m.body_inertia[b]) @ axes.T
        inertia += m.body_mass[b] * (arm @ arm * np.eye(3) - np.outer(arm, arm))
    np.testing.assert_allclose(model.link_mass, [m.body_subtreemass[1]], rtol=1e-14)
    np.testing.assert_allclose(model.link_com[0], rot.T @ (com - d.xpos[1]), atol=1e-14)
    np.testing.assert_allclose(model.link_inertia[0], rot.T @ inertia @ rot, atol=1e-14)


def test_bodies_fixed_in_the_world_belong_to_the_world():
    table = '<body name="table" pos="0 0 2"><geom size=".1" contype="0" conaffinity="0"/></body>'
    model = dojo.load(mjcf(table + ARM.format("")))
    assert model.topology.geom_link.tolist() == [WORLD, 0]
    np.testing.assert_array_equal(model.geom_pos[0], [0, 0, 2])


def test_joint_parameters():
    model = dojo.load(
        hinged(
            joint='axis="0 3 4" pos="0 .1 0" ref="30" springref="60" stiffness="2" damping="3" '
            'armature="4"'
        )
    )
    np.testing.assert_allclose(model.joint_axis, [[0, 0.6, 0.8]], atol=1e-15)
    np.testing.assert_array_equal(model.joint_anchor, [[0, 0.1, 0]])
    np.testing.assert_allclose(model.joint_ref, [np.pi / 6])
    np.testing.assert_allclose(model.q_rest, [np.pi / 6])
    np.testing.assert_allclose(model.spring_ref, [np.pi / 3])
    np.testing.assert_array_equal(
        jnp.stack([model.joint_stiffness, model.dof_damping, model.dof_armature]).T, [[2, 3, 4]]
    )


def test_dry_friction_of_each_degree_of_freedom():
    """The file's value on all dofs of a ball or free joint, as in MuJoCo."""
    free = BALL.format("").replace('<freejoint name="root"/>', "{}")
    free = free.format('<joint name="root" type="free" frictionloss=".3"/>')
    arm = ARM.format('type="ball" frictionloss=".2"')
    knee = '<body pos="5 0 0"><joint name="{}"/><joint name="{}" type="slide" {}/>' + (
        '<geom size=".1" contype="0" conaffinity="0"/></body>'
    )
    arm = arm.replace("<geom", '<geom contype="0" conaffinity="0"')
    model = dojo.load(mjcf(free + arm + knee.format("knee", "rail", 'frictionloss="4"')))
    expected = [0.3] * 6 + [0.2] * 3 + [0.0, 4.0]
    np.testing.assert_array_equal(model.dof_frictionloss, expected)
    assert model.topology.dry_dofs.tolist() == [*range(9), 10]
    assert model.topology.v_names[5:11] == (
        *("root[5]", "hinge[0]", "hinge[1]", "hinge[2]"),
        *("knee", "rail"),
    )


def test_dry_friction_of_a_urdf():
    xml = """<robot name="r"><link name="base"/>
      <link name="arm"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0"
        iyz="0"/></inertial></link>
      <joint name="j" type="continuous"><parent link="base"/><child link="arm"/>
        <axis xyz="0 0 1"/><dynamics damping="0.5" friction="0.25"/></joint></robot>"""
    model = dojo.load(xml)
    np.testing.assert_array_equal(model.dof_frictionloss, [0.25])
    np.testing.assert_array_equal(model.dof_damping, [0.5])
    assert model.topology.dry_dofs.tolist() == [0]


@pytest.mark.parametrize("flag", ["frictionloss", "constraint"])
def test_disable_flags_switch_dry_friction_off(flag):
    off = f'<option><flag {flag}="disable"/></option>'
    model = dojo.load(hinged(joint='frictionloss="1"', option=off))
    np.testing.assert_array_equal(model.dof_frictionloss, [0])
    assert len(model.topology.dry_dofs) == 0


def test_replace_knows_which_joints_have_dry_friction():
    model = dojo.load(mjcf(ARM.format('frictionloss="1"/><joint name="other" type="slide"')))
    dry, wet = model.topology.dry_dofs[0], 1 - model.topology.dry_dofs[0]
    changed = model.replace(dof_frictionloss=model.dof_frictionloss.at[dry].set(0.0))
    np.testing.assert_array_equal(changed.dof_frictionloss, [0, 0])
    assert changed.topology is model.topology
    for values in (0.5, model.dof_frictionloss.at[wet].set(0.5)):
        with pytest.raises(dojo.ModelError, match="joint other, .*loaded without.*in the file"):
            model.replace(dof_frictionloss=values)


def test_joint_limits():
    model = dojo.load(
        mjcf("""
        <body><joint name="free"/><joint name="knee" range="-90 45"/>
          <joint name="rail" type="slide" range="-1 2"/><geom size=".1"/></body>""")
    )
    assert [model.topology.joint_names[j] for j in model.topology.limited] == ["knee", "rail"]
    np.testing.assert_allclose(model.joint_range, [[-np.pi / 2, np.pi / 4], [-1, 2]])


# Options


@pytest.mark.parametrize(
    ("flag", "names", "values"),
    [
        ("gravity", ["gravity"], [[0, 0, 0]]),
        ("spring", ["joint_stiffness"], [[0]]),
        ("damper", ["dof_damping"], [[0]]),
        ("actuation", ["actuator_gain", "actuator_bias"], [[[0, 0, 0]], [[0, 0, 0]]]),
    ],
)
def test_disable_flags_switch_forces_off(flag, names, values):
    parts = (
        '<actuator><position joint="hinge" kp="5" kv="1"/></actuator>',
        'stiffness="2" damping="3"',
    )
    on = dojo.load(hinged(*parts))
    off = dojo.load(hinged(*parts, f'<option><flag {flag}="disable"/></option>'))
    for name in parameter_names():
        if name in names:
            np.testing.assert_array_equal(getattr(off, name), values[names.index(name)])
            assert np.any(np.asarray(getattr(on, name)) != np.asarray(getattr(off, name)))
        else:
            np.testing.assert_array_equal(getattr(on, name), getattr(off, name), err_msg=name)


@pytest.mark.parametrize("flag", ["limit", "constraint"])
def test_disable_flags_switch_limits_off(flag):
    off = f'<option><flag {flag}="disable"/></option>'
    assert len(dojo.load(hinged(joint='range="0 1"')).topology.limited) == 1
    assert len(dojo.load(hinged(joint='range="0 1"', option=off)).topology.limited) == 0


def test_disable_flag_clampctrl():
    motor = '<actuator><motor joint="hinge" ctrlrange="-1 1"/></actuator>'
    off = '<option><flag clampctrl="disable"/></option>'
    u = jnp.array([3.0])
    np.testing.assert_array_equal(clip_control(dojo.load(hinged(motor)), u), [1.0])
    np.testing.assert_array_equal(clip_control(dojo.load(hinged(motor, option=off)), u), [3.0])


def test_a_disabled_actuator_group_has_no_force():
    xml = hinged(
        '<actuator><position joint="hinge" group="1"/><motor joint="hinge" group="2"/></actuator>',
        option='<option actuatorgroupdisable="1"/>',
    )
    model = dojo.load(xml)
    np.testing.assert_array_equal(model.actuator_gain[:, 0], [0.0, 1.0])
    np.testing.assert_array_equal(model.actuator_bias, np.zeros((2, 3)))


def test_gravity_and_timestep():
    option = '<option timestep="0.004" gravity="1 2 3"/>'
    model = dojo.load(hinged(option=option))
    assert float(model.timestep) == 0.004
    np.testing.assert_array_equal(model.gravity, [1, 2, 3])
    assert float(dojo.load(hinged(option=option), timestep=0.02).timestep) == 0.02


# Actuators

ACTUATED = hinged("""<actuator>
  <motor name="motor" joint="hinge" gear="7"/>
  <position name="servo" joint="hinge" kp="20" kv="3" ctrlrange="-1 2" forcerange="-4 5"/>
  <velocity name="speed" joint="hinge" kv="6" gear="2"/>
  <general name="affine" joint="hinge" gainprm="2" biastype="affine" biasprm="1 -3 -4"/>
</actuator>""")


def test_actuators():
    model = dojo.load(ACTUATED)
    assert model.topology.actuator_names == ("motor", "servo", "speed", "affine")
    np.testing.assert_array_equal(model.actuator_gear[:, 0], [7, 1, 2, 1])
    np.testing.assert_array_equal(model.actuator_gain[:, 0], [1, 20, 6, 2])
    np.testing.assert_array_equal(
        model.actuator_bias, [[0, 0, 0], [0, -20, -3], [0, 0, -6], [1, -3, -4]]
    )
    t = model.topology.actuators
    assert t.ctrl_limited.tolist() == t.force_limited.tolist() == [False, True, False, False]
    np.testing.assert_array_equal(model.actuator_ctrl_range[1], [-1, 2])
    np.testing.assert_array_equal(model.actuator_force_range[1], [-4, 5])


def test_controls_are_clipped_to_their_range_only():
    u = jnp.array([9.0, 9.0, -9.0, 9.0])
    np.testing.assert_array_equal(clip_control(dojo.load(ACTUATED), u), [9, 2, -9, 9])


def test_the_force_limit_of_a_joint():
    model = dojo.load(hinged(joint='actuatorfrcrange="-3 4"'))
    assert model.topology.force_limited_joints.tolist() == [0]
    np.testing.assert_array_equal(model.joint_force_range, [[-3, 4]])


# Names, keyframes, sources


def test_keyframes():
    key = '<keyframe><key name="stand" qpos="1" qvel="2" ctrl="3"/><key qpos="4"/></keyframe>'
    model = dojo.load(hinged('<actuator><motor joint="hinge"/></actuator>' + key))
    first, second = model.topology.keyframes
    assert (first.name, first.q, first.v, first.ctrl) == ("stand", (1.0,), (2.0,), (3.0,))
    assert second.name == "key1"
    state = dojo.init(model, keyframe="stand")
    np.testing.assert_array_equal(jnp.stack([state.q, state.v]), [[1], [2]])
    with pytest.raises(ValueError, match=r"no keyframe 'stnd'.*Did you mean 'stand'"):
        dojo.init(model, keyframe="stnd")
    with pytest.raises(ValueError, match="either q or keyframe"):
        dojo.init(model, q=jnp.zeros(1), keyframe="stand")


def test_a_keyframe_keeps_the_controls_of_the_actuators_that_are_left():
    xml = hinged("""<actuator><general name="lag" joint="hinge" gaintype="user"/>
      <motor name="motor" joint="hinge"/></actuator>
      <keyframe><key name="k" ctrl="3 4"/></keyframe>""")
    model = dojo.load(xml, ignore="actuator")
    assert model.topology.actuator_names == ("motor",)
    assert model.topology.keyframes[0].ctrl == (4.0,)


def test_elements_without_name_are_numbered():
    t = dojo.load(mjcf('<body><joint/><geom size=".1"/></body>')).topology
    assert (t.link_names, t.joint_names, t.geom_names) == (("body1",), ("joint0",), ("geom0",))


def test_q_names():
    assert dojo.load(hinged()).topology.q_names == ("hinge",)
    free = dojo.load(mjcf(BALL.format("")))
    assert free.topology.q_names == tuple(f"root[{k}]" for k in range(7))


def test_a_file_and_its_text_give_the_same_model():
    path = MODELS / "box.xml"
    a, b, c = dojo.load(path), dojo.load(str(path)), dojo.load("\n" + path.read_text())
    for x, y, z in zip(*(jax.tree.leaves(m) for m in (a, b, c)), strict=True):
        np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(x, z)
    assert (a.topology.source, c.topology.source) == (str(path), "<XML string>")


def test_urdf():
    model = dojo.load(MODELS / "arm.urdf")
    assert model.topology.joint_kind == ("hinge",) * 6
    assert model.topology.joint_names[0] == "shoulder_pan"
    assert model.topology.link_names[-1] == "wrist_3"
    np.testing.assert_allclose(float(model.link_mass.sum()), 17.7, atol=1e-9)
    np.testing.assert_allclose(model.joint_range[2], [-np.pi, np.pi], atol=1e-6)
    np.testing.assert_array_equal(model.joint_force_range[:, 1], [150, 150, 150, 28, 28, 28])
    np.testing.assert_array_equal(model.dof_damping, [5, 5, 5, 1, 1, 1])


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_dtype(name):
    model = dojo.load(MODELS / "humanoid.xml", dtype=name)
    assert model.dtype == name
    assert {leaf.dtype.name for leaf in jax.tree.leaves(model)} == {name}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(dojo.init(model))} == {name}


def test_only_float_types_are_accepted():
    with pytest.raises(ValueError, match=r"dtype=int32.*float32 or float64"):
        dojo.load(hinged(), dtype="int32")


# The model as a pytree


@pytest.mark.parametrize("path", sorted(MODELS.iterdir()), ids=lambda path: path.name)
def test_leaves_are_the_parameters_and_finite(path):
    model = dojo.load(path)
    leaves = jax.tree.leaves(model)
    assert len(leaves) == len(parameter_names())
    for name in parameter_names():
        leaf = getattr(model, name)
        assert any(leaf is other for other in leaves)
        assert leaf.dtype == jnp.float64
        assert jnp.isfinite(leaf).all(), name


def test_two_loads_share_one_compilation():
    traced = []

    @jax.jit
    def mass(model):
        traced.append(1)
        return dojo.mass_matrix(model, model.q_rest)

    first, second = dojo.load(MODELS / "ant.xml"), dojo.load(MODELS / "ant.xml", timestep=0.003)
    assert first.topology is not second.topology
    assert first.topology == second.topology
    assert hash(first.topology) == hash(second.topology)
    mass(first)
    mass(second)
    mass(second.replace(link_mass=2 * second.link_mass))
    assert len(traced) == 1
    assert dojo.load(MODELS / "hopper.xml").topology != first.topology


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_a_topology_is_equal_to_it(again):
    model = dojo.load(MODELS / "ant.xml")
    copied = again(model)
    assert copied.topology == model.topology
    assert hash(copied.topology) == hash(model.topology)


# replace


@pytest.fixture(scope="module")
def quadruped():
    return dojo.load(MODELS / "quadruped.xml")


def test_replace_makes_a_new_model(quadruped):
    masses = 2 * quadruped.link_mass
    heavier = quadruped.replace(link_mass=masses, timestep=0.002)
    np.testing.assert_array_equal(heavier.link_mass, masses)
    assert float(heavier.timestep) == 0.002
    assert heavier.topology is quadruped.topology
    assert float(quadruped.timestep) != 0.002
    np.testing.assert_array_equal(heavier.link_com, quadruped.link_com)


def test_replace_takes_every_parameter_by_name(quadruped):
    same = quadruped.replace(**{name: getattr(quadruped, name) for name in parameter_names()})
    for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(quadruped), strict=True):
        np.testing.assert_array_equal(a, b)


def test_replace_broadcasts_scalars_and_keeps_the_dtype(quadruped):
    model = quadruped.replace(geom_friction=1)
    np.testing.assert_array_equal(model.geom_friction, np.ones(len(quadruped.geom_friction)))
    assert model.geom_friction.dtype == quadruped.dtype


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"link_mas": 1.0}, r"replace\(link_mas=.*no such parameter.*Did you mean 'link_mass'"),
        ({"topology": 1.0}, r"replace\(topology=.*no such parameter"),
        ({"link_mass": np.ones(3)}, r"replace\(link_mass=.*shape \(3,\), expected \(13,\)"),
        ({"link_mass": np.ones((13, 1))}, r"shape \(13, 1\), expected \(13,\)"),
        ({"gravity": [0.0, 0.0, np.nan]}, "gravity: holds a NaN"),
        ({"gravity": np.inf}, "gravity: holds a NaN or an infinity"),
        ({"link_mass": -1.0}, "link_mass: entry 0 is negative"),
        ({"geom_friction": -0.1}, "geom_friction: entry 0 is negative"),
        ({"dof_damping": -0.1}, "dof_damping: entry 0 is negative"),
        ({"dof_armature": -0.1}, "dof_armature: entry 0 is negative"),
        ({"dof_frictionloss": -0.1}, "dof_frictionloss: entry 0 is negative"),
        ({"dof_frictionloss": 0.1}, r"entry 0, joint .*without dry friction.*frictionloss"),
        ({"geom_restitution": 0.5}, r"loaded without restitution.*load\(.*restitution=0.5\)"),
        ({"geom_restitution": 1.5}, "geom_restitution: entry 0 is 1.5, must be within 0"),
        ({"geom_restitution": -0.1}, "geom_restitution: entry 0 is -0.1, must be within 0"),
        ({"geom_restitution": np.nan}, "geom_restitution: holds a NaN"),
        ({"timestep": 0.0}, "timestep = 0.0: must be positive"),
        ({"timestep": -0.01}, "timestep = -0.01: must be positive"),
    ],
)
def test_replace_refuses(quadruped, changes, message):
    with pytest.raises(dojo.ModelError, match=message):
        quadruped.replace(**changes)


@pytest.mark.parametrize(
    ("restitution", "message"),
    [
        (1.5, "geom_restitution: entry 0 is 1.5, must be within 0"),
        (-0.1, "geom_restitution: entry 0 is -0.1, must be within 0"),
        (np.nan, "geom_restitution: holds a NaN"),
        ("much", "restitution: 'much' is not a number"),
        ({"baal": 0.5}, r"restitution=\{'baal'.*no such geom.*Did you mean 'ball'"),
        ({"ball": [1, 2]}, r"restitution of ball: \[1, 2\] is not a number"),
    ],
)
def test_load_refuses_restitution(restitution, message):
    with pytest.raises(dojo.ModelError, match=message):
        dojo.load(MODELS / "sphere.xml", restitution=restitution)


def test_restitution_of_some_geoms():
    model = dojo.load(MODELS / "sphere.xml", restitution={"ball": 0.5})
    np.testing.assert_array_equal(model.geom_restitution, [0.0, 0.5])
    assert model.topology.restitution
    model.replace(geom_restitution=1.0)  # loaded with some: any geom may have it
    assert not dojo.load(MODELS / "sphere.xml").topology.restitution


BOUNCY_URDF = """<robot name="r"><link name="base"/>
<link name="bob"><inertial><mass value="1"/>
    <inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>
  <contact><restitution value="0.4"/></contact>
  <collision><geometry><sphere radius="0.1"/></geometry></collision></link>
<link name="tip"><contact><restitution value="0.7"/></contact></link>
<joint name="j" type="continuous">
  <parent link="base"/><child link="bob"/><axis xyz="0 1 0"/></joint>
<joint name="k" type="fixed"><parent link="bob"/><child link="tip"/></joint></robot>"""


def test_restitution_of_urdf_links():
    """Bullet's convention; a link that is fixed to another is fused with it."""
    model = dojo.load(BOUNCY_URDF)
    np.testing.assert_array_equal(model.geom_restitution, [0.4])
    assert any("'tip'" in note for note in model.topology.notes)
    _, info = dojo.step(model, dojo.init(model))
    assert info.converged
    with pytest.raises(dojo.ModelError, match=r"restitution of link bob: 'high' is not a number"):
        dojo.load(BOUNCY_URDF.replace('"0.4"', '"high"'))


def test_replace_traces(quadruped):
    @jax.jit
    def height(mass):
        return dojo.mass_matrix(quadruped.replace(link_mass=mass), quadruped.q_rest)[2, 2]

    # The inertia of a translation of the free base is the total mass.
    slope = jax.grad(height)(quadruped.link_mass)
    np.testing.assert_allclose(slope, np.ones(quadruped.topology.nl), rtol=1e-12)


# Notes: nothing is approximated in silence

NOTED = {
    "merged": (mjcf(FIXED), "2 bodies without joint merged into their parents: mount, camera"),
    "sensor": (
        hinged('<sensor><jointpos joint="hinge"/><clock name="time"/></sensor>'),
        "1 sensors are not evaluated: time (clock)",
    ),
    "idle tendon": (
        mjcf(
            FLOOR.format("")
            + '<site name="nail"/>'
            + BALL.format("")[:-7]
            + '<site name="tip"/></body>',
            '<tendon><spatial><site site="tip"/><site site="nail"/></spatial></tendon>',
        ),
        "1 spatial tendons without limit",
    ),
    "integrator": (hinged(option='<option integrator="RK4"/>'), "integrator"),
    "solref": (mjcf(FLOOR.format('solref="-1 -1"') + BALL.format("")), "solref, solimp"),
}


@pytest.mark.parametrize(("xml", "note"), NOTED.values(), ids=NOTED)
def test_an_approximation_is_noted(xml, note):
    assert any(note in text for text in dojo.load(xml).topology.notes)


def test_a_plain_model_has_no_note_of_an_approximation():
    notes = dojo.load(mjcf(FLOOR.format("") + BALL.format(""))).topology.notes
    assert len(notes) == 1
    assert "no effect here" in notes[0]


def test_what_is_ignored_on_request_is_noted():
    model = dojo.load(hinged(joint='damping="1 2"'), ignore="polynomial")
    assert "ignored on request, polynomial: dof_dampingpoly" in model.topology.notes


def test_a_hull_with_many_corners_is_reduced_and_the_loss_is_noted():
    rng = np.random.default_rng(0)
    shell = rng.normal(size=(200, 3))
    shell *= 0.1 / np.linalg.norm(shell, axis=1, keepdims=True)
    text = " ".join(f"{x:.9g}" for x in shell.ravel())
    mesh = f'<asset><mesh name="shell" vertex="{text}"/></asset>'
    body = '<body><freejoint/><geom name="rock" type="mesh" mesh="shell"/></body>'
    model = dojo.load(mjcf(FLOOR.format("") + body, mesh))
    assert model.mesh_vertices.shape == (32, 3)
    note = next(text for text in model.topology.notes if "rock" in text)
    assert "hull of 200 corners reduced to 32" in note
    # Its loss is that of the support function: here at most the radius less the inscribed one.
    lost = float(note.split("up to ")[1].split(" mm")[0])
    assert 1.0 < lost < 100.0


def test_a_spec_loads():
    spec = mujoco.MjSpec.from_string(mjcf(FLOOR.format("") + BALL.format("")))
    spec.body("ball").add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.1, 0, 0], name="more")
    model = dojo.load(spec)
    assert model.topology.geom_names == ("floor", "ball", "more")
    assert model.topology.source == "<MjSpec>"


# Names


def test_names_lead_to_indices_and_slices(quadruped):
    t = quadruped.topology
    for i, name in enumerate(t.joint_names):
        joint = quadruped.joint(name)
        assert (joint.index, joint.kind) == (i, t.joint_kind[i])
        assert [n.split("[")[0] for n in t.q_names[joint.q]] == [name] * (7 if i == 0 else 1)
        assert [n.split("[")[0] for n in t.v_names[joint.v]] == [name] * (6 if i == 0 else 1)
    for kind in ("link", "geom", "actuator"):
        names = getattr(t, f"{kind}_names")
        assert [getattr(quadruped, kind)(name) for name in names] == list(range(len(names)))


def test_a_misspelled_name(quadruped):
    name = quadruped.topology.link_names[1]
    with pytest.raises(dojo.ModelError, match=rf"no link '{name}s'. Did you mean '{name}'"):
        quadruped.link(name + "s")
    with pytest.raises(dojo.ModelError, match=r"no tendon 'cable'. Names of tendons: none"):
        quadruped.tendon("cable")
