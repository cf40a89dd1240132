"""Many consecutive steps of one robot in one process: failures, memory, drift of the quaternion.

    python benchmarks/soak.py --steps 1000000 --x64 --out benchmarks/results/soak_float64.json

Controls are random within their ranges, anew every tenth of a second. Memory is the resident size
of the process, read after each chunk; its growth is that of the second half of the run.
"""

import argparse
import json
import resource
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

import dojo

MODELS = Path(__file__).parents[1] / "models"
CHUNK = 1000
HOLD = 0.1  # [s] a random control lasts


def main() -> None:
    """Run, and print or write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="quadruped")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--timestep", type=float, default=0.01)
    parser.add_argument("--x64", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", args.x64)
    model = dojo.load(MODELS / f"{args.model}.xml", timestep=args.timestep)
    found = soak(model, -(-args.steps // CHUNK))
    found = {"model": args.model, "timestep": args.timestep, **header(args.x64), **found}
    print(json.dumps(found, indent=1))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


def soak(model: dojo.Model, chunks: int) -> dict[str, Any]:
    """Simulate `chunks` chunks in a row."""
    quats = quaternion_rows(model)
    hold = max(1, round(HOLD / float(model.timestep)))
    low, high = ranges(model)
    rng = np.random.default_rng(0)
    state, statuses, memory = dojo.init(model), np.zeros(len(dojo.Status), int), []
    iterations, most, gap, drift = 0, 0, np.inf, 0.0
    roll = jax.jit(dojo.rollout)
    started = time.perf_counter()
    for k in progress(chunks):
        us = rng.uniform(low, high, (-(-CHUNK // hold), model.nu)).repeat(hold, 0)[:CHUNK]
        states, infos = jax.device_get(roll(model, state, us))
        state = jax.tree.map(lambda x: x[-1], states)
        statuses += np.bincount(infos.status, minlength=len(statuses))
        iterations, most = iterations + infos.iterations.sum(), max(most, infos.iterations.max())
        gap = min(gap, infos.contacts.gap.min())
        drift = max(drift, np.abs(np.linalg.norm(states.q[:, quats], axis=2) - 1).max(initial=0))
        if k >= chunks // 2:
            memory.append(resident())
    named = {s.name: int(statuses[s]) for s in dojo.Status if statuses[s]}
    return {
        "steps": chunks * CHUNK,
        "status": named,
        "iterations_mean": round(float(iterations) / (chunks * CHUNK), 2),
        "iterations_most": int(most),
        "smallest_gap": float(gap),
        "quaternion_norm_error": float(drift),
        "resident_bytes": memory[-1],
        "growth_bytes": memory[-1] - memory[0],
        "seconds": round(time.perf_counter() - started, 1),
    }


def quaternion_rows(model: dojo.Model) -> np.ndarray:
    """Places of the quaternions in q, (k, 4)."""
    t = model.topology
    starts = t.q_start[t.joints_of("ball")], t.q_start[t.joints_of("free")] + 3
    return np.concatenate(starts)[:, None] + np.arange(4)


def ranges(model: dojo.Model) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the random controls, (nu,) each: the model's, or 1 where it has none."""
    limited = model.topology.actuators.ctrl_limited
    bounds = np.asarray(model.actuator_ctrl_range)
    return np.where(limited, bounds[:, 0], -1.0), np.where(limited, bounds[:, 1], 1.0)


def resident() -> int:
    """Memory of this process [bytes]."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def header(x64: bool) -> dict[str, Any]:
    """What the figures belong to."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": str(jax.devices()[0]),
        "versions": {"jax": jax.__version__, "dojo": version("dojo-sim")},
        "float64": x64,
    }


def progress(chunks: int) -> Any:
    """A progress bar where rich is installed."""
    try:
        from rich.progress import track
    except ImportError:
        return range(chunks)
    return track(range(chunks), "chunks of steps")


if __name__ == "__main__":
    main()
