"""`dojo simulate`: run a file and report what happened."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dojo.loaders.load import load
from dojo.metrics import energy
from dojo.model.model import Model
from dojo.model.state import State, init
from dojo.report import StepInfo
from dojo.rollout import rollout
from dojo.solver.options import SolverOptions
from dojo.solver.status import Status
from dojo.viewer import Visualizer

CHUNK = 50


def run(args: argparse.Namespace) -> int:
    """Simulate, report, write the animation; exit code 1 if a step did not converge."""
    model = load(
        args.file,
        args.timestep,
        ignore=args.ignore,
        root=args.root,
        repair_inertia=args.repair_inertia,
        motors=args.motors,
        overlapping_links=args.overlapping_links,
    )
    for note in model.topology.notes:
        print(f"note: {note}")
    steps = round(args.seconds / float(model.timestep))
    if steps < 1:
        raise ValueError(f"--seconds {args.seconds}: shorter than the timestep.")
    state = init(model, keyframe=args.keyframe)
    us = controls(model, args.control, steps, args.seed)
    started = time.perf_counter()
    options = SolverOptions(
        kappa=args.kappa, substeps=args.substeps, retry_substeps=args.retry_substeps
    )
    states, infos = simulate(model, state, us, options, show_progress)
    print(f"{steps} steps of {float(model.timestep):g} s in {time.perf_counter() - started:.1f} s")
    report(model, states, infos)
    if args.html:
        print(f"animation: {write_animation(model, states, args.html)}")
    return 0 if bool(np.all(infos.converged)) else 1


def write_animation(model: Model, states: State, path: Path) -> Path:
    """Write a self-contained page and return its absolute path."""
    viewer = Visualizer(model)
    viewer.play(states)
    return Path(viewer.save(path)).resolve()


def controls(model: Model, kind: str, steps: int, seed: int) -> np.ndarray:
    """Control sequence (steps, nu) by name or from a .npy file."""
    if kind == "zero":
        return np.zeros((steps, model.nu))
    if kind == "random":
        limits = np.asarray(model.actuator_ctrl_range)
        limited = model.topology.actuators.ctrl_limited[:, None]
        low, high = np.where(limited, limits, [-1.0, 1.0]).T
        return np.random.default_rng(seed).uniform(low, high, (steps, model.nu))
    frames = {k.name: k.ctrl for k in model.topology.keyframes}
    if kind in frames:
        return np.tile(np.array(frames[kind]), (steps, 1))
    if not Path(kind).is_file():
        raise ValueError(
            f"--control {kind}: neither zero, random, a keyframe ({', '.join(frames) or 'none'}), "
            "nor a .npy file."
        )
    us = np.load(kind)
    if us.shape != (steps, model.nu):
        raise ValueError(f"--control {kind}: shape {us.shape}, expected {(steps, model.nu)}.")
    return us


def simulate(
    model: Model,
    state: State,
    us: np.ndarray,
    options: SolverOptions,
    progress: Callable[[int, int], None],
) -> tuple[State, StepInfo]:
    """A rollout in compiled chunks, so that progress can be told."""
    chunk = min(CHUNK, len(us))
    padded = np.concatenate([us, np.zeros((-len(us) % chunk, model.nu))])
    advance = jax.jit(lambda s, u: rollout(model, s, u, options=options))
    parts = []
    for k in range(0, len(padded), chunk):
        parts.append(advance(state, jnp.asarray(padded[k : k + chunk])))
        state = jax.tree.map(lambda x: x[-1], parts[-1][0])
        jax.block_until_ready(state)
        progress(min(k + chunk, len(us)), len(us))
    states, infos = jax.tree.map(lambda *x: np.concatenate(x)[: len(us)], *parts)
    return states, infos


def show_progress(done: int, steps: int) -> None:
    """A counter on the terminal; nothing when the output goes to a file."""
    if sys.stderr.isatty():
        print(f"\r{done}/{steps}", end="" if done < steps else "\n", file=sys.stderr, flush=True)


def report(model: Model, states: State, infos: StepInfo) -> None:
    """Convergence, gaps and energy of a simulation."""
    status, counts = np.unique(np.asarray(infos.status), return_counts=True)
    for code, count in zip(status, counts, strict=True):
        name = Status(int(code))
        print(f"{count} steps {name.name}" + ("" if code == 0 else f": {name.message}"))
    parts, counts = np.unique(np.asarray(infos.parts), return_counts=True)
    for part, count in zip(parts, counts, strict=True):
        if part > 1:
            print(f"{count} steps in {part} parts")
    iterations = np.asarray(infos.iterations)
    print(f"iterations: mean {iterations.mean():.1f}, most {iterations.max()}")
    if model.topology.nc:
        print(f"smallest gap: {np.asarray(infos.contacts.gap).min():.3e} m")
    last = jax.tree.map(lambda x: jnp.asarray(x[-1]), states)
    final = energy(model, last)
    print(f"final energy: kinetic {float(final.kinetic):.4g} J, potential {final.potential:.4g} J")
