"""The medium that bodies move in, and the box that each of them is to it."""

import dataclasses

import mujoco
import numpy as np

from dojo.loaders.findings import Findings, listing
from dojo.loaders.links import Links, Pose
from dojo.loaders.names import geom_name
from dojo.loaders.unsupported import disabled
from dojo.model.topology import WORLD

_DISABLE = mujoco.mjtDisableBit


@dataclasses.dataclass(frozen=True)
class Fluid:
    """Bodies that feel the medium, none if it is a vacuum."""

    link: np.ndarray  # (k,) their links
    parameters: dict[str, np.ndarray]


def read_fluid(m: mujoco.MjModel, links: Links, found: Findings) -> Fluid:
    """The bodies by their boxes of equal inertia; refuses MuJoCo's model of ellipsoids."""
    acts = _acts(m)
    shaped = np.flatnonzero((m.geom_fluid[:, 0] > 0) & acts)
    moving = (links.body_link != WORLD) & (links.body_link < m.njnt) & (m.body_mass > 0)
    # MuJoCo's model of ellipsoids stands for the box of its body.
    bodies = np.setdiff1d(np.flatnonzero(moving & acts), m.geom_bodyid[shaped])
    if len(shaped):
        names = listing([geom_name(m, int(g)) for g in shaped])
        found.refuse("fluid", f"fluidshape='ellipsoid' of geoms {names}")
    poses = [links.body_pose[int(b)] @ Pose(m.body_ipos[b], m.body_iquat[b]) for b in bodies]
    medium = np.array([m.opt.density, m.opt.viscosity]) * acts
    return Fluid(
        link=links.body_link[bodies].astype(int),
        parameters={
            "fluid_density": medium[0],
            "fluid_viscosity": medium[1],
            "fluid_wind": m.opt.wind.copy(),
            "fluid_box": np.array(
                [box_of(m.body_inertia[b], float(m.body_mass[b])) for b in bodies]
            ).reshape(-1, 3),
            "fluid_pos": np.array([pose.pos for pose in poses]).reshape(-1, 3),
            "fluid_quat": np.array([pose.quat for pose in poses]).reshape(-1, 4),
        },
    )


def _acts(m: mujoco.MjModel) -> bool:
    # MuJoCo takes it for a passive force.
    passive = not (disabled(m, _DISABLE.mjDSBL_SPRING) and disabled(m, _DISABLE.mjDSBL_DAMPER))
    return passive and bool(m.opt.density or m.opt.viscosity)


def box_of(moments: np.ndarray, mass: float) -> np.ndarray:
    """Sides (3,) of the box with this mass and these moments of inertia [m]."""
    return np.sqrt(6.0 * np.maximum(moments.sum() - 2.0 * moments, 1e-15) / mass)
