"""Environment steps and gradients a second on a GPU: dojo and MJX in one run.

    python benchmarks/gpu.py --out benchmarks/results/gpu.json
    python benchmarks/gpu.py --models ant --batch 4096 --profile trace_folder

For each model and batch: rollouts of 20 steps under random control, after as many as bring it into
contact; the Jacobians A and B of a step, and the gradient of such a rollout by reverse mode; MJX
beside it at the file's options, its Jacobian by forward mode, and its reverse gradient with the
solver cut to one iteration of four line-search steps (with more its loop cannot be reversed).

Every model has a process of its own. They compile side by side, which is work of the CPU, and take
turns in timing: a lock lets one of them alone have the GPU, while none compiles. The best of three
repetitions counts; float32, or float64 with `--x64`. `--mjx-gradients` costs minutes of compiling.
"""

import argparse
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speed import MODELS, SETTLE, report

STEPS, REPEATS = 20, 3
DEFAULT = ("ant", "half_cheetah", "hopper", "humanoid", "quadruped")


def main() -> None:
    """Start a process for each model and gather what they print."""
    args = arguments()
    if args.child:
        return run_model(args)
    with tempfile.NamedTemporaryFile() as lock:
        command = [sys.executable, __file__, *sys.argv[1:], "--lock", lock.name, "--child"]
        environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        children = [
            subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True, env=environment)
            for name in args.models
        ]
        rows = [row for child in children for row in rows_of(child)]
    if args.out:
        import jax

        args.out.parent.mkdir(parents=True, exist_ok=True)
        about = report([], args.x64) | {"device": jax.devices()[0].device_kind}
        args.out.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(DEFAULT))
    parser.add_argument("--batch", nargs="+", type=int, default=[1024, 4096, 16384, 65536])
    parser.add_argument("--gradients", nargs="*", type=int, default=[4096, 32768])
    parser.add_argument("--mjx-gradients", nargs="*", type=int, default=[])
    parser.add_argument("--engines", nargs="+", default=["dojo", "mjx"])
    parser.add_argument("--x64", action="store_true")
    parser.add_argument("--profile", type=Path, help="folder for a trace of one rollout each")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--lock", help=argparse.SUPPRESS)
    return parser.parse_args()


