"""URDF files as people have them: paths, roots, inertias, formats; each trouble has its remedy."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import SUITE, needs_suite

import dojo
from dojo.loaders.urdf import nearest_possible, possible

INERTIAL = """<inertial><mass value="{mass}"/><inertia ixx="{i[0]}" iyy="{i[1]}" izz="{i[2]}"
  ixy="0" ixz="0" iyz="0"/></inertial>"""
GOOD = INERTIAL.format(mass=1, i=(0.1, 0.1, 0.1))
SPHERE = '<collision><geometry><sphere radius=".1"/></geometry></collision>'


def link(name, *content):
    return f'<link name="{name}">{"".join(content)}</link>'


def joint(name, parent, child, kind="continuous"):
    return f"""<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>
      <origin xyz="0 0 1"/><axis xyz="0 1 0"/></joint>"""


def robot(*content, extension=""):
    return f'<robot name="r">{extension}{"".join(content)}</robot>'


def arm(base=GOOD, tip=GOOD, extension=""):
    parts = link("base", base, SPHERE), link("tip", tip), joint("elbow", "base", "tip")
    return robot(*parts, extension=extension)


def kinds(*args, **kwargs):
    return dojo.load(*args, **kwargs).topology.joint_kind


# Roots


def test_a_root_with_inertia_floats():
    model = dojo.load(arm())
    assert model.topology.joint_kind == ("free", "hinge")
    np.testing.assert_allclose(model.link_mass, [1.0, 1.0])
    assert any("root link base" in note and "root='fixed'" in note for note in model.topology.notes)


def test_a_root_is_fixed_or_floats_as_asked():
    model = dojo.load(arm(), root="fixed")
    assert model.topology.joint_kind == ("hinge",)
    assert any("base is welded to the world" in note for note in model.topology.notes)
    assert kinds(arm(), root="floating") == ("free", "hinge")


def test_a_root_without_inertia_is_fixed():
    assert kinds(arm(base="")) == ("hinge",)


def test_what_is_fixed_to_the_root_counts():
    """The inertia of a base often has a link of its own."""
    parts = link("base"), link("trunk", GOOD), link("leg", GOOD)
    joints = joint("mount", "base", "trunk", "fixed"), joint("hip", "trunk", "leg")
    assert kinds(robot(*parts, *joints)) == ("free", "hinge")


def test_what_is_fixed_to_the_world_stays():
    parts = link("world"), link("base", GOOD), link("leg", GOOD)
    joints = joint("mount", "world", "base", "fixed"), joint("hip", "base", "leg")
    assert kinds(robot(*parts, *joints)) == ("hinge",)


def test_a_world_that_is_only_named():
    parts = link("base", GOOD), link("leg", GOOD)
    joints = joint("mount", "world", "base", "fixed"), joint("hip", "base", "leg")
    assert kinds(robot(*parts, *joints)) == ("hinge",)


def test_a_single_link_floats():
    model = dojo.load(robot(link("cube", GOOD, SPHERE)))
    assert model.topology.joint_kind == ("free",)
    with pytest.raises(dojo.ModelError, match="root='floating'"):
        dojo.load(robot(link("cube", GOOD, SPHERE)), root="fixed")


def test_several_roots_are_refused():
    with pytest.raises(dojo.ModelError, match=r"2 root links \(one, two\)"):
        dojo.load(robot(link("one", GOOD), link("two", GOOD)))


def test_the_root_argument_is_checked():
    with pytest.raises(ValueError, match="root='loose'.*'fixed', 'floating' or None"):
        dojo.load(arm(), root="loose")
    mjcf = '<mujoco><worldbody><body><joint/><geom size=".1"/></body></worldbody></mujoco>'
    with pytest.raises(ValueError, match="is for URDF files.*<freejoint/>"):
        dojo.load(mjcf, root="fixed")
    with pytest.raises(ValueError, match="repair_inertia=True.*is for URDF files"):
        dojo.load(mjcf, repair_inertia=True)
    text = robot(link("world"), link("base", GOOD), joint("hip", "world", "base"))
    with pytest.raises(dojo.ModelError, match="called world, its root cannot float"):
        dojo.load(text, root="floating")


# Inertias


@pytest.mark.parametrize("moments", [(0.1, 0.1, 0.3), (-0.1, 0.1, 0.1), (0.0, 0.1, 0.1)])
def test_an_impossible_inertia_is_named(moments):
    text = arm(tip=INERTIAL.format(mass=2, i=moments))
    with pytest.raises(dojo.ModelError, match="links tip: .*repair_inertia=True"):
        dojo.load(text)
    model = dojo.load(text, repair_inertia=True)
    assert any("repaired, of links tip" in note for note in model.topology.notes)
    assert possible(np.asarray(model.link_inertia[1]))


def test_an_inertia_that_is_not_a_number():
    with pytest.raises(dojo.ModelError, match="link tip holds a NaN"):
        dojo.load(arm(tip=INERTIAL.format(mass=2, i=("nan", 0.1, 0.1))))


def test_inertias_of_links_without_mass_have_no_effect():
    """Frames are written so: Bullet's Panda has two."""
    frame = link("grasp", INERTIAL.format(mass=0, i=(0.1, 0.1, 0.1)))
    parts = link("base", GOOD), link("hand", GOOD), joint("wrist", "base", "hand"), frame
    model = dojo.load(robot(*parts, joint("mount", "hand", "grasp", "fixed")))
    np.testing.assert_allclose(model.link_inertia[1], 0.1 * np.eye(3), atol=1e-15)
    assert any("links without mass have no effect: grasp" in note for note in model.topology.notes)


