"""The friction cone of dojo and of MuJoCo's pyramid, measured: docs/figures/friction_cone.png.

A box slides in every direction on a floor; the friction it meets, over mu times its weight, is
drawn as a polar curve. A round cone gives the unit circle, and no force across the motion.

    python docs/figures/friction_cone.py
"""

from pathlib import Path

import jax
import matplotlib.pyplot as plt
import mujoco
import numpy as np

import dojo

ROOT = Path(__file__).resolve().parents[2]
BOX = ROOT / "models" / "box.xml"
MU, SPEED, SECONDS = 0.3, 2.0, 0.1
ANGLES = np.linspace(0, 2 * np.pi, 49)
WEIGHT = 9.81


def unit(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)])


def forces_of_dojo() -> np.ndarray:
    """Mean friction [N] on the 1 kg box over SECONDS, by its loss of velocity: (angles, 2)."""
    model = dojo.load(BOX, timestep=0.01).replace(geom_friction=MU)
    steps = round(SECONDS / 0.01)
    options = dojo.SolverOptions(kappa=1e-10)
    run = jax.jit(lambda state: dojo.rollout(model, state, np.zeros((steps, 0)), options=options))
    forces = []
    for angle in ANGLES:
        start = dojo.init(model, v=[*(SPEED * unit(angle)), 0, 0, 0, 0])
        states, _ = run(start)
        forces.append((np.asarray(states.v[-1, :2]) - SPEED * unit(angle)) / SECONDS)
    return np.array(forces)


def forces_of_mujoco(cone: int) -> np.ndarray:
    """The same with MuJoCo at its default solver settings."""
    model = mujoco.MjModel.from_xml_path(str(BOX))
    model.opt.cone, model.opt.timestep = cone, 0.002
    model.geom_friction[:, 0] = MU
    forces = []
    for angle in ANGLES:
        data = mujoco.MjData(model)
        # At rest first, so that the normal force is the weight.
        while data.time < 1.0:
            mujoco.mj_step(model, data)
        data.qvel[:2] = SPEED * unit(angle)
        before, t = data.qvel[:2].copy(), data.time
        while data.time < t + SECONDS:
            mujoco.mj_step(model, data)
        forces.append((data.qvel[:2] - before) / (data.time - t))
    return np.array(forces)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    curves = {
        "dojo": (forces_of_dojo(), "C0", 2.5),
        "MuJoCo, pyramid (its default)": (
            forces_of_mujoco(mujoco.mjtCone.mjCONE_PYRAMIDAL),
            "C3",
            1.5,
        ),
        "MuJoCo, elliptic": (forces_of_mujoco(mujoco.mjtCone.mjCONE_ELLIPTIC), "C2", 1.5),
    }
    figure, axes = plt.subplots(figsize=(5.6, 5.2), layout="constrained")
    axes.add_patch(plt.Circle((0, 0), 1, fill=False, color="0.6", lw=6, alpha=0.5))
    for name, (forces, color, width) in curves.items():
        shown = -forces / (MU * WEIGHT)
        axes.plot(*shown.T, "-o", color=color, lw=width, ms=3, label=name)
        sizes = np.linalg.norm(shown, axis=1)
        print(f"{name}: {sizes.min():.4f} to {sizes.max():.4f} of mu N")
    axes.plot([], [], color="0.6", lw=6, alpha=0.5, label="Coulomb: circle")
    axes.set(aspect="equal", xlabel="force along x / (mu N)", ylabel="force along y / (mu N)")
    axes.set_title(f"Friction on a box sliding in {len(ANGLES) - 1} directions")
    axes.legend(loc="center", frameon=False)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
