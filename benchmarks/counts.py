"""What a step asks of the machine, counted and not timed, beside the counts on record.

    python benchmarks/counts.py                     compare with results/counts_cpu_float32.json
    python benchmarks/counts.py --out FILE          write a new record

Per model, a batch of 64 in single precision: floating-point operations, bytes and kernels of one
iteration of the solver, of a step and of `linearize`, as the compiler counts them (the body of a
loop once), and iterations of 1280 settled steps under random control. Unlike wall times, they do
not depend on what else the machine does; on JAX, its flags and the kind of machine they may.
"""

import argparse
import json
import os
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dojo
from dojo.solver import interior_point
from dojo.solver.options import resolve_kappa, resolve_tolerance
from dojo.step_problem import Inputs, StepProblem

MODELS = ("ant", "half_cheetah", "hopper", "humanoid", "quadruped")
RECORD = Path(__file__).parent / "results" / "counts_cpu_float32.json"
LANES, SETTLE, COUNTED = 64, 50, 20
# An instruction of a compiled program that does work: what else there is names or passes on.
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.-]+ = (?:\([^=]*?\)|\S+) ([\w-]+)\(", re.MULTILINE)
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}

Counts = dict[str, float]


def main() -> None:
    """Count, then compare or write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"versions": {}, "models": {}}
    flags = os.environ.get("XLA_FLAGS", "")
    versions = {"jax": jax.__version__, "machine": platform.machine(), "xla_flags": flags}
    if not args.out and record["versions"] != versions:
        print(f"The record is of {record['versions']}, this is {versions}: programs may differ.")
    found = {}
    for name in args.models:
        found[name] = counted(dojo.models.load(name, dtype="float32"))
        print("\n".join(compared(name, record["models"].get(name, {}), found[name])), flush=True)
    if args.out:
        report = {"versions": versions, "models": found}
        args.out.write_text(json.dumps(report, indent=1) + "\n")


def counted(model: dojo.Model) -> Counts:
    """All counts of one model."""
    states, us, iterations = settled(model)
    problems = jax.jit(jax.vmap(lambda s, u: problem(model, s, u)))(states, us)
    loops = jax.jit(jax.vmap(lambda of: begun(of)[1]))(problems)

    def iterated(of: StepProblem, loop: interior_point.Loop) -> interior_point.Loop:
        return interior_point.iterated(begun(of)[0], loop)

    programs: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "iteration": (iterated, (problems, loops)),
        "step": (lambda s, u: dojo.step(model, s, u), (states, us)),
        "linearize": (lambda s, u: dojo.linearize(model, s, u)[:2], (states, us)),
    }
    counts = {}
    for name, (f, inputs) in programs.items():
        counts |= {f"{name} {what}": n for what, n in program(f, inputs).items()}
    counts["iterations mean"] = round(float(iterations.mean()), 2)
    counts["iterations slowest of 64"] = round(float(iterations.max(axis=1).mean()), 2)
    return counts


def problem(model: dojo.Model, state: dojo.State, u: jax.Array) -> StepProblem:
    """The problem of a step."""
    return StepProblem.build(Inputs(model, state.q, state.v, u, None))


def begun(of: StepProblem) -> tuple[interior_point.Task, interior_point.Loop]:
    """The first point of a solve."""
    options, dtype = dojo.SolverOptions(), of.model.dtype
    kappa, tolerance = resolve_kappa(None, dtype), resolve_tolerance(options, dtype)
    return interior_point.begin(of, None, kappa, tolerance, options.max_iterations)


def settled(model: dojo.Model) -> tuple[dojo.State, jax.Array, np.ndarray]:
    """A batch in contact under random control: states, controls, iterations of the steps since."""
    shape = (SETTLE + COUNTED, LANES, model.nu)
    us = jax.random.uniform(jax.random.PRNGKey(0), shape, model.dtype, -1.0, 1.0)
    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (LANES, *x.shape)), dojo.init(model))

    def advance(states: dojo.State, us: jax.Array) -> tuple[dojo.State, jax.Array]:
        after, infos = jax.vmap(lambda s, u: dojo.step(model, s, u))(states, us)
        return after, infos.iterations

    states, iterations = jax.jit(lambda s, u: jax.lax.scan(advance, s, u))(start, us)
    return states, us[-1], np.asarray(iterations[SETTLE:])


def program(f: Callable[..., Any], inputs: tuple[Any, ...]) -> Counts:
    """Counts of the compiled batch: operations and bytes a lane, instructions of the program."""
    compiled = jax.jit(jax.vmap(f)).lower(*inputs).compile()
    cost = compiled.cost_analysis()
    kinds = _INSTRUCTION.findall(compiled.as_text())
    return {
        "kflop": round(cost["flops"] / LANES / 1e3, 2),
        "kB": round(cost["bytes accessed"] / LANES / 1e3, 1),
        "kernels": kernels(compiled.as_text()),
        "instructions": sum(kind not in _FREE for kind in kinds),
    }


def kernels(text: str) -> int:
    """Instructions outside of fusions: each is called by itself."""
    called, inside = 0, False
    for line in text.splitlines():
        if line and not line[0].isspace():
            inside = line.startswith(("%fused", "fused"))
        found = _INSTRUCTION.match(line + "\n") if not inside else None
        called += found is not None and found.group(1) not in _FREE
    return called


def compared(name: str, before: Counts, now: Counts) -> list[str]:
    """One line a count: what it is, what it was, which way it moved."""
    lines = [name]
    for what, value in now.items():
        was = before.get(what)
        moved = "new" if was is None else "as before" if was == value else f"{value / was - 1:+.1%}"
        lines.append(f"  {what:28s} {value:10g} {'' if was is None else was:>10} {moved}")
    return lines


if __name__ == "__main__":
    main()