def test_rounded_inertias_are_none_of_the_user_s_business():
    model = dojo.load(arm(tip=INERTIAL.format(mass=2, i=(0.1, 0.2, 0.3 + 1e-8))))
    np.testing.assert_allclose(np.diag(model.link_inertia[1]), (0.1, 0.2, 0.3), rtol=1e-6)


def test_options_of_the_compiler_and_points_that_are_fixed():
    wrong = INERTIAL.format(mass=2, i=(0.1, 0.1, 0.3))
    option = '<mujoco><compiler balanceinertia="true"/></mujoco>'
    assert kinds(arm(tip=wrong, extension=option)) == ("free", "hinge")
    point = INERTIAL.format(mass=0.01, i=(0, 0, 0))
    parts = link("base", GOOD), link("imu", point), joint("mount", "base", "imu", "fixed")
    np.testing.assert_allclose(dojo.load(robot(*parts)).link_mass, [1.01])


def test_a_possible_inertia_stays():
    moments = (0.1, 0.2, 0.3)  # a flat plate, at the bound
    text = arm(tip=INERTIAL.format(mass=2, i=moments))
    for repair in (False, True):
        model = dojo.load(text, repair_inertia=repair)
        np.testing.assert_allclose(np.diag(model.link_inertia[1]), moments, rtol=1e-12)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_nearest_inertia_is_possible_and_nearest(seed):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(3, 3))
    wrong = half + half.T
    repaired = nearest_possible(wrong, mass=1.0)
    assert possible(repaired)

    def spread(inertia):
        return 0.5 * np.trace(inertia) * np.eye(3) - inertia

    distance = np.linalg.norm(spread(repaired) - spread(wrong))
    for _ in range(20):
        points = rng.normal(size=(4, 3)) * rng.uniform(0.01, 1)
        other = points.T @ points + 1e-6 * np.eye(3)  # the spread of some body
        assert np.linalg.norm(other - spread(wrong)) >= distance - 1e-12
    np.testing.assert_allclose(nearest_possible(repaired, 1.0), repaired, atol=1e-12)


# Meshes


def box_file(path, kind="stl"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(kind))


def encoded(kind):
    data = trimesh.creation.box((0.2, 0.4, 0.6)).export(file_type=kind)
    return data if isinstance(data, bytes) else data.encode()


def with_mesh(path):
    shape = f'<collision><geometry><mesh filename="{path}"/></geometry></collision>'
    return robot(link("base", GOOD, shape))


@pytest.mark.parametrize(
    "asked",
    [
        "package://my_robot/meshes/box.stl",
        "package://elsewhere/meshes/box.stl",
        "model://my_robot/meshes/box.stl",
        "meshes/box.stl",
        "../meshes/box.stl",
        "wrong/meshes/box.stl",
        "/home/other/ws/src/my_robot/meshes/box.stl",
        "meshes\\box.stl",
    ],
)
def test_meshes_are_found_upwards(tmp_path, asked):
    folder = tmp_path / "my_robot"
    box_file(folder / "meshes" / "box.stl")
    (folder / "urdf").mkdir()
    file = folder / "urdf" / "robot.urdf"
    file.write_text(with_mesh(asked))
    model = dojo.load(file)
    assert model.topology.geom_kind == ("mesh",)
    size = np.ptp(np.asarray(model.topology.geom_mesh[0].vertices), axis=0)
    np.testing.assert_allclose(sorted(size), [0.2, 0.4, 0.6], atol=1e-6)


