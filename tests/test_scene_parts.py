"""Scenes of several files: a table, a robot, objects, without XML written by hand."""

import mujoco
import numpy as np
import pytest
from paths import MODELS
from test_urdf import SPHERE, arm

import dojo

TABLE = """<mujoco model="table"><option timestep="0.004" gravity="0 0 -9.8"/>
  <compiler angle="radian"/><worldbody><geom name="top" type="box" size=".5 .5 .02" pos="0 0 .4"/>
  </worldbody></mujoco>"""
CUBE = """<mujoco model="cube"><option timestep="0.1" gravity="0 0 0"/><default><geom rgba="1 0 0 1"
  friction=".3"/></default><worldbody><body name="cube" pos="0 0 .05"><freejoint name="free"/>
  <geom name="box" type="box" size=".05 .05 .05" mass=".2" euler="0 0 90"/><site name="top"
  pos="0 0 .05"/></body></worldbody>
  <keyframe><key name="up" qpos="0 0 1 1 0 0 0"/></keyframe></mujoco>"""
QUARTER = (np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5))


def scene():
    return dojo.load(
        [
            TABLE,
            dojo.Part(CUBE, prefix="a/", pos=(0.1, 0.2, 0.42)),
            dojo.Part(CUBE, prefix="b/", pos=(-0.2, 0.2, 0.42), quat=QUARTER),
            dojo.Part(MODELS / "arm.urdf", prefix="arm/", pos=(0, -0.3, 0.42), motors=True),
        ],
        dtype="float64",
    )


def test_parts_stand_where_they_are_put_under_their_names():
    model = scene()
    assert float(model.timestep) == 0.004
    np.testing.assert_allclose(model.gravity, [0, 0, -9.8])
    assert model.nq == 14 + 6
    assert model.nu == 6
    assert model.topology.actuator_names[0].startswith("arm/")
    poses = dojo.frame_poses(model, model.q_rest)
    np.testing.assert_allclose(poses.pos[model.frame("a/top")], [0.1, 0.2, 0.52], atol=1e-12)
    np.testing.assert_allclose(poses.rot[model.frame("b/cube")][:, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(poses.pos[model.frame("arm/shoulder")][:2], [0, -0.3], atol=1e-12)
    # Defaults and angles are those of each file.
    np.testing.assert_allclose(model.geom_friction[model.geom("a/box")], 0.3)
    np.testing.assert_allclose(model.geom_friction[model.geom("top")], 1.0)
    # Keyframes would stay where the file has them.
    assert model.topology.keyframes == ()
    assert any("keyframes left out" in note for note in model.topology.notes)
    assert dojo.load([TABLE, dojo.Part(CUBE, prefix="c/")]).topology.keyframes[0].name == "c/up"


def test_a_scene_is_that_of_one_file():
    """Cubes on a table, as in a file that holds them all."""
    parts = [dojo.Part(CUBE, prefix=f"{k}/", pos=(0.2 * k, 0, 0.45)) for k in range(2)]
    model = dojo.load([TABLE, *parts], dtype="float64")
    body = """<body name="{k}/cube" pos="{x} 0 .5"><freejoint/><geom type="box" size=".05 .05 .05"
      mass=".2" euler="0 0 1.5707963267948966" friction=".3"/></body>"""
    bodies = "".join(body.format(k=k, x=0.2 * k) for k in range(2))
    whole = dojo.load(TABLE.replace("</worldbody>", bodies + "</worldbody>"), dtype="float64")
    assert model.topology.contacts == whole.topology.contacts
    for name in ("q_rest", "link_mass", "link_inertia", "geom_pos", "geom_size", "geom_friction"):
        np.testing.assert_allclose(getattr(model, name), getattr(whole, name), atol=1e-14)


def test_a_specification_stays_as_it_is():
    spec = mujoco.MjSpec.from_string(CUBE)
    for _ in range(2):
        model = dojo.load([TABLE, dojo.Part(spec, prefix="c/")])
        assert model.topology.link_names == ("c/cube",)
    assert spec.option.timestep == 0.1


@pytest.mark.parametrize(
    ("parts", "error", "named"),
    [
        ([], ValueError, "at least one part"),
        ([dojo.Part(TABLE, prefix="t/")], ValueError, "first part is the world"),
        ([dojo.Part(TABLE, pos=(1, 0, 0))], ValueError, "first part is the world"),
        ([TABLE, CUBE], ValueError, r"all but the first need one of their own"),
        (
            [TABLE, dojo.Part(CUBE, prefix="a/"), dojo.Part(CUBE, prefix="a/")],
            ValueError,
            r"\['a/', 'a/'\]",
        ),
        ([TABLE, dojo.Part(CUBE, prefix="a/", quat=(0, 0, 0, 0))], ValueError, "not zero"),
        ([TABLE, dojo.Part("nowhere.xml", prefix="a/")], dojo.ModelError, "nowhere.xml: no such"),
        ([TABLE, dojo.Part(CUBE, prefix="a/", motors=True)], ValueError, "is for URDF files"),
    ],
)
def test_bad_scenes_are_named(parts, error, named):
    with pytest.raises(error, match=named):
        dojo.load(parts)


def test_what_belongs_to_a_part_is_not_asked_of_the_scene():
    with pytest.raises(ValueError, match=r"are those of a part: dojo.Part"):
        dojo.load([TABLE, dojo.Part(arm(), prefix="arm/")], root="fixed")


def test_restitution_of_parts_is_noted():
    ball = arm().replace(SPHERE, SPHERE + '<contact><restitution value=".5"/></contact>')
    model = dojo.load([TABLE, dojo.Part(ball, prefix="arm/")])
    assert any("restitution of URDF parts is not read" in n for n in model.topology.notes)
