"""Steps from random hard states: how many the solver does not finish, and in how many iterations.

    python benchmarks/stress.py --steps 1000000 --x64 --out benchmarks/results/stress_float64.json
    python benchmarks/stress.py --suite PATH --models none ...      other people's robots as well
    python benchmarks/stress.py --replay benchmarks/results/stress_float64.json   failures again

Every robot meets every timestep and kappa, from states drawn by `stress_states.py`: joint speeds to
30 rad/s, penetrations to 5 cm, violated limits, bodies at rest on many contacts, mass ratios to
1e4, aligned symmetric poses, full torques. Half of the states are slowed down until no link is to
turn by more than half a radian within the step; the others may lie outside the domain where a step
has a solution, and count as such if the status says STEP_TOO_LARGE. Those are taken again in
SUBSTEPS parts, which is to cure them.

The results file is written after each round, and a second run with the same file goes on from it.
"""

import argparse
import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from stress_states import draw

import dojo

MODELS = Path(__file__).parents[1] / "models"
TIMESTEPS = (0.1, 0.02, 0.005, 0.001)
KAPPAS = {"float64": (1e-2, 1e-4, 1e-6, 1e-8), "float32": (1e-2, 1e-3, 1e-4, 1e-5)}
LANES = 256
SUBSTEPS, CURED_AT_ONCE = 8, 32
KEPT_FAILURES = 200


@dataclasses.dataclass(frozen=True)
class Cell:
    """One batch: everything that its random states follow from."""

    robot: str
    round: int
    timestep: float
    kappa: float

    def keys(self) -> jax.Array:
        """One random key a lane."""
        seed = hash((self.round, self.timestep, self.kappa)) % 2**31
        return jax.random.split(jax.random.PRNGKey(seed), LANES)


