"""Other people's robots: does each file load, and simulate two seconds with every step solved?

    python coverage.py --suite ../../shared/models_suite --out results/coverage_float64.json

Each starts in its first keyframe and holds its controls, else at rest with none, at the file's
timestep and at 0.01 s. Robots that are done are in the results file and are not run again; a file
is refused by the name of a feature, or by an error. Compiling takes most of the time.
"""

import argparse
import json
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import track

import dojo

SECONDS, CHUNK = 2.0, 50


@jax.jit
def chunk(model: dojo.Model, state: dojo.State, u: jax.Array) -> Any:
    """Fifty steps: the end, and of each step the status, the iterations and the smallest gap."""
    states, infos = dojo.rollout(model, state, jnp.tile(u, (CHUNK, 1)))
    gap = infos.contacts.gap.min(axis=1, initial=jnp.inf)
    return jax.tree.map(lambda x: x[-1], states), (infos.status, infos.iterations, gap)


def simulated(model: dojo.Model) -> dict[str, Any]:
    """What became of two seconds; whole chunks are simulated, what is beyond does not count."""
    keys = model.topology.keyframes
    state = dojo.init(model, keyframe=keys[0].name) if keys else dojo.init(model)
    u = np.array(keys[0].ctrl) if keys else np.zeros(model.nu)
    steps, found, started = round(SECONDS / float(model.timestep)), [], time.perf_counter()
    for _ in range(-(-steps // CHUNK)):
        state, report = chunk(model, state, u)
        found.append(jax.device_get(report))
    status, iterations, gap = (np.concatenate(x)[:steps] for x in zip(*found, strict=True))
    names = Counter(dojo.Status(int(s)).name for s in status)
    return {
        "steps": steps,
        "status": dict(names),
        "iterations": [float(iterations.mean()), float(np.percentile(iterations, 99))],
        "smallest gap [m]": float(gap.min()) if np.isfinite(gap.min()) else None,
        "finite": bool(np.isfinite(state.q).all() and np.isfinite(state.v).all()),
        "seconds": round(time.perf_counter() - started, 1),
    }


def one(file: Path) -> dict[str, Any]:
    """The result of a file."""
    try:
        model = dojo.load(file)
    except dojo.ModelError as error:
        return {"refused": str(error).removeprefix(f"{file}: ")}
    own = float(model.timestep)
    return {f"{h:g} s": simulated(model.replace(timestep=h)) for h in dict.fromkeys([own, 0.01])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--names", nargs="*", help="parts of the files' names; all unless given")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    results: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "files": {}}
    if args.out and args.out.exists():
        results = json.loads(args.out.read_text())
    manifest = json.loads((args.suite / "manifest.json").read_text())
    paths = [e["path"] for e in manifest]
    if args.names:
        paths = [p for p in paths if any(name in p for name in args.names)]
    for path in track([p for p in paths if p not in results["files"]]):
        results["files"][path] = found = one(args.suite / path)
        print(path, found.get("refused") or {h: r["status"] for h, r in found.items()}, flush=True)
        if args.out:
            args.out.write_text(json.dumps(results, indent=1) + "\n")
        jax.clear_caches()


if __name__ == "__main__":
    main()
