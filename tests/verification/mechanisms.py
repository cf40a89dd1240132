"""Mechanisms of every joint type, without contact; the free-floating ones without gravity."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_ALONE = '<flag contact="disable" limit="disable"/>'
_MECHANISM = """
<mujoco><compiler angle="radian"/>
<option timestep="0.01" gravity="0 0 0">{flags}</option>
<worldbody><body name="base"><freejoint/>
  <geom type="box" size=".1 .2 .05" mass="1"/>{children}
</body></worldbody><actuator>{motors}</actuator></mujoco>"""
_ROD = '<geom type="box" pos=".15 .02 0" size=".15 .07 .05" mass=".5"/>'
_BLOCK = '<geom type="box" size=".1 .06 .04" pos=".1 0 0" mass=".3"/>'
_BALL = '<joint type="ball"/>'
_HINGE = '<joint name="{}" axis="0 1 .2" pos="0 .02 0"/>'
_SLIDE = '<joint name="{}" type="slide" axis="1 .3 0"/>'


def _body(content, at=".2 0 0"):
    return f'<body pos="{at}" euler=".3 .2 0">{content}</body>'


def _mechanism(children="", driven=()):
    motors = "".join(f'<motor joint="{name}"/>' for name in driven)
    return _MECHANISM.format(flags=_ALONE, children=children, motors=motors)


def _hinged(name, content=_ROD, **where):
    return _body(_HINGE.format(name) + content, **where)


def _sliding(name, content=_BLOCK, **where):
    return _body(_SLIDE.format(name) + content, **where)


MECHANISMS = {
    "free": _mechanism(),
    "ball": _mechanism(_body(_BALL + _ROD)),
    "hinge": _mechanism(_hinged("h"), ["h"]),
    "slide": _mechanism(_sliding("s"), ["s"]),
    "chain": _mechanism(
        _body(_BALL + _ROD + _hinged("h", _ROD + _sliding("s", at=".3 .05 0"), at=".3 .05 0")),
        ["h", "s"],
    ),
    "tree": _mechanism(
        _body(_BALL + _ROD + _hinged("a", at=".3 .05 0") + _hinged("b", _BLOCK, at=".1 0 .1"))
        + _hinged("c", _ROD + _sliding("d", at=".3 .05 0") + _body(_BALL + _BLOCK), at="-.2 0 0"),
        ["a", "b", "c", "d"],
    ),
}


def astronaut():
    """The humanoid of models/, free: no gravity, contacts or joint limits."""
    text = (ROOT / "models" / "humanoid.xml").read_text()
    option = '<option timestep="0.005" gravity="0 0 -9.81"/>'
    assert option in text
    return text.replace(option, f'<option gravity="0 0 0">{_ALONE}</option>')


# Inertia 1, 2, 3 kg m2: turning about the middle axis is unstable.
TUMBLER = """
<mujoco><option gravity="0 0 0"/><worldbody><body><freejoint/>
  <inertial pos="0 0 0" mass="1" diaginertia="1 2 3"/>
</body></worldbody></mujoco>"""

# A 1 m rod of 1 kg that hangs from the world.
PENDULUM = """
<mujoco><worldbody><body><joint {joint}/>
  <geom type="capsule" fromto="0 0 0 0 0 -1" size=".02" mass="1"/>
</body></worldbody></mujoco>"""
