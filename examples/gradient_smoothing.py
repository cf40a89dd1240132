"""A block is pushed along the floor: what is the derivative of its speed by the push?

    python examples/gradient_smoothing.py            writes gradient_smoothing.png

Coulomb's friction holds the block up to mu m g; beyond, the block gains h / m of speed for every
newton. So the exact derivative jumps from 0 to h / m: an optimizer that starts with a gentle push
learns nothing. Two ways to smooth the jump:

- the central path: `grad_kappa` differentiates the problem at a larger kappa, exactly, at the cost
  of some Newton iterations;
- randomized smoothing: the mean derivative over random pushes F + sigma w, estimated without
  derivatives from 500 steps,  mean of (v(F + sigma w) - v(F)) w / sigma.

After arXiv 2203.00806, section V (gradient comparison).
"""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import dojo

jax.config.update("jax_enable_x64", True)
TIMESTEP, FRICTION, GRAVITY = 0.05, 0.5, 9.81
HARD = 1e-9
KAPPAS = (1e-2, 1e-3, 1e-4, 1e-5)
SIGMAS = (0.3, 1.0, 3.0)  # [N]
SAMPLES = 500
MODEL = dojo.load(Path(__file__).parents[1] / "models" / "box.xml", timestep=TIMESTEP).replace(
    geom_friction=FRICTION
)
MASS = float(MODEL.link_mass[0])
LIMIT = FRICTION * MASS * GRAVITY  # [N] the push that friction just holds


def settled():
    """The block at rest on the floor."""
    start = dojo.init(MODEL, q=[0, 0, 0.25, 1, 0, 0, 0])
    options = dojo.SolverOptions(kappa=HARD)
    states, _ = jax.jit(dojo.rollout)(MODEL, start, jnp.zeros((40, 0)), options=options)
    return jax.tree.map(lambda x: x[-1], states)


def speed(push, state, grad_kappa=None):
    """Speed [m/s] of the block after a step with this push [N]."""
    wrench = jnp.zeros((1, 6)).at[0, 0].set(push)
    options = dojo.SolverOptions(kappa=HARD, grad_kappa=grad_kappa)
    after, _ = dojo.step(MODEL, state, wrench=wrench, options=options)
    return after.v[0]


def coulomb(push):
    """The law: speed after a step from rest."""
    return np.maximum(push - LIMIT, 0.0) * TIMESTEP / MASS


def smoothed_coulomb(push, sigma, samples=200_000):
    """Derivative of the law's mean over pushes N(push, sigma^2): the share that slides."""
    w = np.random.default_rng(1).normal(size=samples)
    return np.mean(push[:, None] + sigma * w > LIMIT, axis=1) * TIMESTEP / MASS


many_speeds = jax.jit(jax.vmap(speed, in_axes=(0, None)))
many_slopes = jax.jit(jax.vmap(jax.grad(speed), in_axes=(0, None, None)))


def estimated(push, sigma, state, key):
    """Randomized smoothing of the simulator at one push, by SAMPLES steps."""
    w = jax.random.normal(key, (SAMPLES,))
    values = many_speeds(push + sigma * w, state)
    return float(jnp.mean((values - values.mean()) * w) / sigma)


def seconds(call):
    """Seconds of the best of five calls, compiled before."""
    jax.block_until_ready(call())

    def once():
        start = time.perf_counter()
        jax.block_until_ready(call())
        return time.perf_counter() - start

    return min(once() for _ in range(5))


def costs(state):
    """Seconds of a derivative at 64 pushes by grad_kappa, and of 500 steps for each of them."""
    pushes = jnp.linspace(0.2, 1.8, 64) * LIMIT
    exact = seconds(lambda: many_slopes(pushes, state, 1e-4)) / 64
    w = jax.random.normal(jax.random.PRNGKey(0), (SAMPLES,))
    sampled = seconds(lambda: many_speeds(LIMIT + w, state))
    return exact, sampled


def main():
    """Print what both cost and how well they do, write the picture."""
    state = settled()
    pushes = np.linspace(0, 2 * LIMIT, 41)
    values = np.asarray(many_speeds(pushes, state))
    print(f"largest deviation from Coulomb's law: {np.abs(values - coulomb(pushes)).max():.1e} m/s")
    slopes = {kappa: np.asarray(many_slopes(pushes, state, kappa)) for kappa in KAPPAS}
    keys = jax.random.split(jax.random.PRNGKey(0), len(pushes))
    sampled = {
        sigma: np.array([estimated(f, sigma, state, k) for f, k in zip(pushes, keys, strict=True)])
        for sigma in SIGMAS
    }
    unit = TIMESTEP / MASS
    for sigma, estimate in sampled.items():
        noise = np.std(estimate - smoothed_coulomb(pushes, sigma)) / unit
        print(f"sigma = {sigma:3.1f} N: standard error of the estimates {noise:.1%} of h / m")
    exact, random = costs(state)
    print(f"a derivative at grad_kappa 1e-4: {1e6 * exact:.0f} us;", end=" ")
    print(f"{SAMPLES} samples: {1e6 * random:.0f} us, {random / exact:.0f} times as much")
    plot(pushes, slopes, sampled)
    print("written: gradient_smoothing.png")


def plot(pushes, slopes, sampled):
    """The derivatives side by side."""
    import matplotlib.pyplot as plt

    unit = TIMESTEP / MASS
    figure, both = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axes, title, curves, label in (
        (both[0], "central path: exact at grad_kappa", slopes, "kappa = {:.0e} J"),
        (both[1], f"randomized smoothing, {SAMPLES} samples", sampled, "sigma = {:.1f} N"),
    ):
        axes.step([0, LIMIT, pushes[-1]], [0, 0, 1], "k", lw=1, label="Coulomb's law")
        for value, curve in curves.items():
            axes.plot(pushes, curve / unit, ".-", ms=4, label=label.format(value))
        axes.set(xlabel="push [N]", title=title)
        axes.grid(alpha=0.3)
        axes.legend()
    both[0].set_ylabel("d speed / d push, in h / m")
    figure.savefig("gradient_smoothing.png", dpi=120)


def test_final():
    """Values stay hard; slopes are smooth, monotone, and steepen with kappa towards the jump."""
    state = settled()
    pushes = np.linspace(0.1, 1.9, 19) * LIMIT
    values = np.asarray(many_speeds(pushes, state))
    away = np.abs(pushes - LIMIT) > 0.05 * LIMIT  # the corner itself is round at any kappa
    np.testing.assert_allclose(values[away], coulomb(pushes)[away], atol=1e-6)
    unit = TIMESTEP / MASS
    jump = (pushes > LIMIT).astype(float)
    misses = []
    for kappa in KAPPAS:
        slope = np.asarray(many_slopes(pushes, state, kappa)) / unit
        assert (np.diff(slope) > -1e-6).all()
        assert ((slope > 0) & (slope < 1.0001)).all()
        misses.append(np.abs(slope - jump).mean())
    assert (np.diff(misses) < 0).all()
    gentle = 0.5 * LIMIT
    assert many_slopes(np.array([gentle]), state, 1e-2)[0] > 0.05 * unit
    assert abs(many_slopes(np.array([gentle]), state, HARD)[0]) < 1e-3 * unit


if __name__ == "__main__":
    main()