def rows_of(child: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    """The measurements of a process, shown as they come."""
    assert child.stdout
    for text in child.stdout:
        print(text, end="", flush=True)
        if text.startswith("{"):
            yield json.loads(text)
    child.wait()


@contextmanager
def locked(path: str, kind: int) -> Iterator[None]:
    """While holding the lock, shared (to compile) or exclusive (to time)."""
    with open(path) as file:
        fcntl.flock(file, kind)
        yield


def run_model(args: argparse.Namespace) -> None:
    """Compile everything for one model, then time it."""
    import jax

    jax.config.update("jax_enable_x64", args.x64)
    with locked(args.lock, fcntl.LOCK_SH), ThreadPoolExecutor(8) as pool:
        plans = list(planned(args, pool))
        for plan in plans:
            plan["program"] = finished(plan["program"])
    with locked(args.lock, fcntl.LOCK_EX):
        settled: dict[tuple[str, int], Any] = {}
        for plan in plans:
            row = {"model": args.child, "engine": plan["engine"], "what": plan["what"]}
            row |= {"batch": plan["batch"]} | attempted(plan, settled, args)
            print(json.dumps(row), flush=True)


def finished(future: Any) -> Any:
    """What a future holds, or the error it ended with."""
    try:
        return future.result()
    except Exception:
        return traceback.format_exc(limit=-2)


def planned(args: argparse.Namespace, pool: ThreadPoolExecutor) -> Iterator[dict[str, Any]]:
    """Programs to time, each begun to compile: rollouts first, which bring into contact."""
    import jax

    for engine in args.engines:
        try:
            make = {"dojo": dojo_programs, "mjx": mjx_programs}[engine]
            start, functions = make(args.child)
        except Exception:
            print(traceback.format_exc(limit=-2), file=sys.stderr)
            continue
        gradients = args.gradients if engine == "dojo" else args.mjx_gradients
        for batch in sorted({*args.batch, *gradients}):
            for what, (function, steps, nu) in functions.items():
                if what != "rollout" and batch not in gradients:
                    continue
                states = jax.eval_shape(lambda b=batch, s=start: many(s, b))
                us = jax.eval_shape(lambda b=batch, n=steps, m=nu: controls(b, n, m, 0))
                begun = time.perf_counter()
                try:
                    lowered = jax.jit(jax.vmap(function)).lower(states, us)
                except Exception:
                    print(traceback.format_exc(limit=-2), file=sys.stderr)
                    continue
                traced = time.perf_counter() - begun
                yield {
                    "engine": engine,
                    "what": what,
                    "batch": batch,
                    "steps": steps,
                    "nu": nu,
                    "start": start,
                    "program": pool.submit(compiled, lowered, traced),
                }


def compiled(lowered: Any, traced: float) -> tuple[Any, float]:
    """The program, and seconds for tracing and compiling it."""
    begun = time.perf_counter()
    program = lowered.compile()
    return program, traced + time.perf_counter() - begun


def many(start: Any, batch: int) -> Any:
    """One state, `batch` times."""
    import jax
    import jax.numpy as jnp

    return jax.tree.map(lambda x: jnp.broadcast_to(x, (batch, *jnp.shape(x))), start)


def controls(batch: int, steps: int, nu: int, seed: int) -> Any:
    """Controls (batch, steps, nu), uniform from -1 to 1."""
    import jax
    import jax.numpy as jnp

    key = jax.random.PRNGKey(seed)
    us = jax.random.uniform(key, (batch, steps, nu), minval=-1, maxval=1)
    return us.astype(jnp.zeros(()).dtype)


def attempted(plan: dict[str, Any], settled: dict[Any, Any], args: Any) -> dict[str, Any]:
    """The measurement of a program, or why there is none."""
    if isinstance(plan["program"], str):
        return {"error": plan["program"]}
    try:
        return measured(plan, settled, args)
    except Exception:
        return {"error": traceback.format_exc(limit=-2)}


def measured(plan: dict[str, Any], settled: dict[Any, Any], args: Any) -> dict[str, Any]:
    """Microseconds an environment and step, and what else tells whether the answer is one."""
    import jax
    import jax.numpy as jnp

    program, seconds = plan["program"]
    engine, batch, steps = plan["engine"], plan["batch"], plan["steps"]
    rolls = plan["what"] == "rollout"
    if rolls:
        settled.clear()
        states = many(plan["start"], batch)
        for k in range(-(-SETTLE // STEPS)):
            states, _ = program(states, controls(batch, steps, plan["nu"], k))
        settled[engine, batch] = states
    states = settled[engine, batch]
    best, out = float("inf"), None
    for k in range(REPEATS + 1):  # the first warms up
        us = jax.block_until_ready(controls(batch, steps, plan["nu"], 100 + k))
        begun = time.perf_counter()
        out = jax.block_until_ready(program(states, us))
        best = min(best, time.perf_counter() - begun) if k else best
    if rolls and args.profile:
        with jax.profiler.trace(args.profile / f"{args.child}_{engine}_{batch}"):
            jax.block_until_ready(program(states, us))
    finite = [jnp.isfinite(x).mean() for x in jax.tree.leaves(out) if x.dtype.kind == "f"]
    found = {
        "microseconds": 1e6 * best / batch / steps,
        "milliseconds_a_call": 1e3 * best / steps,
        "compile_seconds": round(seconds, 1),
        "finite": float(min(finite)),
        "temporary_bytes": program.memory_analysis().temp_size_in_bytes,
    }
    return found | (dojo_report(out[1]) if rolls and engine == "dojo" else {})


def dojo_report(infos: Any) -> dict[str, Any]:
    """Share of converged steps, iterations on average and of the slowest lane in each step."""
    return {
        "converged": float(infos[1].mean()),
        "iterations": float(infos[0].mean()),
        "slowest": float(infos[0].max(axis=0).mean()),
    }


Programs = tuple[Any, dict[str, tuple[Callable[..., Any], int, int]]]


def dojo_programs(name: str) -> Programs:
    """A start and, for one lane, functions of a state and controls (steps, nu)."""
    import jax

    import dojo

    model = dojo.load(path_of(name), ignore="all")

    def rollout(state, us):  # type: ignore[no-untyped-def]
        states, infos = dojo.rollout(model, state, us)
        return jax.tree.map(lambda x: x[-1], states), (infos.iterations, infos.converged)

    def linearize(state, us):  # type: ignore[no-untyped-def]
        return dojo.linearize(model, state, us[0])

    def loss(state, us):  # type: ignore[no-untyped-def]
        states, _ = dojo.rollout(model, state, us)
        return (states.q[-1] ** 2).sum() + (states.v[-1] ** 2).sum()

    return dojo.init(model), {
        "rollout": (rollout, STEPS, model.nu),
        "A and B": (linearize, 1, model.nu),
        "reverse": (jax.grad(loss, argnums=(0, 1)), STEPS, model.nu),
    }


def mjx_programs(name: str) -> Programs:
    """The same for MJX."""
    import jax
    import jax.numpy as jnp
    import mujoco
    from mujoco import mjx

    m = mujoco.MjModel.from_xml_path(path_of(name))
    model = mjx.put_model(m, impl="jax")
    m.opt.iterations, m.opt.ls_iterations = 1, 4
    cut = mjx.put_model(m, impl="jax")

    def end(model, data, us):  # type: ignore[no-untyped-def]
        def advance(data, u):  # type: ignore[no-untyped-def]
            return mjx.step(model, data.replace(ctrl=u)), ()

        return jax.lax.scan(advance, data, us)

    def loss(moving, data, us):  # type: ignore[no-untyped-def]
        after, _ = end(cut, data.replace(qpos=moving[0], qvel=moving[1]), us)
        return (after.qpos**2).sum() + (after.qvel**2).sum()

    def reverse(data, us):  # type: ignore[no-untyped-def]
        return jax.grad(loss, argnums=(0, 2))((data.qpos, data.qvel), data, us)

    def jacobians(data, us):  # type: ignore[no-untyped-def]
        def moved(x, u):  # type: ignore[no-untyped-def]
            after = mjx.step(model, data.replace(qpos=x[: m.nq], qvel=x[m.nq :], ctrl=u))
            return jnp.concatenate([after.qpos, after.qvel])

        x = jnp.concatenate([data.qpos, data.qvel])
        return jax.jacfwd(moved, argnums=(0, 1))(x, us[0])

    return mjx.make_data(model, impl="jax"), {
        "rollout": (lambda data, us: end(model, data, us), STEPS, m.nu),
        "A and B": (jacobians, 1, m.nu),
        "reverse": (reverse, STEPS, m.nu),
    }


def path_of(name: str) -> str:
    """Path of a model in models/, or the path itself."""
    return str(next((f for f in MODELS.iterdir() if f.stem == name), name))


if __name__ == "__main__":
    main()