def main() -> None:
    """Run the corpus, or replay the failures of a results file."""
    args = arguments()
    jax.config.update("jax_enable_x64", args.x64)
    if args.replay:
        replay(args.replay, robots(args))
        return
    results = resumed(args.out, args.x64)
    found = robots(args)
    rounds = -(-args.steps // (len(found) * LANES * len(TIMESTEPS) * len(KAPPAS[precision()])))
    for name, model in progress(found.items(), len(found)):
        run, cure = compiled(model, 1), compiled(model, SUBSTEPS)
        for k in range(rounds):
            if f"{name} {k}" not in results["done"]:
                run_round(run, cure, name, k, results)
                save(args.out, results)
    print(table(results))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--models", nargs="*", help="names in models/; all unless given")
    parser.add_argument("--suite", type=Path, help="folder of further MJCF and URDF files")
    parser.add_argument("--x64", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--replay", type=Path)
    return parser.parse_args()


def precision() -> str:
    """Name of the float type in use."""
    return str(jax.numpy.zeros(()).dtype)


def robots(args: argparse.Namespace) -> dict[str, dojo.Model]:
    """The models of the run by name; files that cannot be loaded are left out."""
    own = sorted([*MODELS.glob("*.xml"), *MODELS.glob("*.urdf")])
    files = {f.stem: f for f in own if args.models is None or f.stem in args.models}
    if args.suite:
        other = sorted([*args.suite.rglob("*.xml"), *args.suite.rglob("*.urdf")])
        files |= {str(f.relative_to(args.suite)): f for f in other}
    loaded = {}
    for name, file in files.items():
        try:
            model = dojo.load(file, ignore="all")
        except dojo.ModelError:
            continue
        if model.nv:
            loaded[name] = model
    return loaded


Run = Callable[..., dict[str, Any]]


def compiled(model: dojo.Model, substeps: int) -> Run:
    """A batch of steps: outcome per lane from random keys, timestep and kappa."""

    def lane(key: jax.Array, timestep: jax.Array, kappa: jax.Array) -> dict[str, Any]:
        drawn = draw(model.replace(timestep=timestep), key)
        options = dojo.SolverOptions(kappa=kappa, substeps=substeps)
        after, info = dojo.step(drawn.model, drawn.state, drawn.u, options=options)
        leaves = [x for x in jax.tree.leaves((after, info)) if x.dtype.kind == "f"]
        finite = jax.numpy.stack([jax.numpy.isfinite(x).all() for x in leaves]).all()
        return {
            "status": info.status,
            "iterations": info.iterations,
            "residual": info.residual,
            "finite": finite,
            "turn": drawn.turn,
        }

    return jax.jit(jax.vmap(lane, in_axes=(0, None, None)))


def run_round(run: Run, cure: Run, name: str, k: int, results: dict[str, Any]) -> None:
    """All timesteps and kappas of a robot, once."""
    for timestep in TIMESTEPS:
        for kappa in KAPPAS[precision()]:
            cell = Cell(name, k, timestep, kappa)
            out = jax.device_get(run(cell.keys(), timestep, kappa))
            large = np.flatnonzero(out["status"] == dojo.Status.STEP_TOO_LARGE)
            record(cell, out, cured(cure, cell, large), results)
    results["done"].append(f"{name} {k}")


def cured(cure: Run, cell: Cell, lanes: np.ndarray) -> int:
    """How many of these lanes are solved in substeps."""
    count = 0
    for start in range(0, len(lanes), CURED_AT_ONCE):
        part = lanes[start : start + CURED_AT_ONCE]
        keys = cell.keys()[np.resize(part, CURED_AT_ONCE)]
        status = cure(keys, cell.timestep, cell.kappa)["status"][: len(part)]
        count += int((status == dojo.Status.CONVERGED).sum())
    return count


def record(
    cell: Cell, out: dict[str, np.ndarray], solved_in_parts: int, results: dict[str, Any]
) -> None:
    """Add a batch to the counts."""
    key = f"{cell.robot}|{cell.timestep}|{cell.kappa}"
    empty = {"status": {}, "cured": 0, "iterations": {}, "not_finite": 0}
    row = results["cells"].setdefault(key, empty)
    row["cured"] += solved_in_parts
    names = [dojo.Status(s).name for s in out["status"]]
    row["status"] = dict(Counter(row["status"]) + Counter(names))
    solved = out["iterations"][out["status"] == dojo.Status.CONVERGED]
    row["iterations"] = dict(Counter(row["iterations"]) + Counter(map(str, solved.tolist())))
    row["not_finite"] += int((~out["finite"]).sum())
    for lane in np.flatnonzero(out["status"] != dojo.Status.CONVERGED):
        if names[lane] != "STEP_TOO_LARGE" and len(results["failures"]) < KEPT_FAILURES:
            failure = dataclasses.asdict(cell) | {"lane": int(lane), "status": names[lane]}
            results["failures"].append(failure)


def replay(file: Path, found: dict[str, dojo.Model]) -> None:
    """Run the failures of a results file again."""
    results = json.loads(file.read_text())
    for failure in sorted(results["failures"], key=lambda f: f["robot"]):
        lane, before = failure.pop("lane"), failure.pop("status")
        cell = Cell(**failure)
        run = compiled(found[cell.robot], 1)
        out = run(cell.keys()[lane : lane + 1], cell.timestep, cell.kappa)
        now = dojo.Status(int(out["status"][0])).name
        print(cell, f"lane {lane}: {before}, now {now}, residual {float(out['residual'][0]):.1e}")


def resumed(file: Path | None, x64: bool) -> dict[str, Any]:
    """The results so far."""
    if file and file.exists():
        return json.loads(file.read_text())
    versions = {"jax": jax.__version__, "dojo": version("dojo-sim")}
    start = {"float64": x64, "date": time.strftime("%Y-%m-%d"), "versions": versions}
    return {**start, "done": [], "cells": {}, "failures": []}


def save(file: Path | None, results: dict[str, Any]) -> None:
    """Write the results so far."""
    if file:
        results["summary"] = summary(results)
        file.write_text(json.dumps(results, indent=1) + "\n")


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Totals over all cells, and iterations over those with a timestep of at most 0.02 s."""
    status, iterations = Counter(), Counter()
    for key, row in results["cells"].items():
        status += Counter(row["status"])
        if float(key.split("|")[1]) <= 0.02:
            iterations += Counter({int(n): c for n, c in row["iterations"].items()})
    counts = np.array(sorted(iterations.items())).reshape(-1, 2)
    many = np.repeat(counts[:, 0], counts[:, 1])
    return {
        "steps": sum(status.values()),
        "status": dict(status),
        "too_large_cured": sum(row["cured"] for row in results["cells"].values()),
        "not_finite": sum(row["not_finite"] for row in results["cells"].values()),
        "iterations_mean": round(float(many.mean()), 2) if len(many) else None,
        "iterations_p99": int(np.percentile(many, 99)) if len(many) else None,
        "iterations_most": int(many.max()) if len(many) else None,
    }


def table(results: dict[str, Any]) -> str:
    """Unconverged steps by robot, and the totals."""
    by_robot: dict[str, Counter[str]] = {}
    for key, row in results["cells"].items():
        by_robot.setdefault(key.split("|")[0], Counter()).update(row["status"])
    lines = [f"{name:60s} {dict(counts)}" for name, counts in by_robot.items()]
    return "\n".join([*lines, json.dumps(summary(results))])


def progress(items: Any, total: int) -> Iterator[Any]:
    """A progress bar where rich is installed."""
    try:
        from rich.progress import track
    except ImportError:
        return iter(items)
    return iter(track(items, "robots", total=total))


if __name__ == "__main__":
    main()
