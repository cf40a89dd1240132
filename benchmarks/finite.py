"""Are all derivatives finite? At random hard states, degenerate ones among them (stress_states.py).

    python benchmarks/finite.py --steps 100000 --x64 --out benchmarks/results/finite_float64.json

Each case takes the Jacobians of `dojo.linearize` and the gradient by reverse mode of a sum of all
outputs, in state, control and every parameter; converged or not, all of it is to be finite.
`--steps` counts for each model; timesteps and kappas are those of stress.py. The results file is
written after each model, and a second run with the same file goes on from it.
"""

import itertools
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from stress import KAPPAS, TIMESTEPS, corpus_parser, precision, progress, robots
from stress_states import draw

import dojo

LANES = 256
ITERATIONS = 60


def main() -> None:
    """Run all models, print a line for each."""
    args = corpus_parser(__doc__).parse_args()
    jax.config.update("jax_enable_x64", args.x64)
    before = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    if before.get("float64", args.x64) != args.x64:
        raise SystemExit(f"{args.out}: results of the other precision; choose another file.")
    rows = before.get("rows", {})
    found = {name: model for name, model in robots(args).items() if name not in rows}
    for name, model in progress(found.items(), len(found)):
        rows[name] = count(model, args.steps)
        print(name, rows[name], flush=True)
        if args.out:
            versions = {"jax": jax.__version__, "dojo": version("dojo-sim")}
            head = {"float64": args.x64, "date": time.strftime("%Y-%m-%d"), "versions": versions}
            args.out.write_text(json.dumps(head | {"rows": rows}, indent=1) + "\n")


def count(model: dojo.Model, steps: int) -> dict[str, int]:
    """Cases, those that converged, and those with a derivative that is not finite."""
    run = compiled(model)
    total = {"cases": 0, "converged": 0, "not_finite": 0}
    cells = itertools.cycle(itertools.product(TIMESTEPS, KAPPAS[precision()]))
    for k, (timestep, kappa) in enumerate(cells):
        if total["cases"] >= steps:
            return total
        keys = jax.random.split(jax.random.PRNGKey(k), LANES)
        finite, converged = (np.asarray(x) for x in run(keys, timestep, kappa))
        total["cases"] += LANES
        total["converged"] += int(converged.sum())
        total["not_finite"] += int((~finite).sum())
    raise AssertionError


def compiled(model: dojo.Model) -> Callable[..., Any]:
    """For random keys, timestep and kappa: whether all is finite, whether the step converged."""

    def outputs(model: dojo.Model, state: dojo.State, u: jax.Array, kappa: jax.Array) -> Any:
        options = dojo.SolverOptions(kappa=kappa, max_iterations=ITERATIONS)
        after, info = dojo.step(model, state, u, options=options)
        leaves = [x for x in jax.tree.leaves((after, info)) if x.dtype.kind == "f"]
        return sum(jnp.sum(x) for x in leaves), info.grad_converged

    def lane(key: jax.Array, timestep: jax.Array, kappa: jax.Array) -> Any:
        drawn = draw(model.replace(timestep=timestep), key)
        inputs = drawn.model, drawn.state, drawn.u, kappa
        gradient, converged = jax.grad(outputs, argnums=(0, 1, 2, 3), has_aux=True)(*inputs)
        options = dojo.SolverOptions(kappa=kappa, max_iterations=ITERATIONS)
        jacobians = dojo.linearize(drawn.model, drawn.state, drawn.u, options=options)
        leaves = jax.tree.leaves((gradient, jacobians))
        finite = jnp.stack([jnp.isfinite(x).all() for x in leaves]).all()
        return finite, converged

    return jax.jit(jax.vmap(lane, in_axes=(0, None, None)))


if __name__ == "__main__":
    main()
