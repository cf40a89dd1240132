"""Scenes of bodies on bodies: what stands, what falls, what slips.

    python examples/scenes.py NAME --out scene.html     NAME: one of those that --help lists

Each scene is simulated with hard contact, kappa 1e-11, at a timestep of 0.01 s; `pour` at 0.005 s.
Printed is how the solver did, how far anything moved after the first second, and how deep bodies
were in each other as MuJoCo's `mj_geomDistance` tells it. `tests/verification/test_scenes.py` holds
the scenes against closed forms and the laws of statics.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

import dojo
from dojo.cli.simulation import report, show_progress, simulate, write_animation

jax.config.update("jax_enable_x64", True)
GRAVITY, KAPPA, TIMESTEP = 9.81, 1e-11, 0.01


@dataclasses.dataclass(frozen=True)
class Scene:
    """What is simulated.

    Attributes:
        xml: the MJCF.
        seconds: how long by default [s].
        v: (nv,) velocity at the start; at rest if empty.
        u: (nu,) control, held all the time.
        budget: pairs of bodies of a kind that take part in a step; `dojo.load`'s default if None.
        timestep: [s] by default.
        parts: that a step which was not solved is taken again in.
    """

    xml: str
    seconds: float
    v: Sequence[float] = ()
    u: Sequence[float] = ()
    budget: int | None = None
    timestep: float = TIMESTEP
    parts: int = 1

    def load(self, timestep: float | None = None) -> dojo.Model:
        """The model."""
        return dojo.load(self.xml, timestep or self.timestep, contact_budget=self.budget)

    def start(self, model: dojo.Model) -> dojo.State:
        """The state that the simulation starts from."""
        return dojo.init(model, v=np.asarray(self.v) if len(self.v) else None)

    def controls(self, steps: int) -> np.ndarray:
        """The control of each step, (steps, nu)."""
        return np.tile(np.asarray(self.u, float), (steps, 1))


def _world(content: str, *, assets: str = "", extra: str = "") -> str:
    option = f'<option timestep="{TIMESTEP}" gravity="0 0 {-GRAVITY}"/>'
    # What has a colour of its own says so in its geom.
    default = '<default><geom rgba=".75 .55 .35 1"/></default>'
    return (
        f"<mujoco>{option}{default}<asset>{assets}</asset>"
        f"<worldbody>{content}</worldbody>{extra}</mujoco>"
    )


def _floor(friction: float = 1.0) -> str:
    return (
        f'<geom name="floor" type="plane" size="3 3 .1" friction="{friction}" rgba=".5 .6 .6 1"/>'
    )


def _free(name: str, geom: str, place: Sequence[float] | np.ndarray, turn: str = "") -> str:
    where = " ".join(f"{x:.12g}" for x in place)
    return f'<body name="{name}" pos="{where}" {turn}><freejoint/><geom {geom}/></body>'


def _three(x: float, y: float, z: float) -> str:
    return f"{x:.12g} {y:.12g} {z:.12g}"


# --- boxes on the floor: one structure, so that one compiled program serves all of them

BOXES, SIDE, BUDGET = 10, 0.2, 12


def _boxes(half: str, places: Sequence[Sequence[float]], masses: Sequence[float]) -> str:
    return _world(
        _floor()
        + "".join(
            _free(f"box {k}", f'type="box" size="{half}" mass="{mass}" friction="1"', place)
            for k, (place, mass) in enumerate(zip(places, masses, strict=True))
        )
    )


def _column(masses: Sequence[float], seconds: float) -> Scene:
    half = _three(SIDE / 2, SIDE / 2, SIDE / 2)
    places = [(0.0, 0.0, SIDE * (k + 0.5)) for k in range(len(masses))]
    return Scene(_boxes(half, places, masses), seconds, budget=BUDGET)


def tower() -> Scene:
    """Ten boxes of 1 kg on each other."""
    return _column([1.0] * BOXES, 60.0)


def strike() -> Scene:
    """A ball of 5 kg hits the tower at 6 m/s and knocks it over."""
    ball = _free("ball", 'size=".15" mass="5" rgba=".2 .2 .2 1"', (-1.5, 0.02, 1.3))
    xml = tower().xml.replace("</worldbody>", f"{ball}</worldbody>")
    return Scene(xml, 2.5, v=[*np.zeros(6 * BOXES), 6.0, 0, 1, 0, 0, 0])


def stack(light: float = 1.0, heavy: float = 1000.0) -> Scene:
    """Ten boxes on each other, light ones and heavy ones in turns, the lowest is light."""
    return _column([light, heavy] * (BOXES // 2), 10.0)


THICK, WIDE, TALL, PITCH = 0.02, 0.06, 0.12, 0.09


def tipping_rate() -> float:
    """The rate [rad/s] at which a domino about its lower edge just gets over it.

    It has to lift its centre from half its height to half its diagonal d:
    (1/2) (4/3 m d^2) w^2 = m g (d - height / 2).
    """
    half_diagonal = 0.5 * np.hypot(THICK, TALL)
    return float(np.sqrt(1.5 * GRAVITY * (half_diagonal - TALL / 2)) / half_diagonal)


def dominoes(push: float = 1.5) -> Scene:
    """A row of dominoes; the first one turns about its lower edge, `push` times what tips it."""
    half = _three(THICK / 2, WIDE / 2, TALL / 2)
    places = [(PITCH * k, 0.0, TALL / 2) for k in range(BOXES)]
    rate = push * tipping_rate()
    first = [rate * TALL / 2, 0.0, rate * THICK / 2, 0.0, rate, 0.0]
    return Scene(
        _boxes(half, places, [0.1] * BOXES),
        3.0,
        v=first + [0.0] * (6 * (BOXES - 1)),
        budget=BUDGET,
    )


# --- an arch

VOUSSOIRS, RADIUS, DEPTH = 9, 0.5, 0.15


def arch(thickness: float = 0.2, friction: float = 0.7) -> Scene:
    """Half a circle of wedge-shaped stones on two fixed ones; `thickness` over the mean radius."""
    half_angle = np.pi / VOUSSOIRS / 2
    radii = RADIUS * np.array([1 - thickness / 2, 1 + thickness / 2])
    corners = [
        (r * np.sin(a), y, r * np.cos(a) - RADIUS)
        for r in radii
        for a in (-half_angle, half_angle)
        for y in (-DEPTH / 2, DEPTH / 2)
    ]
    stone = " ".join(_three(*corner) for corner in corners)
    angles = np.pi / 2 - half_angle * (2 * np.arange(VOUSSOIRS) + 1)  # from the top
    geom = f'type="mesh" mesh="stone" density="2000" friction="{friction}"'
    stones = "".join(
        _free(
            f"stone {k}",
            geom,
            (RADIUS * np.sin(a), 0.0, RADIUS * np.cos(a)),
            f'euler="0 {np.degrees(a):.12g} 0"',
        )
        for k, a in enumerate(angles)
    )
    base = f'type="box" size="{_three(RADIUS * 0.2, DEPTH, 0.05)}" rgba=".4 .4 .4 1"'
    abutments = "".join(
        f'<geom name="abutment {k}" {base} pos="{s * RADIUS:.12g} 0 -.05" friction="{friction}"/>'
        for k, s in enumerate((1, -1))
    )
    xml = _world(abutments + stones, assets=f'<mesh name="stone" vertex="{stone}"/>')
    return Scene(xml, 10.0, budget=20)


# --- a ball in a bowl

FACETS, SLOPE, BALL = 8, 25.0, 0.05


def bowl() -> Scene:
    """A ball dropped off the middle into a pyramid that stands on its tip, of eight plates."""
    plates = "".join(
        f'<body euler="0 0 {360 / FACETS * k}"><body euler="0 {-SLOPE} 0">'
        f'<geom name="plate {k}" type="box" size=".2 .16 .01" pos=".2 0 -.01"'
        ' friction=".5" rgba=".4 .4 .4 .5"/></body></body>'
        for k in range(FACETS)
    )
    ball = _free("ball", f'size="{BALL}" mass="1" friction=".5"', (0.15, 0.07, 0.25))
    return Scene(_world(plates + ball), 10.0)


# --- a peg in a hole

PEG, LENGTH, CLEARANCE, HOLE = 0.02, 0.1, 0.5e-3, 0.1


def peg() -> Scene:
    """A square peg slides down a square hole that is half a millimetre wider.

    It starts with its end in the hole, off the middle, turned a little about all axes.
    """
    thick = 0.02
    off = (PEG + CLEARANCE) / 2 + thick
    wide = off + thick
    walls = "".join(
        f'<geom name="wall {k}" type="box" size="{_three(x, y, HOLE / 2)}" pos="{_three(*p)}"'
        ' friction=".2" rgba=".4 .4 .4 .4"/>'
        for k, (x, y, p) in enumerate(
            [
                (thick, wide, (off, 0, HOLE / 2)),
                (thick, wide, (-off, 0, HOLE / 2)),
                (wide, thick, (0, off, HOLE / 2)),
                (wide, thick, (0, -off, HOLE / 2)),
            ]
        )
    )
    body = _free(
        "peg",
        f'type="box" size="{_three(PEG / 2, PEG / 2, LENGTH / 2)}" mass=".1" friction=".2"',
        (5e-5, -5e-5, HOLE - 0.01 + LENGTH / 2),
        'euler=".1 -.1 .2"',
    )
    return Scene(_world(_floor(0.2) + walls + body), 2.0)


# --- a grasp

HELD, GRIP = 1.0, 0.5  # mass of what is held [kg], friction


def grasp(share: float = 1.5) -> Scene:
    """Two fingers press a box; `share` of what Coulomb asks for, m g / (2 mu) each."""
    force = share * HELD * GRAVITY / (2 * GRIP)
    fingers = "".join(
        f'<body name="{name}" pos="{s * 0.07:.12g} 0 .3"><joint name="{name}" type="slide"'
        ' axis="1 0 0"/><geom type="box" size=".02 .03 .03" mass=".2"'
        f' friction="{GRIP}" rgba=".4 .4 .4 1"/></body>'
        for name, s in (("left", -1), ("right", 1))
    )
    box = _free(
        "box", f'type="box" size=".05 .05 .05" mass="{HELD}" friction="{GRIP}"', (0, 0, 0.3)
    )
    motors = '<actuator><motor joint="left"/><motor joint="right"/></actuator>'
    return Scene(_world(fingers + box, extra=motors), 60.0, u=(force, -force))


# --- a hundred bodies poured on a floor

_ROCK = np.random.default_rng(3).normal(size=(12, 3))
_ROCK *= 0.06 / np.linalg.norm(_ROCK, axis=1, keepdims=True)
POURED = [
    'type="sphere" size=".05"',
    'type="box" size=".06 .05 .04"',
    'type="capsule" size=".03 .06"',
    'type="cylinder" size=".05 .04"',
    'type="ellipsoid" size=".07 .05 .04"',
    'type="mesh" mesh="rock"',
]


def pour(count: int = 100) -> Scene:
    """A hundred spheres, boxes, capsules, cylinders, ellipsoids and rocks fall on a floor.

    Two minutes to compile, then a second or two a step. They strike at up to 3 m/s: in 0.01 s they
    would move by half their size. The few steps that are not solved are taken again in four parts.
    """
    rng = np.random.default_rng(0)
    colours = rng.uniform(0.3, 0.9, (len(POURED), 3))
    bodies = []
    for k in range(count):
        kind, (layer, cell) = k % len(POURED), divmod(k, 9)
        place = 0.2 * np.array([cell % 3 - 1, cell // 3 - 1, layer]) + [0, 0, 0.15]
        place[:2] += rng.uniform(-0.02, 0.02, 2)
        turn = rng.normal(size=4)
        colour = " ".join(f"{x:.2f}" for x in colours[kind])
        geom = f'{POURED[kind]} density="1000" friction=".6" rgba="{colour} 1"'
        quat = 'quat="{:.6f} {:.6f} {:.6f} {:.6f}"'.format(*turn / np.linalg.norm(turn))
        bodies.append(_free(f"body {k}", geom, place, quat))
    rock = " ".join(_three(*corner) for corner in _ROCK)
    assets = f'<mesh name="rock" vertex="{rock}"/>'
    return Scene(
        _world(_floor(0.6) + "".join(bodies), assets=assets),
        4.0,
        budget=60,
        timestep=0.005,
        parts=4,
    )


# --- rough ground


def hills() -> Scene:
    """A ball, a can, a box, a capsule and a rock roll and tumble down hills: a height field.

    They pass through each other: every pair of kinds of geoms takes its time to compile.
    """
    rows, columns = 25, 41
    rng = np.random.default_rng(5)
    x, y = np.meshgrid(np.linspace(-2, 2, columns), np.linspace(-1.2, 1.2, rows))
    height = 0.6 - 0.25 * x + 0.12 * np.sin(4 * x) * np.cos(5 * y) + rng.uniform(0, 0.05, x.shape)
    height += 0.3 * y**2 + 1.2 * np.maximum(0, x - 1) ** 2
    low, high = height.min(), height.max()
    numbers = " ".join(f"{z:.6g}" for z in ((height - low) / (high - low))[::-1].ravel())
    ground = (
        f'<hfield name="hills" nrow="{rows}" ncol="{columns}" size="2 1.2 {high - low:.6g} .1"'
        f' elevation="{numbers}"/>'
    )
    rock = " ".join(_three(*corner) for corner in 1.5 * _ROCK)
    geoms = ['size=".09"', 'type="cylinder" size=".08 .06"', 'type="box" size=".09 .07 .06"']
    geoms += ['type="capsule" size=".05 .08"', 'type="mesh" mesh="rock"']
    bodies = "".join(
        _free(
            f"body {k}",
            f'{geom} density="1000" friction=".5" contype="0"',
            (-1.6, 0.36 * (k - 2), 1.6),
        )
        for k, geom in enumerate(geoms)
    )
    assets = f'{ground}<mesh name="rock" vertex="{rock}"/>'
    look = 'conaffinity="0" friction=".5" rgba=".5 .6 .5 1"'
    field = f'<geom name="ground" type="hfield" hfield="hills" {look}/>'
    return Scene(_world(field + bodies, assets=assets), 4.0, budget=120)


SCENES: dict[str, Callable[[], Scene]] = {
    scene.__name__: scene
    for scene in (tower, strike, stack, dominoes, arch, bowl, peg, grasp, hills, pour)
}


# --- figures


def drift(states: dojo.State, timestep: float) -> float:
    """The most that anything moved after the first second [m, and of quaternions]."""
    q = np.asarray(states.q)[round(1 / timestep) - 1 :]
    return float(np.abs(q - q[:1]).max()) if len(q) else float("nan")


def overlap(xml: str, qs: np.ndarray) -> float:
    """How deep bodies are in each other at most [m], by MuJoCo, in configurations (T, nq)."""
    m = mujoco.MjModel.from_xml_string(xml)
    data, ends, deepest = mujoco.MjData(m), np.zeros(6), 0.0
    for q in qs:
        data.qpos[:] = q
        mujoco.mj_forward(m, data)
        for one, two in _near(m, data):
            deepest = max(deepest, -mujoco.mj_geomDistance(m, data, one, two, 1.0, ends))
        # That function misses height fields by centimetres; contacts do not.
        depths = [-c.dist for c in data.contact if _is(m, c.geom, "HFIELD").any()]
        deepest = max(deepest, *depths, 0.0)
    return deepest


def _near(m: mujoco.MjModel, data: mujoco.MjData) -> list[tuple[int, int]]:
    """Pairs of geoms, not both fixed, whose spheres meet. Planes have none: all are near.

    Not those that pass through each other, nor height fields.
    """
    off = np.linalg.norm(data.geom_xpos[:, None] - data.geom_xpos[None], axis=2)
    every = np.arange(m.ngeom)
    plane, fixed = _is(m, every, "PLANE"), m.body_weldid[m.geom_bodyid] == 0
    near = (off < m.geom_rbound[:, None] + m.geom_rbound) | plane[:, None] | plane
    collides = m.geom_contype[:, None] & m.geom_conaffinity > 0
    skipped = _is(m, every, "HFIELD") | ~(collides | collides.T) | (fixed[:, None] & fixed)
    skipped |= skipped.T
    return [(int(one), int(two)) for one, two in np.argwhere(np.triu(near & ~skipped, 1))]


def _is(m: mujoco.MjModel, geoms: np.ndarray, kind: str) -> np.ndarray:
    """Which of the geoms are of a type."""
    return np.asarray(m.geom_type[geoms] == getattr(mujoco.mjtGeom, f"mjGEOM_{kind}"))


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate one scene, print the figures; exit code 1 if a step did not converge."""
    args = _parser().parse_args(argv)
    scene = SCENES[args.name]()
    timestep = args.timestep or scene.timestep
    model = scene.load(timestep)
    for note in model.topology.notes:
        print(f"note: {note}")
    steps = round((args.seconds or scene.seconds) / timestep)
    options = dojo.SolverOptions(kappa=args.kappa, retry_substeps=scene.parts)
    clock = _Clock()
    states, infos = simulate(model, scene.start(model), scene.controls(steps), options, clock.tell)
    print(f"{args.name}: {steps} steps of {timestep:g} s; {clock.figures()}")
    report(model, states, infos)
    if steps * timestep > 1:
        print(f"drift after the first second: {drift(states, timestep):.2e}")
    overflow = np.asarray(infos.contacts.overflow)
    print(f"steps with pairs over the budget: {int((overflow > 0).sum())}, most {overflow.max()}")
    some = np.asarray(states.q)[:: max(1, steps // 200)]
    print(f"deepest overlap by MuJoCo, {len(some)} states: {overlap(scene.xml, some):.2e} m")
    if args.out:
        kept = jax.tree.map(lambda x: jnp.asarray(x[: round(args.shown / timestep)]), states)
        print(f"animation: {write_animation(model, kept, args.out)}")
    return 0 if bool(np.all(infos.converged)) else 1


def test_final(tmp_path: Path) -> None:
    """The command: a ball falls into the bowl, every step is solved, the animation is written."""
    page = tmp_path / "bowl.html"
    assert main(["bowl", "--seconds", "0.5", "--out", str(page)]) == 0
    assert page.stat().st_size > 0


class _Clock:
    """Times a simulation by its progress: the first part compiles."""

    def __init__(self) -> None:
        self._seen = [(0, time.perf_counter())]

    def tell(self, done: int, steps: int) -> None:
        """A part is done."""
        self._seen.append((done, time.perf_counter()))
        show_progress(done, steps)

    def figures(self) -> str:
        """The time of the first part and of a step after it."""
        (_, begun), (first, compiled), (last, ended) = self._seen[0], self._seen[1], self._seen[-1]
        text = f"compiled and first {first} steps in {compiled - begun:.1f} s"
        if last > first:
            text += f", then {1e3 * (ended - compiled) / (last - first):.1f} ms a step"
        return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Simulate a scene of bodies on bodies, print figures, write an animation.",
        epilog="\n".join(
            f"{name:9} {(f.__doc__ or '').splitlines()[0]}" for name, f in SCENES.items()
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=SCENES, metavar="NAME", help=", ".join(SCENES))
    parser.add_argument("--out", type=Path, help="write a self-contained animation here")
    parser.add_argument("--seconds", type=float, help="simulated time [s]; default: the scene's")
    parser.add_argument("--timestep", type=float, help="[s]; default: the scene's")
    parser.add_argument("--kappa", type=float, default=KAPPA, help="default %(default)s")
    parser.add_argument(
        "--shown", type=float, default=10.0, help="seconds of it in the animation, default 10"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
