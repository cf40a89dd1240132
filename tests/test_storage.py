"""Saved models: the same robot comes back, or the file is refused by name."""

import contextlib

import jax
import numpy as np
import pytest
from paths import MODELS
from test_paths import PATHS
from test_sensors import ROBOT
from test_urdf import arm

import dojo
from dojo.model.model import parameter_names
from dojo.model.storage import FORMAT

SOURCES = [
    pytest.param(MODELS / "quadruped.xml", id="quadruped"),
    pytest.param(ROBOT, id="sensors"),
    pytest.param(PATHS, id="tendons"),
    pytest.param(arm(), id="urdf"),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("source", SOURCES)
def test_a_model_comes_back(source, dtype, tmp_path):
    """Equal to the bit; equal structures share their compilations."""
    model = dojo.load(source, dtype=dtype)
    model = model.replace(link_mass=model.link_mass * 1.0625, timestep=0.0123)
    dojo.save(model, tmp_path / "robot.dojo")
    again = dojo.load_model(tmp_path / "robot.dojo")
    assert again.topology == model.topology
    assert hash(again.topology) == hash(model.topology)
    for name in parameter_names():
        ours, reference = getattr(again, name), getattr(model, name)
        assert ours.dtype == reference.dtype
        np.testing.assert_array_equal(ours, reference)


def test_height_fields_and_meshes_come_back(tmp_path):
    xml = """<mujoco><asset><hfield name="h" nrow="3" ncol="4" size="1 1 .2 .1"
      elevation="0 1 2 3 1 2 0 1 .5 0 0 1"/>
      <mesh name="wedge" vertex="-.1 -.1 0  .1 -.1 0  0 .1 0  0 0 .15"/></asset>
      <worldbody><geom type="hfield" hfield="h"/><body pos="0 0 1"><freejoint/>
      <geom type="mesh" mesh="wedge"/></body></worldbody>
      <keyframe><key name="up" qpos="0 0 2 1 0 0 0"/></keyframe></mujoco>"""
    model = dojo.load(xml, restitution=0.5)
    dojo.save(model, tmp_path / "scene.dojo")
    again = dojo.load_model(tmp_path / "scene.dojo")
    assert again.topology == model.topology
    np.testing.assert_array_equal(
        dojo.init(again, keyframe="up").q, dojo.init(model, keyframe="up").q
    )
    assert again.report() == model.report()


def test_what_is_no_saved_model_is_refused(tmp_path):
    file = tmp_path / "robot.dojo"
    with pytest.raises(dojo.ModelError, match=r"robot.dojo: no such file"):
        dojo.load_model(file)
    file.write_text("<mujoco/>")
    with pytest.raises(dojo.ModelError, match=r"is no saved model. dojo.load reads MJCF"):
        dojo.load_model(file)
    with file.open("wb") as out:
        np.savez(out, a=np.zeros(3))
    with pytest.raises(dojo.ModelError, match="is no saved model"):
        dojo.load_model(file)
    with file.open("wb") as out:
        np.save(out, np.zeros(3))
    with pytest.raises(dojo.ModelError, match="is no saved model"):
        dojo.load_model(file)


def damaged(path, change):
    """The file again, with its members changed."""
    with np.load(path) as file:
        members = {key: file[key] for key in file.files}
    change(members)
    with path.open("wb") as out:
        np.savez(out, **members)


def test_what_does_not_fit_is_refused(tmp_path):
    file = tmp_path / "box.dojo"
    model = dojo.load(MODELS / "box.xml")

    def other_format(members):
        text = str(members["description"]).replace(f'"format": {FORMAT}', '"format": 99')
        members["description"] = np.array(text)

    def missing(members):
        del members["model/link_mass"]

    def not_a_number(members):
        members["model/link_mass"] = np.full_like(members["model/link_mass"], np.nan)

    def other_class(members):
        text = str(members["description"]).replace('"Topology"', '"Model"')
        members["description"] = np.array(text)

    cases = [
        (other_format, f"has format 99, this version of dojo reads {FORMAT}"),
        (missing, "cannot be used here .*model/link_mass"),
        (not_a_number, "link_mass: holds a NaN"),
        (other_class, "cannot be used here"),
    ]
    for change, message in cases:
        dojo.save(model, file)
        damaged(file, change)
        with pytest.raises(dojo.ModelError, match=message):
            dojo.load_model(file)


def test_damaged_archives_are_refused(tmp_path):
    """Bytes changed anywhere: the model, or a ModelError."""
    file, rng = tmp_path / "box.dojo", np.random.default_rng(0)
    dojo.save(dojo.load(MODELS / "box.xml"), file)
    data = file.read_bytes()
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 5)):
            broken[place] = rng.integers(256)
        file.write_bytes(broken)
        with contextlib.suppress(dojo.ModelError):
            dojo.load_model(file)


def test_precision_that_is_off_is_told(tmp_path):
    file = tmp_path / "box.dojo"
    dojo.save(dojo.load(MODELS / "box.xml", dtype="float64"), file)
    with jax.enable_x64(False):
        with pytest.raises(dojo.ModelError, match=r"float64: switch on jax_enable_x64, or"):
            dojo.load_model(file)
        assert dojo.load_model(file, dtype="float32").dtype == np.float32
