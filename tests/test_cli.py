"""The command line, in process."""

import os
from importlib.metadata import version

import numpy as np
import pytest
from chains import CHAIN
from paths import MODELS

from dojo.cli.main import main

MUSCLE = """<mujoco><worldbody>
  <body name="one"><joint name="a" range="-90 90"/>
    <geom size=".1" contype="0" conaffinity="0"/></body>
</worldbody><actuator><muscle joint="a"/></actuator></mujoco>"""


@pytest.fixture(autouse=True)
def _no_cache_on_disk(monkeypatch):
    """The commands keep compiled functions on disk, unless the user has chosen a place."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))  # main may add to them


def test_a_command_chooses_a_code_generator_unless_the_user_has(monkeypatch, capsys):
    older = "--xla_cpu_use_fusion_emitters=false"
    monkeypatch.setenv("XLA_FLAGS", "--xla_a")
    known = version("jaxlib").startswith("0.10.")
    assert main(["inspect", str(MODELS / "sphere.xml")]) == 0
    assert os.environ["XLA_FLAGS"] == (f"--xla_a {older}" if known else "--xla_a")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=true")
    assert main(["inspect", str(MODELS / "sphere.xml")]) == 0
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_use_fusion_emitters=true"
    capsys.readouterr()


def test_simulate_writes_an_animation(tmp_path, capsys):
    page = tmp_path / "ball.html"
    code = main(["simulate", str(MODELS / "sphere.xml"), "--seconds", "0.2", "--html", str(page)])
    out = capsys.readouterr().out
    assert code == 0
    assert "20 steps CONVERGED" in out
    assert page.stat().st_size > 100_000
    assert str(page) in out


def test_simulate_with_controls_from_a_file(tmp_path, capsys):
    us = tmp_path / "us.npy"
    np.save(us, np.full((10, 1), 2.0))
    file = str(MODELS / "pendulum.xml")
    assert main(["simulate", file, "--seconds", "0.1", "--control", str(us)]) == 0
    assert main(["simulate", file, "--seconds", "0.2", "--control", str(us)]) == 2
    assert "expected (20, 1)" in capsys.readouterr().err


def test_simulate_takes_steps_again_in_parts(tmp_path, capsys):
    """The first step is not solved as a whole, and the code says so unless it is taken again."""
    file = tmp_path / "chain.xml"
    file.write_text(CHAIN)
    command = ["simulate", str(file), "--seconds", "0.1", "--keyframe", "fast"]
    assert main(command) == 1
    assert "1 steps STEP_TOO_LARGE" in capsys.readouterr().out
    assert main([*command, "--retry-substeps", "16"]) == 0
    assert "1 steps in 16 parts" in capsys.readouterr().out


def test_inspect_lists_the_model(capsys):
    assert main(["inspect", str(MODELS / "quadruped.xml")]) == 0
    out = capsys.readouterr().out
    assert "nq 19, nv 18, nu 12" in out
    assert "home" in out


def test_the_root_of_a_urdf(capsys):
    """The arm stands on a link that is called world."""
    file = str(MODELS / "arm.urdf")
    assert main(["inspect", file]) == 0
    assert "nv 6," in capsys.readouterr().out
    assert main(["inspect", file, "--root", "fixed"]) == 0
    assert "nv 6," in capsys.readouterr().out
    assert main(["inspect", str(MODELS / "box.xml"), "--root", "fixed"]) == 2
    assert "is for URDF files" in capsys.readouterr().err


def test_unsupported_features_are_named(tmp_path, capsys):
    file = tmp_path / "two.xml"
    file.write_text(MUSCLE)
    assert main(["simulate", str(file)]) == 2
    assert "muscle" in capsys.readouterr().err
    assert main(["inspect", str(file)]) == 1
    assert "Not supported" in capsys.readouterr().out
    assert main(["inspect", str(file), "--ignore", "actuator"]) == 0
    assert "ignored on request" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate", "missing.xml"], "no such file"),
        (["simulate", str(MODELS / "box.xml"), "--seconds", "0"], "shorter than the timestep"),
        (["simulate", str(MODELS / "box.xml"), "--timestep", "-1"], "timestep"),
        (["simulate", str(MODELS / "box.xml"), "--control", "sideways"], "neither zero, random"),
        (["simulate", str(MODELS / "box.xml"), "--keyframe", "home"], "no keyframe"),
    ],
)
def test_bad_use_is_explained(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_demo(tmp_path, capsys):
    page = tmp_path / "demo.html"
    assert main(["demo", "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert page.exists()
    line = next(text for text in out.splitlines() if "central difference" in text)
    gradient, difference = (float(part.split()[-1]) for part in line.split(","))
    assert gradient == pytest.approx(difference, rel=1e-4)
    assert abs(gradient) > 1e-4
