"""Cost of derivatives: Jacobians of a step, reverse mode through rollouts; one core, one run.

    python benchmarks/gradients.py --models ant hopper --batch 1 64 --out results.json
    python benchmarks/gradients.py --models panda.xml ...   any file, its unsupported parts ignored
    python benchmarks/gradients.py --mjx ...      MJX beside it: minutes of compiling for each model

Each model is settled in contact under random control. Then, in microseconds an environment:

- a step; the step with its full Jacobians A and B (`dojo.linearize`); MuJoCo's centred differences
  for the same matrices (`mjd_transitionFD`, float64);
- a rollout and its gradient in the start and all controls, by reverse mode, a step; and the bytes
  that each step adds to the memory of the gradient;
- 1000 steps with Jacobians in a row at batch 1, as table V of arXiv 2203.00806 has them;
- with `--mjx`, forward mode through one step of MJX, and reverse mode through 20 with its solver
  cut to one iteration of four line-search steps (with more its loop cannot be reversed).

The best of five repetitions counts. Ratios hold within one run only.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed import MODELS, prepare_process, report

HORIZONS = (20, 200)
SETTLE, REPEATS, IN_A_ROW = 60, 5, 1000
DEFAULT = ("ant", "half_cheetah", "hopper", "humanoid", "quadruped")


def main() -> None:
    """Run the benchmark and print a line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(DEFAULT))
    parser.add_argument("--batch", nargs="*", type=int, default=[1, 64])
    parser.add_argument("--horizons", nargs="+", type=int, default=list(HORIZONS))
    parser.add_argument("--mjx", action="store_true")
    parser.add_argument("--x64", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    prepare_process()
    import jax

    jax.config.update("jax_enable_x64", args.x64)
    rows: list[dict[str, Any]] = []
    for name in args.models:
        found = [in_a_row(name)]
        for batch in args.batch:
            found.append(jacobians(name, batch))
            found += [reverse(name, batch, horizon) for horizon in args.horizons]
        if args.mjx:
            found += [
                jacobians_of_mjx(name, max(args.batch)),
                reverse_of_mjx(name, max(args.batch)),
            ]
        for row in found:
            print({"model": name} | row, flush=True)
            rows.append({"model": name} | row)
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(report([], args.x64) | {"rows": rows}, indent=1) + "\n")


def settled(name: str, batch: int) -> tuple[Any, Any, Any]:
    """A model, its states (batch, ...) in contact, and controls (batch, SETTLE, nu)."""
    import jax

    import dojo

    model = dojo.load(file_of(name), ignore="all")
    state = dojo.init(model)

    def last(us):  # type: ignore[no-untyped-def]
        states, _ = dojo.rollout(model, state, us)
        return jax.tree.map(lambda x: x[-1], states)

    us = random_controls(model.nu, batch, SETTLE)
    return model, jax.jit(jax.vmap(last))(us), us


def file_of(name: str) -> str:
    """Path of a model in models/, or the path itself."""
    return str(next((f for f in MODELS.iterdir() if f.stem == name), name))


def random_controls(nu: int, batch: int, count: int) -> Any:
    """Controls (batch, count, nu), uniform from -1 to 1."""
    import jax

    return jax.random.uniform(jax.random.PRNGKey(0), (batch, count, nu), minval=-1, maxval=1)


def best(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of a few calls, after one more."""
    import jax

    def once() -> float:
        start = time.perf_counter()
        jax.block_until_ready(call())
        return time.perf_counter() - start

    once()
    return min(once() for _ in range(REPEATS))


def compiled(function: Callable[..., Any], *inputs: Any) -> tuple[Any, float]:
    """A compiled function, and the seconds that took."""
    import jax

    start = time.perf_counter()
    program = jax.jit(function).lower(*inputs).compile()
    return program, round(time.perf_counter() - start, 1)


def jacobians(name: str, batch: int) -> dict[str, Any]:
    """A step against a step with A and B, and against MuJoCo's differences."""
    import jax

    import dojo

    model, states, us = settled(name, batch)
    u = us[:, -1]
    step, _ = compiled(jax.vmap(lambda s, u: dojo.step(model, s, u)), states, u)
    both, seconds = compiled(jax.vmap(lambda s, u: dojo.linearize(model, s, u)), states, u)
    info = step(states, u)[1]
    plain, full = (1e6 * best(lambda f=f: f(states, u)) / batch for f in (step, both))
    differences = 1e6 * transition_fd(name)
    return {
        "what": "A and B",
        "batch": batch,
        "step_us": round(plain, 1),
        "linearize_us": round(full, 1),
        "over_step": round(full / plain, 2),
        "transition_fd_us": round(differences, 1),
        "over_transition_fd": round(full / differences, 2),
        "compile_seconds": seconds,
        "converged": float(info.converged.mean()),
        "iterations": float(info.iterations.mean()),
    }


def transition_fd(name: str) -> float:
    """Seconds of MuJoCo's centred differences, the median over states under random control."""
    import mujoco
    import numpy as np

    m = mujoco.MjModel.from_xml_path(file_of(name))
    d = mujoco.MjData(m)
    rng = np.random.default_rng(0)
    size = 2 * m.nv + m.na
    a, b = np.zeros((size, size)), np.zeros((size, m.nu))

    def once() -> float:
        d.ctrl[:] = rng.uniform(-1, 1, m.nu)
        mujoco.mj_step(m, d)
        start = time.perf_counter()
        mujoco.mjd_transitionFD(m, d, 1e-6, True, a, b, None, None)
        return time.perf_counter() - start

    for _ in range(SETTLE):
        once()
    return float(np.median([once() for _ in range(50)]))


def reverse(name: str, batch: int, horizon: int) -> dict[str, Any]:
    """A rollout, and its gradient in the start and all controls."""
    import jax
    import jax.numpy as jnp

    import dojo

    model, states, _ = settled(name, batch)
    us = random_controls(model.nu, batch, horizon)

    def loss(state, us):  # type: ignore[no-untyped-def]
        after, _ = dojo.rollout(model, state, us)
        return jnp.sum(after.q[-1] ** 2) + jnp.sum(after.v[-1] ** 2)

    forward, _ = compiled(jax.vmap(loss), states, us)
    gradient, seconds = compiled(jax.vmap(jax.grad(loss, argnums=(0, 1))), states, us)
    finite = all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(gradient(states, us)))
    plain, full = (
        1e6 * best(lambda f=f: f(states, us)) / batch / horizon for f in (forward, gradient)
    )
    memory = [f.memory_analysis().temp_size_in_bytes for f in (forward, gradient)]
    return {
        "what": f"reverse, {horizon} steps",
        "batch": batch,
        "forward_us": round(plain, 1),
        "gradient_us": round(full, 1),
        "over_forward": round(full / plain, 2),
        "bytes_a_step": round((memory[1] - memory[0]) / batch / horizon),
        "compile_seconds": seconds,
        "finite": finite,
    }


