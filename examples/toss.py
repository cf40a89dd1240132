"""Where does a tossed cube come to rest, and how does that depend on the toss?

    python examples/toss.py            writes toss.html (animation) and toss.png (figures)

First a toss whose answer is known. A cube of 0.5 m flies without spin, lands flat at the speed w,
loses mu w of its speed along the floor, slides to a stop:

    t = (vz + w) / g,    w = sqrt(vz^2 + 2 g d),    x = vx t + (vx - mu w)^2 / (2 mu g)

`jax.grad` through the whole rollout, impact and all, converges to the derivatives of that formula.
Then a toss with spin that lands on its corners one after the other: there is no formula, but
central differences of the same rollout agree with the gradient to seven digits.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import dojo

jax.config.update("jax_enable_x64", True)
BOX = Path(__file__).parents[1] / "models" / "box.xml"
GRAVITY, DROP, SECONDS = 9.81, 0.35, 0.5
FLAT = jnp.array([1.0, 0.0, 0.3])  # vx, vz, mu
SPINNING = jnp.array([1.0, 0.4, 1.0, 2.0, -3.0, 1.0, 0.3])  # v, then spin, then mu


def formula(toss):
    """Where the flat toss (vx, vz, mu) comes to rest [m]."""
    vx, vz, mu = toss
    w = jnp.sqrt(vz**2 + 2 * GRAVITY * DROP)
    return vx * (vz + w) / GRAVITY + (vx - mu * w) ** 2 / (2 * mu * GRAVITY)


@functools.partial(jax.jit, static_argnums=2)
def tossed(velocity, friction, steps, timestep, kappa):
    """The states of a toss, and whether all of its steps converged."""
    model = dojo.load(BOX).replace(
        timestep=timestep, geom_friction=friction, gravity=np.array([0, 0, -GRAVITY])
    )
    start = dojo.init(model, q=np.array([0, 0, 0.25 + DROP, 1, 0, 0, 0]), v=velocity)
    options = dojo.SolverOptions(kappa=kappa)
    states, infos = dojo.rollout(model, start, jnp.zeros((steps, 0)), options=options)
    return states, infos


def flat_end(toss, steps, timestep, kappa):
    """Where the simulated flat toss is after the last step."""
    velocity = jnp.zeros(6).at[0].set(toss[0]).at[2].set(toss[1])
    states, infos = tossed(velocity, toss[2], steps, timestep, kappa)
    return states.q[-1, 0], infos.converged.all()


def flat_gradient(timestep, kappa):
    """Relative errors of the derivatives in vx, vz, mu."""
    steps = round(SECONDS / timestep)
    (_, converged), gradient = _flat_value_and_grad(FLAT, steps, timestep, kappa)
    assert converged
    return np.asarray(gradient / jax.grad(formula)(FLAT) - 1)


_flat_value_and_grad = jax.jit(jax.value_and_grad(flat_end, has_aux=True), static_argnums=1)


def spinning_end(toss):
    """Where the cube that spins is after 0.8 s, along x, at kappa 1e-4 and h = 0.01 s."""
    states, infos = tossed(toss[:6], toss[6], 80, 0.01, 1e-4)
    return states.q[-1, 0], infos


def spinning_gradient():
    """The gradient of the spinning toss, and central differences with Richardson's correction."""
    gradient = jax.jit(jax.grad(spinning_end, has_aux=True))(SPINNING)[0]
    end = jax.jit(lambda toss: spinning_end(toss)[0])

    def central(k, step):
        d = jnp.zeros(7).at[k].set(step)
        return (end(SPINNING + d) - end(SPINNING - d)) / (2 * step)

    def difference(k, step=2e-6):
        return (4 * central(k, step / 2) - central(k, step)) / 3

    return np.asarray(gradient), np.array([difference(k) for k in range(7)])


def strikes(infos):
    """How often a corner of the cube comes down on the floor."""
    touching = np.asarray(infos.contacts.impulse)[:, :, 0] > 0.01
    return int((touching[1:] & ~touching[:-1]).sum())


def main():
    """Print the tables, write the pictures."""
    timesteps = (0.02, 0.01, 0.005, 0.002, 0.001)
    print("flat toss at kappa 1e-10: relative error of the derivatives in vx, vz, mu")
    errors = []
    for h in timesteps:
        errors.append(flat_gradient(h, 1e-10))
        print(f"  h = {h:5.3f} s  " + "  ".join(f"{e:+7.2%}" for e in errors[-1]))
    print("the same at h = 0.002 s")
    for kappa in (1e-4, 1e-5, 1e-6, 1e-8):
        error = flat_gradient(0.002, kappa)
        print(f"  kappa = {kappa:.0e}  " + "  ".join(f"{e:+7.2%}" for e in error))
    gradient, difference = spinning_gradient()
    states, infos = tossed(SPINNING[:6], SPINNING[6], 150, 0.01, 1e-4)
    print(f"spinning toss, {strikes(infos)} strikes of corners: gradient, differences")
    for name, g, d in zip(
        ("vx", "vy", "vz", "wx", "wy", "wz", "mu"), gradient, difference, strict=True
    ):
        print(f"  {name}  {g:+.8f}  {d:+.8f}")
    plot(timesteps, np.abs(errors))
    model = dojo.load(BOX, timestep=0.01)
    viewer = dojo.Visualizer(model)
    viewer.play(states)
    viewer.save("toss.html")
    print("written: toss.html, toss.png")


def plot(timesteps, errors):
    """The errors of the flat toss against the timestep."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    for column, name, line in zip(errors.T, ("vx", "vz", "mu"), ("o-", "s--", "^-"), strict=True):
        axes.loglog(timesteps, column, line, label=f"d x / d {name}")
    axes.loglog(timesteps, 3 * np.array(timesteps), "k:", label="slope 1")
    axes.set(xlabel="timestep [s]", ylabel="relative error", title="Gradient through a flat impact")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig("toss.png", dpi=120)


def test_final():
    """The claims: first-order convergence, within 5 % from h = 0.005 s on; differences agree."""
    coarse, fine = flat_gradient(0.005, 1e-10), flat_gradient(0.001, 1e-10)
    assert np.abs(coarse).max() < 0.05
    assert np.abs(fine).max() < 0.005
    gradient, difference = spinning_gradient()
    assert np.abs(gradient - difference).max() < 1e-6 * np.abs(difference).max()


if __name__ == "__main__":
    main()
