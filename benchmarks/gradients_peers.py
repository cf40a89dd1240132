"""Jacobians of one contact step in Drake and Nimble: their cost and their error; one core.

    python -m venv peers && peers/bin/pip install drake nimblephysics mujoco "numpy<2"
    peers/bin/python benchmarks/gradients_peers.py --models ant hopper --out results.json

Nimble 0.10.52 crashes under numpy 2, hence a virtual environment of its own; dojo is not needed. An
engine that cannot be imported is skipped. Each model is settled in contact under random control.
Then, in microseconds a call from Python, the best of five repetitions:

- a step, from a state and joint torques that are set anew;
- the step with its Jacobians A and B by the engine's own derivatives;
- the same by central differences of the engine's own step, 2 (nx + nu) steps.

`own_fd_error` is the relative error of the second against the third (Frobenius norm), the largest
of eight states in contact. Times are of the first state. The state is the engine's own: Drake's has
a quaternion, Nimble's a rotation vector. The control is the torque at each motor's joint, so that B
is dojo's up to the gears. What differs from dojo and MuJoCo:

- Drake's penetration queries have no derivatives for capsules and boxes against a half-space. Both
  engines get spheres instead, two for a capsule and eight tiny ones for a box, against the floor
  only. For capsules these are MuJoCo's contacts.
- Drake's parser leaves out joint stiffness, timestep and collision filters; they are set here. The
  friction of a contact is the harmonic mean of the two bodies' (hopper's foot 1.24, not 2). TAMSI
  barely holds joint limits of light links with armature: the ant's hips pass them by radians.
- Nimble reads no MJCF, so the skeleton is built joint by joint. It has no armature: the rotor's
  inertia goes to the links on both sides. Joint limits are off: its Jacobians crash when a limit is
  active. Damping and springs are explicit. It starts each contact problem cold here, else a step
  depends on the one before. When its solver fails it drops friction; such states are passed over.
"""

import argparse
import importlib.util
import json
import platform
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from gradients import DEFAULT, REPEATS, SETTLE, file_of
from peers import Peer
from speed import prepare_process

PACKAGES = {"drake": "pydrake", "nimble": "nimblephysics"}
CALLS, STATES = 5, 8  # calls in a repetition; states where the error is measured
STEP = 1e-6  # of the differences


def main() -> None:
    """Run the benchmark and print a line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(DEFAULT))
    parser.add_argument("--engines", nargs="+", default=list(PACKAGES), choices=list(PACKAGES))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    prepare_process()
    engines = [engine for engine in args.engines if usable(engine)]
    rows: list[dict[str, Any]] = []
    for name in args.models:
        m = mujoco.MjModel.from_xml_path(file_of(name))
        for peer in (peer for engine in engines for peer in peers(engine, name, m)):
            for row in measured(peer, m):
                print({"model": name} | row, flush=True)
                rows.append({"model": name} | row)
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(about(engines) | {"rows": rows}, indent=1) + "\n")


def usable(engine: str) -> bool:
    """Whether the engine can be imported; if not, say why."""
    if importlib.util.find_spec(PACKAGES[engine]) is None:
        print(f"{engine}: skipped, package {PACKAGES[engine]} is not installed", file=sys.stderr)
        return False
    if engine == "nimble" and int(np.__version__.split(".")[0]) >= 2:
        print(f"nimble: skipped, it crashes under numpy {np.__version__}", file=sys.stderr)
        return False
    return True


def about(engines: list[str]) -> dict[str, Any]:
    """Everything needed to read the figures later."""
    packages = {"drake": "drake", "nimble": "nimblephysics"}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.processor() or platform.machine(),
        "python": sys.version.split()[0],
        "versions": {p: version(p) for p in ["mujoco", "numpy", *(packages[e] for e in engines)]},
    }


def peers(engine: str, name: str, m: mujoco.MjModel) -> Iterator[Peer]:
    """A model in an engine, once for each of its solvers."""
    if engine == "nimble":
        from peers_nimble import nimble_peer

        yield nimble_peer(m)
    else:
        from peers_drake import APPROXIMATIONS, drake_peer

        yield from (drake_peer(file_of(name), m, a) for a in APPROXIMATIONS)


def measured(peer: Peer, m: mujoco.MjModel) -> Iterator[dict[str, Any]]:
    """A step, its Jacobians, and the same by differences, in contact."""
    states = [settled(peer, m, seed) for seed in range(STATES)]
    errors = [own_error(peer, x) for x in states]
    x = states[0]
    for what, call in {
        "step": peer.step,
        "A and B": peer.jacobians,
        "A and B, differences": lambda x: differences(peer.step, x),
    }.items():
        own = what == "A and B"
        note = f"contacts {peer.contacts(x)}, nx {x.size - m.nu}, nu {m.nu}"
        yield {
            "what": what,
            "engine": peer.engine,
            "microseconds": round(1e6 * best(lambda call=call: call(x)), 1),
            "own_fd_error": float(f"{max(errors):.1e}") if own else None,
            "note": f"{note}, median error {np.median(errors):.1e}" if own else note,
        }


def settled(peer: Peer, m: mujoco.MjModel, seed: int) -> np.ndarray:
    """Inputs of a step in contact, after SETTLE steps or more under random control."""
    rng = np.random.default_rng(seed)
    x = peer.start.copy()
    for k in range(10 * SETTLE):
        u = rng.uniform(-1, 1, m.nu)
        x[-m.nu :] = motor_torques(m, x[peer.motor_q], x[peer.motor_v], u)
        if k >= SETTLE and peer.contacts(x) > 0:
            return x
        x[: -m.nu] = peer.step(x)
    raise RuntimeError(f"{peer.engine}: no contact within {10 * SETTLE} steps")


def own_error(peer: Peer, x: np.ndarray) -> float:
    """Relative error of the engine's Jacobians against differences of its own step."""
    reference = differences(peer.step, x)
    return float(np.linalg.norm(peer.jacobians(x) - reference) / np.linalg.norm(reference))


def motor_torques(m: mujoco.MjModel, q: np.ndarray, v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Torques at the motors' joints: the gear times MuJoCo's affine law gain u + bias [1; q; v]."""
    gear, bias = m.actuator_gear[:, 0], m.actuator_biasprm
    u = np.where(m.actuator_ctrllimited, np.clip(u, *m.actuator_ctrlrange.T), u)
    force = m.actuator_gainprm[:, 0] * u + bias[:, 0] + gear * (bias[:, 1] * q + bias[:, 2] * v)
    return gear * np.where(m.actuator_forcelimited, np.clip(force, *m.actuator_forcerange.T), force)


def differences(step: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """[A B] by central differences in every coordinate of x."""
    moves = STEP * np.eye(x.size)
    return np.stack([(step(x + d) - step(x - d)) / (2 * STEP) for d in moves], axis=1)


def best(call: Callable[[], Any]) -> float:
    """Seconds of a call, in the fastest of a few repetitions."""
    return min(timeit.repeat(call, number=CALLS, repeat=REPEATS)) / CALLS


if __name__ == "__main__":
    main()
