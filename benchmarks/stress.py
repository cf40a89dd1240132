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

Contacts between bodies and equality constraints are left out: random states violate them by metres.

The results file is written after each round, and a second run with the same file goes on from it.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import operator
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import mujoco
import numpy as np
from stress_states import draw

import dojo

MODELS = Path(__file__).parents[1] / "models"
TIMESTEPS = (0.1, 0.02, 0.005, 0.001)
KAPPAS = {"float64": (1e-2, 1e-4, 1e-6, 1e-8), "float32": (1e-2, 1e-3, 1e-4, 1e-5)}
LANES, FEW = 256, 32
QUICK = 50
SUBSTEPS, CURES = 8, 64  # parts of a step that was too large; how many such steps of a robot
KEPT_FAILURES = 40  # of each robot


@dataclasses.dataclass(frozen=True)
class Cell:
    """One batch: everything that its random states follow from."""

    robot: str
    round: int
    timestep: float
    kappa: float

    @property
    def keys(self) -> np.ndarray:
        """One random key a lane."""
        return random_keys(hash((self.round, self.timestep, self.kappa)) % 2**31)


@functools.cache
def random_keys(seed: int) -> np.ndarray:
    """A random key for each lane."""
    return np.asarray(jax.random.split(jax.random.PRNGKey(seed), LANES))


Lane = tuple[Cell, int]


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
        robot = Robot(name, model)
        for k in range(rounds):
            if f"{name} {k}" not in results["done"]:
                robot.run_round(k, results)
                results["done"].append(f"{name} {k}")
                save(args.out, results)
    print(table(results))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = corpus_parser(__doc__)
    parser.add_argument("--replay", type=Path)
    return parser.parse_args()