def in_a_row(name: str) -> dict[str, Any]:
    """1000 steps with Jacobians at batch 1, ours and MuJoCo's by centred differences."""
    import jax

    import dojo

    model, states, _ = settled(name, 1)
    us = random_controls(model.nu, 1, IN_A_ROW)[0]
    state = jax.tree.map(lambda x: x[0], states)

    def all_steps(state, us):  # type: ignore[no-untyped-def]
        def advance(state, u):  # type: ignore[no-untyped-def]
            after, _, jacobians = dojo.step_and_linearize(model, state, u)
            return after, jacobians

        return jax.lax.scan(advance, state, us)

    program, _ = compiled(all_steps, state, us)
    ours = best(lambda: program(state, us))
    theirs = transition_fd(name) * IN_A_ROW
    return {
        "what": f"{IN_A_ROW} steps with A and B",
        "batch": 1,
        "seconds": round(ours, 3),
        "transition_fd_seconds": round(theirs, 3),
        "over_transition_fd": round(ours / theirs, 2),
    }


def jacobians_of_mjx(name: str, batch: int) -> dict[str, Any]:
    """Forward mode through one step of MJX in contact, by state and control."""
    import jax
    from mujoco import mjx

    m, model, data = settled_mjx(name)
    us = random_controls(m.nu, batch, 1)[:, 0]

    def moved(x, u):  # type: ignore[no-untyped-def]
        qpos, qvel = x[: m.nq], x[m.nq :]
        after = mjx.step(model, data.replace(qpos=qpos, qvel=qvel, ctrl=u))
        return jax.numpy.concatenate([after.qpos, after.qvel])

    x = jax.numpy.tile(jax.numpy.concatenate([data.qpos, data.qvel]), (batch, 1))
    program, seconds = compiled(jax.vmap(jax.jacfwd(moved, argnums=(0, 1))), x, us)
    finite = all(bool(jax.numpy.isfinite(j).all()) for j in program(x, us))
    return {
        "what": "MJX jacfwd",
        "batch": batch,
        "linearize_us": round(1e6 * best(lambda: program(x, us)) / batch, 1),
        "compile_seconds": seconds,
        "finite": finite,
    }


def reverse_of_mjx(name: str, batch: int) -> dict[str, Any]:
    """A rollout of MJX with one solver iteration, and its gradient in the start and controls."""
    import jax
    import jax.numpy as jnp
    from mujoco import mjx

    horizon = min(HORIZONS)
    m, model, data = settled_mjx(name, iterations=1, ls_iterations=4)
    us = random_controls(m.nu, batch, horizon)

    def loss(qpos, qvel, us):  # type: ignore[no-untyped-def]
        def advance(data, u):  # type: ignore[no-untyped-def]
            return mjx.step(model, data.replace(ctrl=u)), ()

        after, _ = jax.lax.scan(advance, data.replace(qpos=qpos, qvel=qvel), us)
        return jnp.sum(after.qpos**2) + jnp.sum(after.qvel**2)

    inputs = *(jnp.tile(x, (batch, 1)) for x in (data.qpos, data.qvel)), us
    forward, _ = compiled(jax.vmap(loss), *inputs)
    gradient, seconds = compiled(jax.vmap(jax.grad(loss, argnums=(0, 1, 2))), *inputs)
    finite = all(bool(jnp.isfinite(x).all()) for x in gradient(*inputs))
    plain, full = (
        1e6 * best(lambda f=f: f(*inputs)) / batch / horizon for f in (forward, gradient)
    )
    return {
        "what": f"MJX reverse, 1 iteration, {horizon} steps",
        "batch": batch,
        "forward_us": round(plain, 1),
        "gradient_us": round(full, 1),
        "compile_seconds": seconds,
        "finite": finite,
    }


def settled_mjx(name: str, **options: int) -> tuple[Any, Any, Any]:
    """MuJoCo's model with these options, MJX's, and its data in contact after random control."""
    import mujoco
    import numpy as np
    from mujoco import mjx

    m = mujoco.MjModel.from_xml_path(file_of(name))
    for option, value in options.items():
        setattr(m.opt, option, value)
    d = mujoco.MjData(m)
    rng = np.random.default_rng(0)
    for _ in range(SETTLE):
        d.ctrl[:] = rng.uniform(-1, 1, m.nu)
        mujoco.mj_step(m, d)
    model = mjx.put_model(m)
    return m, model, mjx.make_data(model).replace(qpos=d.qpos, qvel=d.qvel)


if __name__ == "__main__":
    main()
