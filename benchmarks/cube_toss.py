"""Real cube tosses (ContactNets, DAIR Lab) rolled out from their first frame.

    python benchmarks/cube_toss.py PATH/cube_tosses.npz --count 400 --out results.json

Mass 0.37 kg, half width 0.0524 m, mu 0.18, h = 1/148 s. Reported: mean over frames, then tosses, of
the position error in % of the cube's width and of the rotation angle in degrees.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import dojo

WIDTH = 0.1048
CUBE = """
<mujoco><option timestep="{h}"/><worldbody>
  <geom type="plane" size="1 1 0.1" friction="{mu}"/>
  <body><freejoint/>
    <inertial pos="0 0 0" mass="0.37" diaginertia="0.00081 0.00081 0.00081"/>
    <geom type="box" size="0.0524 0.0524 0.0524" friction="{mu}"/>
  </body>
</worldbody></mujoco>
"""


def main() -> None:
    """Simulate the tosses and print the errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--kappa", type=float, nargs="+", default=[1e-4, 1e-5, 1e-6, 1e-8])
    parser.add_argument("--mu", type=float, default=0.18)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    model = dojo.load(CUBE.format(h=1 / 148, mu=args.mu))
    tosses, frames = load_tosses(args.data, args.count)
    rows = []
    for kappa in args.kappa:
        started = time.perf_counter()
        row = {"kappa": kappa, "tosses": len(tosses), **errors(model, tosses, frames, kappa)}
        row["seconds"] = time.perf_counter() - started
        rows.append(row)
        print(
            f"kappa {kappa:.0e}: position {row['position']:.2f} % of the width, rotation "
            f"{row['rotation']:.2f} deg, unconverged steps {row['unconverged']}, "
            f"iterations {row['iterations']:.1f}"
        )
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


def load_tosses(path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Tosses padded to one length (n, T, 13), and their numbers of frames (n,)."""
    data = np.load(path)
    offsets = data["offsets"][: count + 1]
    frames = np.diff(offsets)
    padded = np.zeros((len(frames), frames.max(), 13))
    for k, (start, stop) in enumerate(itertools.pairwise(offsets)):
        padded[k, : stop - start] = data["trajectories"][start:stop]
    return padded, frames


def errors(model: dojo.Model, tosses: np.ndarray, frames: np.ndarray, kappa: float) -> dict:  # type: ignore[type-arg]
    """Mean position [% of the width] and rotation [deg] errors at a kappa."""
    length = tosses.shape[1]

    def one(first: jax.Array, kappa: jax.Array) -> tuple[jax.Array, dojo.StepInfo]:
        state = dojo.init(model, q=first[:7], v=first[7:])
        options = dojo.SolverOptions(kappa=kappa)
        states, infos = dojo.rollout(model, state, jnp.zeros((length - 1, 0)), options=options)
        return jnp.concatenate([state.q[None], states.q]), infos

    q, infos = jax.jit(jax.vmap(one, in_axes=(0, None)))(jnp.asarray(tosses[:, 0]), kappa)
    q = np.asarray(q)
    seen = np.arange(length)[None] < frames[:, None]
    position = 100 * np.linalg.norm(q[..., :3] - tosses[..., :3], axis=-1) / WIDTH
    inner = np.abs(np.sum(q[..., 3:] * tosses[..., 3:7], axis=-1))
    rotation = np.rad2deg(2 * np.arccos(np.clip(inner, 0, 1)))
    steps = seen[:, 1:]
    return {
        "position": float(np.mean([p[s].mean() for p, s in zip(position, seen, strict=True)])),
        "rotation": float(np.mean([r[s].mean() for r, s in zip(rotation, seen, strict=True)])),
        "unconverged": int((~np.asarray(infos.converged) & steps).sum()),
        "iterations": float(np.asarray(infos.iterations)[steps].mean()),
    }


if __name__ == "__main__":
    main()
