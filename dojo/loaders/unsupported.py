"""Whole-file features that the engine does not simulate, found in the compiled model."""

import mujoco
import numpy as np

from dojo.loaders.findings import Findings, listing
from dojo.loaders.names import joint_name

_DISABLE = mujoco.mjtDisableBit


def disabled(m: mujoco.MjModel, bit: mujoco.mjtDisableBit) -> bool:
    """Whether the file's <option><flag> disables something."""
    return bool(int(m.opt.disableflags) & int(bit))


def find_unsupported(m: mujoco.MjModel, found: Findings) -> None:
    """Record what cannot be simulated and what is approximated."""
    _joints(m, found)
    _bodies(m, found)
    _notes(m, found)


def _joints(m: mujoco.MjModel, found: Findings) -> None:
    # Elsewhere it makes no difference but in MuJoCo's account of forces.
    carried = [
        joint_name(m, int(j)) for j in np.flatnonzero(m.jnt_actgravcomp & m.jnt_actfrclimited)
    ]
    if carried and np.any(m.body_gravcomp):
        found.refuse("actuator gravcomp", listing(carried))
    for field in ("dof_dampingpoly", "jnt_stiffnesspoly", "jnt_springyield"):
        # Absent from older MuJoCo releases.
        if np.any(getattr(m, field, 0)):
            found.refuse("polynomial", field)


def _bodies(m: mujoco.MjModel, found: Findings) -> None:
    if m.nflex:
        found.refuse("flex", f"{m.nflex} flexes")
    if m.nplugin:
        found.refuse("plugin", f"{m.nplugin} plugins")
    if int(m.opt.enableflags) & int(mujoco.mjtEnableBit.mjENBL_OVERRIDE):
        found.refuse("override", "the file's contact override of margin, solref, friction")
    for field in ("geom_adhesion", "pair_adhesion", "geom_surfacevel"):
        if np.any(getattr(m, field, 0)):
            found.refuse("surface", field)


def _notes(m: mujoco.MjModel, found: Findings) -> None:
    found.note("solref, solimp, integrator, cone and solver options: MuJoCo's own, no effect here")
