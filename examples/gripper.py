"""A gripper on a wrist turns a box that it holds between its fingers.

    python examples/gripper.py panda_gripper.xml --out gripper.html

The file is robosuite's Panda gripper (robosuite/models/assets/grippers/panda_gripper.xml, MIT). It
is put on a wrist, points along x, and turns by 90 degrees: the grip is across gravity, then along
it. Printed is how far the box slipped: `tests/verification/test_scenes.py` holds that against the
weights, springs and dry friction at work.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import mujoco
import numpy as np

import dojo
from dojo.cli.simulation import report, show_progress, simulate, write_animation

jax.config.update("jax_enable_x64", True)
GRAVITY, KAPPA, TIMESTEP, STEPS = 9.81, 1e-11, 0.01, 300
HELD, REACH = 0.2, 0.105  # the box: mass [kg], how far in front of the wrist [m]
APART = 0.01251  # of each finger, from its guide's zero [m]: it touches the box
FINGERS = "hand finger_joint1", "hand finger_joint2"


class Turn(NamedTuple):
    """What happened; angles about the axis of the wrist."""

    wrist: np.ndarray  # (STEPS,) [rad]
    angle: np.ndarray  # (STEPS,) of the box [rad]
    place: np.ndarray  # (STEPS, 3) of the box [m]
    along: np.ndarray  # (STEPS,) how far it slipped along the fingers [m]


def load(path: str | Path) -> dojo.Model:
    """The gripper of a file on a wrist, with a box between its fingers."""
    spec = mujoco.MjSpec.from_string(
        f"""<mujoco><option gravity="0 0 {-GRAVITY}"/><worldbody>
        <body name="wrist" euler="0 90 0"><joint name="wrist" axis="0 0 1" damping="1"/>
          <inertial pos="0 0 0" mass="1" diaginertia=".01 .01 .01"/></body>
        <body name="held" pos="{REACH} 0 0"><freejoint name="held"/>
          <geom name="held" type="box" size=".03 .012 .02" mass="{HELD}" friction="1"
            rgba=".75 .55 .35 1"/></body>
        </worldbody>
        <actuator><position name="wrist" joint="wrist" kp="50" kv="5"/></actuator></mujoco>"""
    )
    hand = mujoco.MjSpec.from_file(str(path))
    spec.body("wrist").add_frame().attach_body(hand.body("right_gripper"), "hand ", "")
    return dojo.load(spec, TIMESTEP)


def start(model: dojo.Model) -> dojo.State:
    """The fingers at the box."""
    q = np.array(model.q_rest)
    q[_places(model, *FINGERS)] = APART, -APART
    return dojo.init(model, q=q)


def controls(model: dojo.Model) -> np.ndarray:
    """The angle that the wrist is to have in each step, (STEPS, nu), after half a second."""
    us = np.zeros((STEPS, model.nu))
    turn = np.clip((np.arange(STEPS) * TIMESTEP - 0.5) / 1.5, 0, 1) * np.pi / 2
    us[:, model.topology.actuator_names.index("wrist")] = turn
    return us


def turn(model: dojo.Model, states: dojo.State) -> Turn:
    """What states (STEPS, ...) tell of the box."""
    q = np.asarray(states.q)
    wrist, first = q[:, _places(model, "wrist")[0]], _places(model, "held")[0]
    place, quat = q[:, first : first + 3], q[:, first + 3 : first + 7]
    # Across the grip it may only follow the wrist.
    across = np.stack([np.cos(wrist), np.sin(wrist)], axis=1)
    off = place[:, 1:] - across * (across * place[:, 1:]).sum(axis=1, keepdims=True)
    along = np.hypot(place[:, 0] - REACH, np.linalg.norm(off, axis=1))
    return Turn(wrist, 2 * np.arctan2(quat[:, 1], quat[:, 0]), place, along)


def _places(model: dojo.Model, *joints: str) -> np.ndarray:
    """Where the joints' coordinates begin in q."""
    return model.topology.q_start[[model.topology.joint_names.index(name) for name in joints]]


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, print the figures; exit code 1 if a step did not converge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="robosuite's panda_gripper.xml")
    parser.add_argument("--out", type=Path, help="write a self-contained animation here")
    args = parser.parse_args(argv)
    model = load(args.file)
    for note in model.topology.notes:
        print(f"note: {note}")
    options = dojo.SolverOptions(kappa=KAPPA)
    states, infos = simulate(model, start(model), controls(model), options, show_progress)
    report(model, states, infos)
    done = turn(model, states)
    print(f"wrist turned by {np.degrees(done.wrist[-1]):.3f} degrees")
    print(f"slip about it: at most {np.abs(done.angle - done.wrist).max():.2e} rad")
    print(f"along the fingers: {done.along.max():.2e} m, in the last half second", end=" ")
    print(f"{np.ptp(done.along[-round(0.5 / TIMESTEP) :]):.2e} m")
    if args.out:
        print(f"animation: {write_animation(model, states, args.out)}")
    return 0 if bool(np.all(infos.converged)) else 1


if __name__ == "__main__":
    sys.exit(main())
