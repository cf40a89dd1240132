"""Names of compiled elements, with a readable substitute for those without one."""

import mujoco


def element_name(m: mujoco.MjModel, kind: mujoco.mjtObj, index: int) -> str:
    """The element's name, or its kind and index."""
    name = mujoco.mj_id2name(m, kind, index)
    return name or f"{kind.name.removeprefix('mjOBJ_').lower()}{index}"


def joint_name(m: mujoco.MjModel, index: int) -> str:
    """Name of a joint."""
    return element_name(m, mujoco.mjtObj.mjOBJ_JOINT, index)


def body_name(m: mujoco.MjModel, index: int) -> str:
    """Name of a body."""
    return element_name(m, mujoco.mjtObj.mjOBJ_BODY, index)


def geom_name(m: mujoco.MjModel, index: int) -> str:
    """Name of a geom."""
    return element_name(m, mujoco.mjtObj.mjOBJ_GEOM, index)


def site_name(m: mujoco.MjModel, index: int) -> str:
    """Name of a site."""
    return element_name(m, mujoco.mjtObj.mjOBJ_SITE, index)


def actuator_name(m: mujoco.MjModel, index: int) -> str:
    """Name of an actuator."""
    return element_name(m, mujoco.mjtObj.mjOBJ_ACTUATOR, index)


def tendon_name(m: mujoco.MjModel, index: int) -> str:
    """Name of a tendon."""
    return element_name(m, mujoco.mjtObj.mjOBJ_TENDON, index)