def test_a_bare_name_is_not_searched_for_upwards(tmp_path):
    """A file of the same name in some folder above is another mesh."""
    box_file(tmp_path / "box.stl")
    (tmp_path / "my_robot").mkdir()
    file = tmp_path / "my_robot" / "robot.urdf"
    file.write_text(with_mesh("package://my_robot/meshes/box.stl"))
    with pytest.raises(dojo.ModelError, match="is not there"):
        dojo.load(file)
    box_file(tmp_path / "my_robot" / "box.stl")
    assert dojo.load(file).topology.geom_kind == ("mesh",)


def test_the_unit_of_collada_files(tmp_path):
    data = encoded("dae").decode()
    assert "<unit" not in data
    asset = data.index("</asset>")
    (tmp_path / "box.dae").write_text(
        data[:asset] + '<unit name="cm" meter="0.01"/>' + data[asset:]
    )
    file = tmp_path / "robot.urdf"
    file.write_text(with_mesh("box.dae"))
    size = np.ptp(np.asarray(dojo.load(file).topology.geom_mesh[0].vertices), axis=0)
    np.testing.assert_allclose(sorted(size), [0.002, 0.004, 0.006], atol=1e-6)


def test_a_mesh_that_is_nowhere(tmp_path):
    file = tmp_path / "robot.urdf"
    file.write_text(with_mesh("package://my_robot/lost.stl"))
    with pytest.raises(dojo.ModelError, match=r"lost.stl' is not there. Looked .* upwards"):
        dojo.load(file)


@pytest.mark.parametrize("kind", ["stl_ascii", "ply", "glb", "dae", "off"])
def test_other_formats_are_converted(tmp_path, kind):
    suffix = "stl" if kind == "stl_ascii" else kind
    (tmp_path / f"box.{suffix}").write_bytes(encoded(kind))
    file = tmp_path / "robot.urdf"
    file.write_text(with_mesh(f"box.{suffix}"))
    size = np.ptp(np.asarray(dojo.load(file).topology.geom_mesh[0].vertices), axis=0)
    np.testing.assert_allclose(sorted(size), [0.2, 0.4, 0.6], atol=1e-6)


def test_a_mesh_that_cannot_be_read(tmp_path):
    (tmp_path / "box.ply").write_text("no mesh at all")
    file = tmp_path / "robot.urdf"
    file.write_text(with_mesh("box.ply"))
    with pytest.raises(dojo.ModelError, match="mesh 'box.ply': cannot be read"):
        dojo.load(file)


def test_meshes_of_one_name(tmp_path):
    """Two files of the same name in two folders are two meshes."""
    box_file(tmp_path / "a" / "part.stl")
    (tmp_path / "b").mkdir()
    ball = trimesh.creation.icosphere(1, 0.05)
    (tmp_path / "b" / "part.stl").write_bytes(ball.export(file_type="stl"))
    shapes = "".join(
        f'<collision><geometry><mesh filename="{f}/part.stl"/></geometry></collision>' for f in "ab"
    )
    file = tmp_path / "robot.urdf"
    file.write_text(robot(link("base", GOOD, shapes)))
    sizes = [np.ptp(mesh.vertices, axis=0).max() for mesh in dojo.load(file).topology.geom_mesh]
    np.testing.assert_allclose(sorted(sizes), [0.1, 0.6], atol=0.01)


def test_visual_meshes_are_not_needed():
    shape = '<visual><geometry><mesh filename="package://lost/skin.dae"/></geometry></visual>'
    assert dojo.load(robot(link("base", GOOD, SPHERE, shape))).topology.geom_kind == ("sphere",)


# Other troubles


def test_shapes_without_size_are_left_out():
    nothing = '<collision><geometry><box size="0 .1 .1"/></geometry></collision>'
    model = dojo.load(robot(link("base", GOOD, SPHERE, nothing)))
    assert model.topology.geom_kind == ("sphere",)
    assert any("without size left out, of links base" in note for note in model.topology.notes)


