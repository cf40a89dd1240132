"""`dojo demo`: a robot from file, simulated in contact, differentiated, shown."""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dojo.cli.simulation import report, show_progress, simulate, write_animation
from dojo.loaders.load import load
from dojo.model.model import Model
from dojo.model.state import State, init
from dojo.rollout import rollout
from dojo.solver.options import SolverOptions

SECONDS = 2.0
# Beside this file, so that the demo runs wherever the package is installed.
ROBOT = Path(__file__).with_name("crawler.xml")


def run(args: argparse.Namespace) -> int:
    """Run the demo and say where the animation is."""
    model = load(ROBOT)
    print(f"1. loaded {ROBOT.name}: nq {model.nq}, nv {model.nv}, nu {model.nu}")
    steps = round(SECONDS / float(model.timestep))
    phase = 2 * np.pi * np.arange(steps) / 50
    us = np.stack([np.sin(phase), np.sin(phase + 0.9)], axis=1)
    print(f"2. simulating {SECONDS} s in contact (the first run compiles)")
    states, infos = simulate(model, init(model), us, SolverOptions(), show_progress)
    report(model, states, infos)
    gradients(model, states, us)
    page = write_animation(model, states, args.html)
    print(f"4. animation: {page} (open it in a browser)")
    return 0 if bool(np.all(infos.converged)) else 1


def gradients(model: Model, states: State, us: np.ndarray) -> None:
    """Differentiate where the robot ends through 20 steps in contact, and check by differences."""
    # Step 16 is in the air, step 36 after the landing.
    start = State(jnp.asarray(states.q[16]), jnp.asarray(states.v[16]))
    controls = jnp.asarray(us[17:37])
    options = SolverOptions(kappa=1e-4)

    def travelled(controls: jax.Array, friction: jax.Array) -> jax.Array:
        slippery = model.replace(geom_friction=friction)
        after, _ = rollout(slippery, start, controls, options=options)
        return after.q[-1, 0]

    friction = model.geom_friction
    started = time.perf_counter()
    slope = jax.jit(jax.grad(travelled, argnums=(0, 1)))(controls, friction)
    print(
        f"3. d(distance)/d(controls, friction) in {time.perf_counter() - started:.1f} s (compiles)"
    )
    value = jax.jit(travelled)
    step = 1e-6 * jnp.ones_like(controls)
    by_difference = (value(controls + step, friction) - value(controls - step, friction)) / 2e-6
    print(
        f"   along equal control changes: gradient {float(slope[0].sum()):+.6e}, "
        f"central difference {float(by_difference):+.6e}"
    )
    print(f"   by friction: {float(slope[1].sum()):+.6e} m")
