"""Microseconds a step and compile seconds: dojo, MuJoCo C and MJX in one run on one core.

    python benchmarks/speed.py --models ant hopper --batch 1 64 512 --out results.json

Each engine settles the model in contact under random control, then is timed on the same number of
steps with fresh random control; the best of three repetitions counts. Ratios hold within one run
only. `--x64` runs dojo and MJX in float64, else both in float32 (MuJoCo C is float64 always).
"""

import argparse
import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

ONE_CORE = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
MODELS = Path(__file__).parents[1] / "models"
SETTLE, TIMED, REPEATS = 50, 20, 3


@dataclasses.dataclass
class Row:
    """One measurement."""

    model: str
    engine: str
    batch: int
    microseconds: float
    compile_seconds: float
    converged: float | None = None
    iterations: float | None = None
    slowest: int | None = None


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="+", default=["ant", "half_cheetah", "hopper", "humanoid"]
    )
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 64, 512])
    parser.add_argument("--engines", nargs="+", default=["mujoco", "mjx", "dojo"])
    parser.add_argument("--x64", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    prepare_process()
    import jax

    jax.config.update("jax_enable_x64", args.x64)
    rows: list[Row] = []
    for name in args.models:
        for engine in args.engines:
            for batch in args.batch if engine != "mujoco" else [1]:
                rows.append(measure(engine, name, batch))
                print(line(rows[-1], rows), flush=True)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report(rows, args.x64), indent=1) + "\n")


def prepare_process() -> None:
    """Pin to one core, before JAX starts its threads."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {ONE_CORE}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def measure(engine: str, name: str, batch: int) -> Row:
    """One engine, model of `models/` and batch size."""
    return measure_path(engine, name, str(MODELS / f"{name}.xml"), batch)


def measure_path(engine: str, name: str, path: str, batch: int) -> Row:
    """The same for a model from any file, under a name of its own."""
    return {"mujoco": run_mujoco, "mjx": run_mjx, "dojo": run_dojo}[engine](name, path, batch)


def run_mujoco(name: str, path: str, batch: int) -> Row:
    """MuJoCo C, one environment."""
    import mujoco
    import numpy as np

    m = mujoco.MjModel.from_xml_path(path)
    d = mujoco.MjData(m)
    rng = np.random.default_rng(0)

    def steps(count: int) -> float:
        us = rng.uniform(-1, 1, (count, m.nu))
        start = time.perf_counter()
        for u in us:
            d.ctrl[:] = u
            mujoco.mj_step(m, d)
        return (time.perf_counter() - start) / count

    steps(SETTLE)
    return Row(name, "mujoco", 1, 1e6 * min(steps(1000) for _ in range(REPEATS)), 0.0)


def run_mjx(name: str, path: str, batch: int) -> Row:
    """MJX with the file's options."""
    import jax
    import mujoco
    from mujoco import mjx

    m = mujoco.MjModel.from_xml_path(path)
    model = mjx.put_model(m)
    data = mjx.make_data(model)

    def advance(data, u):  # type: ignore[no-untyped-def]
        return mjx.step(model, data.replace(ctrl=u)), ()

    many = jax.vmap(lambda d, us: jax.lax.scan(advance, d, us))
    batched = jax.vmap(lambda _: data)(jax.numpy.arange(batch))
    seconds, compiled, _ = timed(many, batched, m.nu, batch)
    return Row(name, "mjx", batch, 1e6 * seconds, compiled)


def run_dojo(name: str, path: str, batch: int) -> Row:
    """dojo at its default options."""
    import jax
    import numpy as np

    import dojo

    model = dojo.load(path)
    state = dojo.init(model)

    def roll(state, us):  # type: ignore[no-untyped-def]
        states, infos = dojo.rollout(model, state, us)
        last = jax.tree.map(lambda x: x[-1], states)
        return last, (infos.iterations, infos.converged)

    batched = jax.vmap(lambda _: state)(jax.numpy.arange(batch))
    seconds, compiled, (iterations, converged) = timed(jax.vmap(roll), batched, model.nu, batch)
    return Row(
        name,
        "dojo",
        batch,
        1e6 * seconds,
        compiled,
        converged=float(np.mean(converged)),
        iterations=float(np.mean(iterations)),
        slowest=int(np.max(iterations)),
    )


def timed(roll: Callable, state: object, nu: int, batch: int) -> tuple[float, float, tuple]:  # type: ignore[type-arg]
    """Seconds a step and environment, compile seconds, last auxiliary output."""
    import jax
    import jax.numpy as jnp

    def controls(seed: int) -> jax.Array:
        us = jax.random.uniform(jax.random.PRNGKey(seed), (batch, TIMED, nu), minval=-1, maxval=1)
        return us.astype(jnp.zeros(()).dtype)

    start = time.perf_counter()
    compiled = jax.jit(roll).lower(state, controls(0)).compile()
    compile_seconds = time.perf_counter() - start
    for k in range(-(-SETTLE // TIMED)):
        state, _ = compiled(state, controls(k))
    best, extra = float("inf"), ()
    for k in range(REPEATS):
        us = jax.block_until_ready(controls(100 + k))
        start = time.perf_counter()
        state, extra = jax.block_until_ready(compiled(state, us))
        best = min(best, time.perf_counter() - start)
    return best / TIMED / batch, compile_seconds, extra


def line(row: Row, rows: list[Row]) -> str:
    """A row as text, with its ratio to MJX at the same model and batch."""
    text = f"{row.model:13s} {row.engine:7s} batch {row.batch:4d} {row.microseconds:9.1f} us"
    if row.compile_seconds:
        text += f"  compile {row.compile_seconds:5.1f} s"
    for other in rows:
        pair = (row.engine, other.engine) == ("dojo", "mjx")
        if pair and (other.model, other.batch) == (row.model, row.batch):
            text += f"  {row.microseconds / other.microseconds:5.2f} x MJX"
    if row.converged is not None:
        text += f"  converged {100 * row.converged:.2f} %  iterations {row.iterations:.1f}"
        text += f" (most {row.slowest})"
    return text


def report(rows: list[Row], x64: bool) -> dict[str, object]:
    """Everything needed to read the figures later."""
    import jax
    import mujoco

    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.processor() or platform.machine(),
        "device": str(jax.devices()[0]),
        "python": sys.version.split()[0],
        "versions": {"jax": jax.__version__, "mujoco": mujoco.__version__},
        "float64": x64,
        "xla_flags": os.environ.get("XLA_FLAGS", "").strip(),
        "rows": [dataclasses.asdict(row) for row in rows],
    }


if __name__ == "__main__":
    main()