def test_a_material_that_is_defined_twice():
    color = '<material name="grey"><color rgba=".5 .5 .5 1"/></material>'
    keep = '<mujoco><compiler discardvisual="false"/></mujoco>'
    shape = f'<visual><geometry><sphere radius=".1"/></geometry>{color}</visual>'
    parts = link("base", GOOD, shape), link("tip", GOOD, shape), joint("elbow", "base", "tip")
    model = dojo.load(robot(color, *parts, extension=keep))
    np.testing.assert_allclose(model.topology.geom_rgba, [[0.5, 0.5, 0.5, 1]] * 2)


def test_what_follows_the_end_of_the_robot_is_not_read():
    assert kinds(arm() + "\n\x00\x00") == ("free", "hinge")


def test_odd_xml():
    """Prefixes without a declaration, a namespace, quotes in names, meshes of extensions."""
    odd = arm(extension='<sim:x a:b="1"/><gazebo><mesh filename="lost.dae"/></gazebo>')
    assert kinds(odd.replace("tip", "it's")) == ("free", "hinge")
    assert kinds(arm().replace("<robot", '<robot xmlns="http://example.org"')) == ("free", "hinge")
    assert kinds('\ufeff<?xml version="1.0" encoding="utf-8"?><!-- r -->' + arm())[0] == "free"


def test_a_comment_about_a_robot_makes_no_urdf():
    mjcf = """<!-- made from <robot name="r"></robot> --><mujoco><worldbody><body><joint/>
      <geom size=".1"/></body></worldbody></mujoco>"""
    assert kinds(mjcf) == ("hinge",)


def test_a_cycle_of_fixed_joints_is_refused():
    parts = [link(name, GOOD) for name in ("r", "a", "b")]
    joints = [joint(p + c, p, c, "fixed") for p, c in (("r", "a"), ("a", "b"), ("b", "a"))]
    with pytest.raises(dojo.ModelError):
        dojo.load(robot(*parts, *joints))


def test_a_file_in_another_encoding(tmp_path):
    file = tmp_path / "robot.urdf"
    head = '<?xml version="1.0" encoding="iso-8859-1"?>'
    file.write_bytes((head + arm().replace("elbow", "h\u00fcfte")).encode("latin-1"))
    assert dojo.load(file).topology.joint_names == ("root", "h\u00fcfte")


def test_a_missing_urdf_is_missing():
    with pytest.raises(dojo.ModelError, match="no such file"):
        dojo.load("missing.urdf", root="fixed")


def test_a_malformed_file_is_refused_as_such():
    with pytest.raises(dojo.ModelError, match="malformed"):
        dojo.load(arm().replace("</joint>", ""), root="fixed")


def test_a_xacro_is_named():
    robot = '<robot xmlns:xacro="http://ros.org/wiki/xacro" name="r">{}</robot>'
    with pytest.raises(dojo.ModelError, match="is a xacro. Expand it first"):
        dojo.load(robot.format('<xacro:include filename="arm.xacro"/>'))


def test_macros_in_comments_are_none():
    """What xacro expands keeps the comments of its source, of several lines and macros too."""
    note = '<!--xacro:property name="a" value="${1}"/>\n<xacro:include filename="a.xacro"/-->'
    plain, noted = (
        dojo.load(x, root="fixed") for x in (arm(), arm().replace("<link", note + "<link", 1))
    )
    assert noted.topology.link_names == plain.topology.link_names


@needs_suite
@pytest.mark.parametrize(
    "file",
    [
        "drake_models/atlas/atlas_convex_hull.urdf",
        "example-robot-data/robots/ur_description/urdf/ur5_joint_limited_robot.urdf",
        "pybullet_data/franka_panda/panda.urdf",
        "pydrake-examples/share/drake/examples/acrobot/Acrobot.urdf",
    ],
)
def test_originals_load_as_their_repaired_copies_do(file):
    """Beside each lies a copy with relative paths and without visuals, made for MuJoCo."""
    original, copy = (dojo.load(SUITE / f) for f in (file, file.replace(".urdf", ".mj.urdf")))
    assert original.topology.joint_names == copy.topology.joint_names
    np.testing.assert_allclose(original.link_mass, copy.link_mass)
    np.testing.assert_allclose(original.geom_pos, copy.geom_pos, atol=1e-9)


# Motors and names


