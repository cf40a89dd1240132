"""An Atlas-like humanoid, 174 kg, standing straight with its soles at z = 0.

Masses, segment lengths and the offsets of hips and shoulders are those of the public atlas_v5
URDF (the one of the paper's drop), rounded. Simplified here: light links are merged into their
neighbours, the arms hang, the legs are straight below the hips, links are uniform boxes.
"""

import numpy as np

import dojo

_SPINE = '<joint axis="1 0 0"/><joint axis="0 1 0"/><joint axis="0 0 1"/>'
_HIP = '<joint axis="0 0 1"/><joint axis="1 0 0"/><joint axis="0 1 0"/>'
_ANKLE = '<joint axis="0 1 0"/><joint axis="1 0 0"/>'
_SHOULDER = '<joint axis="0 1 0"/><joint axis="1 0 0"/>'
_BENDS = '<joint axis="0 1 0"/>'


def _box(at, half, mass, contact=0):
    return (
        f'<geom type="box" pos="{at}" size="{half}" mass="{mass}" contype="0" '
        f'conaffinity="{contact}" friction="0.5"/>'
    )


def _bump(at, radius):
    """A massless sphere that touches the floor when the robot falls over."""
    return (
        f'<geom type="sphere" pos="{at}" size="{radius}" mass="0" contype="0" '
        'conaffinity="1" friction="0.5"/>'
    )


def _leg(y):
    foot = _box("0.045 0 -0.06", "0.13 0.06 0.02", 2.535, contact=1)
    shin = _box("0 0 -0.187", "0.05 0.05 0.18", 4.515) + _bump("0.05 0 0", 0.06)
    thigh = _box("0 0 -0.18", "0.07 0.06 0.19", 11.06)
    return f"""<body pos="0 {y} -0.066">{_HIP}{thigh}
      <body pos="0 0 -0.374">{_BENDS}{shin}
        <body pos="0 0 -0.422">{_ANKLE}{foot}</body></body></body>"""


def _arm(y):
    upper = _box("0 0 -0.12", "0.06 0.06 0.16", 12.75)
    lower = _box("0 0 -0.2", "0.04 0.04 0.2", 6.96) + _bump("0 0 -0.4", 0.05)
    return f"""<body pos="0 {y} 0.48">{_SHOULDER}{upper}
      <body pos="0 0 -0.3">{_BENDS}{lower}</body></body>"""


_ATLAS = f"""
<mujoco><option timestep="0.01"/><worldbody>
  <geom type="plane" size="0 0 1" friction="0.5" contype="1" conaffinity="0"/>
  <body pos="0 0 0.942"><freejoint/>
    {_box("0 0 0.03", "0.1 0.12 0.08", 9.51)}{_bump("0 0 0", 0.13)}
    <body pos="0 0 0.16">{_SPINE}{_box("0 0 0.3", "0.15 0.18 0.25", 87.5)}
      {_bump("0 0 0.66", 0.12)}{_arm(0.36)}{_arm(-0.36)}</body>
    {_leg(0.1115)}{_leg(-0.1115)}
  </body>
</worldbody></mujoco>"""


def atlas(stiffness, damping):
    """The robot with the same spring [N m/rad] and damper [N m s/rad] in every joint."""
    model = dojo.load(_ATLAS)
    springs = np.where(np.arange(model.topology.nl) > 0, stiffness, 0.0)
    dampers = np.where(np.arange(model.nv) >= 6, damping, 0.0)
    return model.replace(joint_stiffness=springs, dof_damping=dampers)


def lifted(model, height, quat=(1, 0, 0, 0)):
    """The robot at rest, its soles `height` above where they stand, turned about the pelvis."""
    q = np.array(dojo.init(model).q)
    q[2] += height
    q[3:7] = np.array(quat) / np.linalg.norm(quat)
    return dojo.init(model, q=q)
