"""Gaps of all pairs of convex geoms against MuJoCo's, and piles that tumble: how well they go.

    python benchmarks/collision.py --poses 100000 --piles 4 --out collision_float64.json

Gaps: random poses of ten geoms, each against each, beside those of coal and of `mj_geomDistance` at
its tightest tolerance; for some of them (`--moved`), gaps after a move by 5 mm and 0.05 rad with
the features of the start, beside those with features of the end. Piles: five bodies turned at
random, dropped from 0.15 to 1.15 m, 1.5 s at h = 0.01 s and kappa 1e-6, sixteen at a time. Depths
are as MuJoCo tells them, those of its own simulation of the same piles at the same step beside.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from coal_distance import Judge
from rich.progress import track

import dojo
from dojo.model.topology import contact_geoms
from dojo.physics import collision
from dojo.physics.kinematics import displace, link_frames, local_maps

LANES, STEPS, KAPPA = 16, 150, 1e-6
# Poses at a time.
BATCH = 1000
# Distances below this [m] are of bodies that touch or overlap; up to the second they are near.
APART, NEAR = 1e-4, 1e-2


def _corners(points: np.ndarray) -> str:
    return " ".join(f"{x:.6f}" for x in points.ravel())


def _hull(seed: int, count: int, radius: float) -> str:
    x = np.random.default_rng(seed).normal(size=(count, 3))
    return _corners(radius * x / np.linalg.norm(x, axis=1, keepdims=True))


_BLOCK = np.array(list(itertools.product((-0.07, 0.07), (-0.05, 0.05), (-0.03, 0.03))))
_ASSETS = (
    f'<asset><mesh name="rock" vertex="{_hull(0, 20, 0.12)}"/>'
    f'<mesh name="brick" vertex="{_corners(_BLOCK)}"/>'
    '<mesh name="wedge" vertex="0 0 0 .2 0 0 0 .15 0 .2 .15 0 0 0 .1 0 .15 .1"/></asset>'
)
_GEOMS = {
    "sphere": 'type="sphere" size=".11"',
    "egg": 'type="ellipsoid" size=".1 .14 .06"',
    "bean": 'type="ellipsoid" size=".03 .05 .2"',
    "rod": 'type="capsule" size=".07 .15"',
    "box": 'type="box" size=".12 .2 .07"',
    "rock": 'type="mesh" mesh="rock"',
    "wedge": 'type="mesh" mesh="wedge"',
    "can": 'type="cylinder" size=".09 .14"',
    "coin": 'type="cylinder" size=".12 .01"',
    "log": 'type="cylinder" size=".04 .2"',
}
_PILES = {
    "ellipsoids": ['type="ellipsoid" size=".07 .05 .06"'],
    "boxes": ['type="box" size=".06 .05 .04"'],
    "hulls, boxes, rods": [
        'type="mesh" mesh="brick"',
        'type="box" size=".06 .05 .04"',
        'type="capsule" size=".03 .07"',
    ],
    "cylinders": [
        'type="cylinder" size=".03 .08"',
        'type="cylinder" size=".05 .05"',
        'type="cylinder" size=".07 .01"',
    ],
}


def main() -> None:
    """Measure, print a line for each pair and each kind of pile."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--poses", type=int, default=1000)
    parser.add_argument("--moved", type=int, default=4000)
    parser.add_argument("--piles", type=int, default=1, help="times sixteen piles of each kind")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    result: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "gaps": {}, "piles": {}}
    result["versions"] = {"jax": jax.__version__, "mujoco": mujoco.__version__}
    result["versions"]["dojo"] = version("dojo-sim")
    for pair, row in gaps(args.poses, args.moved):
        result["gaps"][pair] = row
        print(pair, row, flush=True)
    for kind, geoms in _PILES.items():
        result["piles"][kind] = row = piles(geoms, args.piles)
        print(kind, row, flush=True)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def gaps(count: int, moved: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Each pair of geoms with its figures, from `count` poses, the first `moved` of them moved."""
    names = list(_GEOMS)
    bodies = "".join(f'<body><freejoint/><geom name="{n}" {_GEOMS[n]}/></body>' for n in names)
    xml = f"<mujoco>{_ASSETS}<worldbody>{bodies}</worldbody></mujoco>"
    model, rng = dojo.load(xml, contact_budget=1000), np.random.default_rng(0)
    q = rng.normal(size=(count, len(names), 7))
    q[..., :3] *= 0.17
    q[..., 3:] /= np.linalg.norm(q[..., 3:], axis=-1, keepdims=True)
    dq = rng.normal(size=(min(moved, count), len(names), 6)) * np.repeat([0.005, 0.05], 3)
    q, dq = q.reshape(count, -1), dq.reshape(-1, model.nv)

    def frames_at(q: jax.Array) -> Any:
        return link_frames(model, local_maps(model), q)

    def settled(start: Any, end: Any) -> Any:
        return collision.anchored(model, collision.candidates(model), start, end)

    @jax.jit
    @jax.vmap
    def touched(q: jax.Array) -> list[jax.Array]:
        at = frames_at(q)
        return [collision.touch(model, settled(at, at), at).gap]

    @jax.jit
    @jax.vmap
    def touched_after(q: jax.Array, dq: jax.Array) -> list[jax.Array]:
        start, end = frames_at(q), frames_at(displace(model, q, dq))
        return [
            collision.touch(model, c, end).gap for c in (settled(start, end), settled(end, end))
        ]

    (found,) = _in_batches(touched, q)
    kept_gaps, then_gaps = _in_batches(touched_after, q[: len(dq)], dq)
    expected, judged = judges(xml, q)
    geoms = np.sort(contact_geoms(model.topology), axis=1)
    for k, (a, b) in enumerate(itertools.combinations(range(len(names)), 2)):
        rows = np.flatnonzero((geoms == sorted((a, b))).all(axis=1))
        here, kept, then = (x[:, rows].min(axis=1) for x in (found, kept_gaps, then_gaps))
        apart = expected[:, k] > APART
        off, change = np.abs(here - expected[:, k])[apart], kept - then
        beside = np.abs(here - judged[:, k])[apart]
        near = apart[: len(then)] & (then > APART) & (then < NEAR)
        yield (
            f"{names[a]}-{names[b]}",
            {
                "poses apart": int(apart.sum()),
                "within 1e-6 m of coal": float(np.mean(beside < 1e-6)),
                "of MuJoCo": float(np.mean(off < 1e-6)),
                "of either": float(np.mean(np.minimum(off, beside) < 1e-6)),
                "worst, of either [m]": float(np.minimum(off, beside).max(initial=0.0)),
                "near": int(near.sum()),
                "moved, larger by 0.1 mm": float(np.mean(change[near] > 1e-4)),
                "moved, smaller by 0.1 mm": float(np.mean(change[near] < -1e-4)),
                "moved, largest [m]": float(np.abs(change[near]).max(initial=0.0)),
            },
        )


def _in_batches(function: Any, *inputs: np.ndarray) -> list[np.ndarray]:
    """Outputs of a compiled function over a first axis, BATCH at a time."""
    starts = track(range(0, len(inputs[0]), BATCH), "ours")
    parts = [jax.device_get(function(*(x[k : k + BATCH] for x in inputs))) for k in starts]
    return [np.concatenate(x) for x in zip(*parts, strict=True)]


def judges(xml: str, poses: np.ndarray) -> np.ndarray:
    """Distances of all pairs of bodies at poses (n, nq) by MuJoCo and by coal: (2, n, pairs)."""
    m, pairs = _world(xml)
    d, ends, judge = mujoco.MjData(m), np.zeros(6), Judge(m)
    found = np.zeros((2, len(poses), len(pairs)))
    for k, q in enumerate(track(poses, "judges")):
        d.qpos[:] = q
        mujoco.mj_kinematics(m, d)
        found[0, k] = [mujoco.mj_geomDistance(m, d, a, b, 10.0, ends) for a, b in pairs]
        found[1, k] = [judge.distance(d, a, b) for a, b in pairs]
    return found


def distances(xml: str, poses: np.ndarray) -> np.ndarray:
    """Least distance of any two bodies at each of the poses (n, nq), by MuJoCo: (n,)."""
    m, pairs = _world(xml)
    d, ends, found = mujoco.MjData(m), np.zeros(6), np.zeros(len(poses))
    for k, q in enumerate(poses):
        d.qpos[:] = q
        mujoco.mj_kinematics(m, d)
        found[k] = min(mujoco.mj_geomDistance(m, d, a, b, 10.0, ends) for a, b in pairs)
    return found


def _world(xml: str) -> tuple[mujoco.MjModel, list[tuple[int, int]]]:
    """MuJoCo's model, and its pairs of moving geoms."""
    m = mujoco.MjModel.from_xml_string(xml)
    m.opt.ccd_tolerance, m.opt.ccd_iterations = 1e-12, 200
    moving = [g for g in range(m.ngeom) if m.geom_bodyid[g]]
    return m, list(itertools.combinations(moving, 2))


def piles(geoms: list[str], times: int) -> dict[str, float]:
    """Figures of piles of these geoms in turn, `times` LANES of them."""
    bodies = "".join(
        f'<body pos="0 0 {0.15 + 0.25 * k}"><freejoint/><geom {geoms[k % len(geoms)]}/></body>'
        for k in range(5)
    )
    floor, option = '<geom type="plane" size="3 3 .1"/>', '<option timestep="0.01"/>'
    xml = f"<mujoco>{option}{_ASSETS}<worldbody>{floor}{bodies}</worldbody></mujoco>"
    model, rng = dojo.load(xml), np.random.default_rng(0)

    @jax.jit
    @jax.vmap
    def fallen(q: jax.Array) -> Any:
        start, us = dojo.State(q, jnp.zeros(model.nv)), jnp.zeros((STEPS, 0))
        options = dojo.SolverOptions(kappa=KAPPA)
        states, infos = dojo.rollout(model, start, us, options=options)
        energy = jax.vmap(lambda q, v: sum(dojo.energy(model, dojo.State(q, v))))
        return states.q, energy(states.q, states.v), infos.converged, infos.iterations

    starts, runs = [], []
    for _ in range(times):
        q = np.tile(np.asarray(dojo.init(model).q).reshape(1, 5, 7), (LANES, 1, 1))
        q[..., :2] += 0.02 * rng.normal(size=(LANES, 5, 2))
        q[..., 3:] = rng.normal(size=(LANES, 5, 4))
        q[..., 3:] /= np.linalg.norm(q[..., 3:], axis=-1, keepdims=True)
        starts += list(q.reshape(LANES, -1))
        runs.append([np.asarray(x) for x in fallen(jnp.array(starts[-LANES:]))])
    q, energy, converged, iterations = (np.concatenate(x) for x in zip(*runs, strict=True))
    lift = float(model.link_mass.sum()) * 9.81 * 0.1
    gain = np.where(converged[:, 1:], np.diff(energy, axis=1) / lift, -np.inf)
    depth = distances(xml, q.reshape(-1, q.shape[-1]))
    theirs = distances(xml, np.concatenate([simulated(xml, start) for start in starts]))
    return {
        "steps": converged.size,
        "not solved": int((~converged).sum()),
        "iterations": float(iterations.mean()),
        "iterations, 99 %": float(np.percentile(iterations, 99)),
        "largest gain of a solved step, m g 0.1 m": float(gain.max()),
        "solved steps that gain 0.06 of it": int((gain > 0.06).sum()),
        "energy at the end, most": float((energy[:, -1] / energy[:, 0]).max()),
        "deeper than 0.1 mm": float(np.mean(depth < -1e-4)),
        "deeper than 1 mm": float(np.mean(depth < -1e-3)),
        "deepest [m]": float(depth.min()),
        "MuJoCo: deeper than 0.1 mm": float(np.mean(theirs < -1e-4)),
        "MuJoCo: deeper than 1 mm": float(np.mean(theirs < -1e-3)),
        "MuJoCo: deepest [m]": float(theirs.min()),
    }


def simulated(xml: str, start: np.ndarray) -> np.ndarray:
    """Poses (STEPS, nq) that MuJoCo's own steps lead to."""
    m = mujoco.MjModel.from_xml_string(xml)
    d, poses = mujoco.MjData(m), np.zeros((STEPS, m.nq))
    d.qpos[:] = start
    for pose in poses:
        mujoco.mj_step(m, d)
        pose[:] = d.qpos
    return poses


if __name__ == "__main__":
    main()