def corpus_parser(text: str) -> argparse.ArgumentParser:
    """Arguments of a benchmark that runs over robots; its help begins like `text`."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--models", nargs="*", help="names in models/; all unless given")
    parser.add_argument("--suite", type=Path, help="folder of further MJCF and URDF files")
    parser.add_argument("--x64", action="store_true")
    parser.add_argument("--out", type=Path)
    return parser


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
            loaded[name] = robot(file)
        except dojo.ModelError:
            continue
    return loaded


def robot(file: Path) -> dojo.Model:
    """A robot without contacts between bodies and without equality constraints.

    Its root is where MuJoCo has it.
    """
    ignore = ["all", "body-body collision"]
    if file.suffix == ".urdf":
        return dojo.load(file, ignore=ignore, root="fixed")
    try:
        spec = mujoco.MjSpec.from_file(str(file))
    except ValueError as error:
        raise dojo.ModelError(str(error)) from None
    spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_EQUALITY)
    return dojo.load(spec, ignore=ignore)


Outcome = dict[str, Any]
Run = Callable[[np.ndarray, np.ndarray, np.ndarray], Outcome]


def compiled(model: dojo.Model, **options: int) -> Run:
    """A batch of steps: outcome per lane from its random key, timestep and kappa."""

    def lane(key: jax.Array, timestep: jax.Array, kappa: jax.Array) -> Outcome:
        drawn = draw(model.replace(timestep=timestep), key)
        solver = dojo.SolverOptions(kappa=kappa, **options)
        after, info = dojo.step(drawn.model, drawn.state, drawn.u, options=solver)
        leaves = [x for x in jax.tree.leaves((after, info)) if x.dtype.kind == "f"]
        finite = jax.numpy.stack([jax.numpy.isfinite(x).all() for x in leaves]).all()
        return {
            "status": info.status,
            "iterations": info.iterations,
            "residual": info.residual,
            "finite": finite,
        }

    return jax.jit(jax.vmap(lane))


class Robot:
    """The steps of one robot."""

    def __init__(self, name: str, model: dojo.Model) -> None:
        self.name = name
        # A solve of at most QUICK iterations is the same under both limits: the last tenth of a
        # limit is for the search that tells why a step fails.
        self.quick = compiled(model, max_iterations=QUICK * 6 // 5)
        self.whole = compiled(model)
        self.in_parts = compiled(model, substeps=SUBSTEPS, max_iterations=200)

    def run_round(self, k: int, results: dict[str, Any]) -> None:
        """All timesteps and kappas, once."""
        pairs = itertools.product(TIMESTEPS, KAPPAS[precision()])
        cells = [Cell(self.name, k, timestep, kappa) for timestep, kappa in pairs]
        outs = [few(self.quick, [(c, j) for j in range(LANES)], LANES) for c in cells]
        slow = [
            (i, int(j))
            for i, out in enumerate(outs)
            for j in np.flatnonzero(
                (out["iterations"] > QUICK) | (out["status"] != dojo.Status.CONVERGED)
            )
        ]
        again = few(self.whole, [(cells[i], j) for i, j in slow], FEW)
        for at, (i, j) in enumerate(slow):
            for key, values in outs[i].items():
                values[j] = again[key][at]
        for cell, out in zip(cells, outs, strict=True):
            record(cell, out, results)
        large = [
            (cells[i], j) for i, j in slow if outs[i]["status"][j] == dojo.Status.STEP_TOO_LARGE
        ]
        self.cure(large, results)

    def cure(self, lanes: list[Lane], results: dict[str, Any]) -> None:
        """Take steps that are too large in parts, a sample of them."""
        row = results["cures"].setdefault(self.name, {"tried": 0, "cured": 0})
        count = min(len(lanes), CURES - row["tried"], FEW)
        sample = [lanes[i] for i in np.linspace(0, len(lanes) - 1, count).astype(int)]
        status = few(self.in_parts, sample, FEW)["status"]
        row["tried"] += count
        row["cured"] += int((status == dojo.Status.CONVERGED).sum())


def few(run: Run, lanes: list[Lane], size: int) -> Outcome:
    """These lanes in batches of a size."""
    parts = []
    for start in range(0, len(lanes), size):
        part = lanes[start : start + size]
        filled = [part[i % len(part)] for i in range(size)]
        keys = np.stack([cell.keys[j] for cell, j in filled])
        timestep, kappa = np.array([(cell.timestep, cell.kappa) for cell, _ in filled]).T
        out = jax.device_get(run(keys, timestep, kappa))
        parts.append({key: values[: len(part)] for key, values in out.items()})
    if not parts:
        return {key: np.zeros(0, int) for key in ("status", "iterations", "residual", "finite")}
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def record(cell: Cell, out: Outcome, results: dict[str, Any]) -> None:
    """Add a batch to the counts."""
    key = f"{cell.robot}|{cell.timestep}|{cell.kappa}"
    row = results["cells"].setdefault(key, {"status": {}, "iterations": {}, "not_finite": 0})
    names = [dojo.Status(s).name for s in out["status"]]
    row["status"] = dict(Counter(row["status"]) + Counter(names))
    solved = out["iterations"][out["status"] == dojo.Status.CONVERGED]
    row["iterations"] = dict(Counter(row["iterations"]) + Counter(map(str, solved.tolist())))
    row["not_finite"] += int((~out["finite"]).sum())
    kept = sum(failure["robot"] == cell.robot for failure in results["failures"])
    failed = [j for j, name in enumerate(names) if name not in ("CONVERGED", "STEP_TOO_LARGE")]
    for lane in failed[: max(0, KEPT_FAILURES - kept)]:
        failure = dataclasses.asdict(cell) | {"lane": lane, "status": names[lane]}
        results["failures"].append(failure)


def replay(file: Path, found: dict[str, dojo.Model]) -> None:
    """Run the failures of a results file again."""
    by_robot = operator.itemgetter("robot")
    failures = sorted(json.loads(file.read_text())["failures"], key=by_robot)
    for robot, group in itertools.groupby(failures, by_robot):
        run = compiled(found[robot])
        for failure in group:
            lane, before = failure.pop("lane"), failure.pop("status")
            cell = Cell(**failure)
            out = few(run, [(cell, lane)], 1)
            now = dojo.Status(int(out["status"][0])).name
            residual = float(out["residual"][0])
            print(cell, f"lane {lane}: {before}, now {now}, residual {residual:.1e}")


def resumed(file: Path | None, x64: bool) -> dict[str, Any]:
    """The results so far."""
    if file and file.exists():
        return json.loads(file.read_text())
    versions = {"jax": jax.__version__, "dojo": version("dojo-sim")}
    start = {"float64": x64, "date": time.strftime("%Y-%m-%d"), "versions": versions}
    return {**start, "done": [], "cells": {}, "cures": {}, "failures": []}


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
        "too_large_taken_in_parts": sum(row["tried"] for row in results["cures"].values()),
        "of_these_cured": sum(row["cured"] for row in results["cures"].values()),
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
