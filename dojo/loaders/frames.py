"""Named frames: every body, merged into a link or not, and every site."""

import mujoco
import numpy as np

from dojo.loaders.links import Links, Pose
from dojo.loaders.names import body_name, site_name

_SITE = "/site"


def read_frames(
    m: mujoco.MjModel, links: Links
) -> tuple[tuple[str, ...], np.ndarray, dict[str, np.ndarray]]:
    """Names and links of the frames, and their poses there.

    A site whose name is taken, by a body, has /site behind it.
    """
    bodies = range(1, m.nbody)
    names = [body_name(m, b) for b in bodies]
    for name in (site_name(m, s) for s in range(m.nsite)):
        while name in names:
            name += _SITE
        names.append(name)
    poses = [links.body_pose[b] for b in bodies]
    at = m.site_bodyid
    poses += [
        links.body_pose[at[s]] @ Pose(m.site_pos[s].copy(), m.site_quat[s].copy())
        for s in range(m.nsite)
    ]
    return (
        tuple(names),
        np.array([*links.body_link[1:], *links.body_link[at]], dtype=int),
        {
            "frame_pos": np.array([p.pos for p in poses]).reshape(-1, 3),
            "frame_quat": np.array([p.quat for p in poses]).reshape(-1, 4),
        },
    )
