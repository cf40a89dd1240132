"""A tower of ten boxes stands for a minute; then a ball knocks it over.

    python examples/tower.py           writes tower.html (animation)

Engines whose contacts are springs let stacks sink, creep and lean. Here the gaps at the end of each
step are exact and friction sticks: after the first second the tower moves by less than a micrometre
in the minute that follows, at a timestep of 0.01 s.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import dojo

jax.config.update("jax_enable_x64", True)
BOXES, SIDE, TIMESTEP = 10, 0.2, 0.01
MINUTE, FALL = 6000, 250  # steps


def scene():
    """The tower, and a ball out of reach."""
    boxes = "".join(
        f'<body pos="0 0 {SIDE * (k + 0.5)}"><freejoint/>'
        f'<geom type="box" size=".1 .1 .1" mass="1" rgba=".{9 - k} .5 .{k} 1"/></body>'
        for k in range(BOXES)
    )
    return dojo.load(f"""
<mujoco><option timestep="{TIMESTEP}"/><worldbody>
  <geom type="plane" size="3 3 .1"/>{boxes}
  <body pos="-4 0 .15"><freejoint/><geom size=".15" mass="5" rgba=".2 .2 .2 1"/></body>
</worldbody></mujoco>""")


@functools.partial(jax.jit, static_argnums=2)
def simulated(model, state, steps, kappa):
    """States and reports of the steps that follow."""
    options = dojo.SolverOptions(kappa=kappa)
    return dojo.rollout(model, state, jnp.zeros((steps, 0)), options=options)


def standing(model, steps):
    """The last state, how far anything moved after the first second, and whether all converged."""
    states, infos = simulated(model, dojo.init(model), steps, 1e-11)
    q = np.asarray(states.q)[:, : 7 * BOXES]
    drift = np.abs(q[100:] - q[100]).max()
    return jax.tree.map(lambda x: x[-1], states), drift, bool(infos.converged.all())


def thrown(model, state):
    """The tower, and the ball flying at it."""
    q = state.q.at[-7:].set(jnp.array([-1.5, 0.02, 1.3, 1, 0, 0, 0]))
    return dojo.State(q, state.v.at[-6:-3].set(jnp.array([6.0, 0, 1.0])))


def main():
    """Let it stand, throw the ball, write the animation."""
    model = scene()
    state, drift, converged = standing(model, MINUTE)
    print(f"a minute: all steps converged: {converged}; drift after the first second {drift:.1e} m")
    states, infos = simulated(model, thrown(model, state), FALL, 1e-6)
    left = np.asarray(states.q)[-1, : 7 * BOXES].reshape(-1, 7)[:, 2]
    print(f"the ball: all steps converged: {bool(infos.converged.all())}")
    print(f"  iterations: mean {infos.iterations.mean():.1f}, most {int(infos.iterations.max())}")
    print(
        f"  smallest gap {float(infos.contacts.gap.min()):.1e} m, highest box at {left.max():.2f} m"
    )
    viewer = dojo.Visualizer(model)
    viewer.play(states)
    viewer.save(Path("tower.html"))
    print("wrote tower.html")


def test_final():
    """The claim, for six seconds."""
    _, drift, converged = standing(scene(), 600)
    assert converged
    assert drift < 1e-6


if __name__ == "__main__":
    main()