def geared(*transmissions, extra=""):
    limited = joint("elbow", "base", "tip", "revolute").replace(
        "</joint>", '<limit lower="-1" upper="1" effort="12" velocity="3"/></joint>'
    )
    free = joint("wrist", "tip", "hand")
    parts = link("base"), link("tip", GOOD), link("hand", GOOD)
    return robot(*parts, limited, free, *transmissions, extra)


TRANSMISSION = """<transmission name="{name}"><joint name="{joint}"/>
  <actuator name="m"><mechanicalReduction>{gear}</mechanicalReduction></actuator></transmission>"""


def test_joints_get_motors_when_asked():
    assert dojo.load(geared()).nu == 0
    model = dojo.load(geared(), motors=True)
    assert model.topology.actuator_names == ("elbow", "wrist")
    np.testing.assert_array_equal(model.topology.actuators.ctrl_limited, [True, False])
    np.testing.assert_array_equal(model.actuator_ctrl_range[0], [-12, 12])
    state, _ = dojo.step(model.replace(gravity=np.zeros(3)), dojo.init(model), [50.0, 0.0])
    least, _ = dojo.step(model.replace(gravity=np.zeros(3)), dojo.init(model), [12.0, 0.0])
    np.testing.assert_allclose(state.v, least.v)
    assert state.v[0] != 0


def test_transmissions_are_motors_with_gears():
    model = dojo.load(geared(TRANSMISSION.format(name="drive", joint="elbow", gear=4)), motors=True)
    assert model.topology.actuator_names == ("drive",)
    np.testing.assert_allclose(model.actuator_gear[0, 0], 4.0)
    np.testing.assert_allclose(model.actuator_ctrl_range, [[-3.0, 3.0]])


def test_what_follows_another_joint_gets_no_motor():
    mimic = joint("finger", "hand", "thumb").replace("</joint>", '<mimic joint="wrist"/></joint>')
    model = dojo.load(geared(link("thumb", GOOD), mimic), motors=True)
    assert model.topology.actuator_names == ("elbow", "wrist")


@pytest.mark.parametrize(("of", "gear"), [("nothing", 2), ("elbow", 0)])
def test_impossible_transmissions_are_named(of, gear):
    text = geared(TRANSMISSION.format(name="drive", joint=of, gear=gear))
    with pytest.raises(dojo.ModelError, match=f"transmission drive of joint '{of}'"):
        dojo.load(text, motors=True)
    assert dojo.load(text).nu == 0


def test_motors_are_for_urdfs():
    with pytest.raises(ValueError, match=r"motors=True.*MJCF has <actuator>"):
        dojo.load("<mujoco/>", motors=True)


def test_links_that_are_fixed_to_others_keep_their_names():
    fixed = joint("flange", "tip", "tool", "fixed")
    parts = link("base"), link("tip", GOOD), link("tool", GOOD), joint("elbow", "base", "tip")
    model = dojo.load(robot(*parts, fixed))
    assert model.topology.link_names == ("tip",)
    np.testing.assert_allclose(model.link_mass, [2.0])
    poses = dojo.frame_poses(model, [np.pi / 2])
    # Turned by a quarter about y: what was above is ahead.
    np.testing.assert_allclose(poses.pos[model.frame("tool")], [1, 0, 1], atol=1e-12)
    np.testing.assert_allclose(poses.pos[model.frame("tip")], [0, 0, 1], atol=1e-12)
    with pytest.raises(dojo.ModelError, match=r"no frame 'tol'. Did you mean 'tool'"):
        model.frame("tol")


def test_joints_of_one_transmission_have_a_motor_each():
    pair = """<transmission name="pair"><joint name="elbow">
      <mechanicalReduction>2</mechanicalReduction></joint><joint name="wrist"/>
      <actuator name="m"><mechanicalReduction>5</mechanicalReduction></actuator></transmission>"""
    model = dojo.load(geared(pair), motors=True)
    assert model.topology.actuator_names == ("pair/elbow", "pair/wrist")
    np.testing.assert_allclose(model.actuator_gear[:, 0], [2.0, 5.0])


@pytest.mark.parametrize("effort", ["inf", "nan", "-3", "0"])
def test_efforts_that_are_none_end_no_control(effort):
    model = dojo.load(geared().replace('effort="12"', f'effort="{effort}"'), motors=True)
    assert not model.topology.actuators.ctrl_limited.any()
