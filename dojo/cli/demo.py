"""`dojo demo`: a robot from file, simulated in contact, differentiated, shown."""

import argparse
import tempfile
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
# A small crawler: the demo must not depend on where the package was installed from.
ROBOT = """
<mujoco model="crawler">
  <option timestep="0.01"/>
  <default>
    <geom friction="0.8" contype="1" conaffinity="0" rgba="0.2 0.45 0.75 1"/>
    <joint damping="0.02" armature="0.001" range="-1.2 1.2" limited="true"/>
    <motor ctrlrange="-1 1" gear="0.4"/>
  </default>
  <worldbody>
    <geom name="floor" type="plane" size="3 3 0.1" contype="0" conaffinity="1"
          rgba="0.85 0.86 0.88 1"/>
    <body name="trunk" pos="0 0 0.45" euler="12 18 0">
      <freejoint/>
      <geom name="trunk" type="box" size="0.16 0.08 0.04" mass="1"/>
      <body name="front" pos="0.16 0 0">
        <joint name="front" axis="0 1 0"/>
        <geom name="front" type="capsule" fromto="0 0 0 0.1 0 -0.15" size="0.025" mass="0.2"
              rgba="0.95 0.55 0.2 1"/>
      </body>
      <body name="rear" pos="-0.16 0 0">
        <joint name="rear" axis="0 1 0"/>
        <geom name="rear" type="capsule" fromto="0 0 0 -0.1 0 -0.15" size="0.025" mass="0.2"
              rgba="0.95 0.55 0.2 1"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor name="front" joint="front"/><motor name="rear" joint="rear"/></actuator>
</mujoco>
"""


def run(args: argparse.Namespace) -> int:
    """Run the demo and say where the animation is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "crawler.xml"
        path.write_text(ROBOT)
        model = load(path)
    print(f"1. loaded a robot: nq {model.nq}, nv {model.nv}, nu {model.nu}")
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
