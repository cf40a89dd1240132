"""Bodies against bodies: momentum, energy, stacks, friction and bounces between them."""

import numpy as np
import pytest
from rollouts import simulate

import dojo

G = 9.81
CLOUD = {
    "ball": ('size=".1"', (1, 0, 0.02)),
    "marble": ('size=".06"', (-1, 0, 0)),
    "rod": ('type="capsule" size=".06 .15"', (0, 1, 0)),
    "stick": ('type="capsule" size=".04 .2"', (0.02, -1, 0)),
    "brick": ('type="box" size=".08 .12 .05"', (0, 0.04, 1)),
    "plate": ('type="box" size=".15 .1 .03"', (0, 0, -1)),
}


def free(name, geom, place="0 0 0", extra=""):
    return f'<body name="{name}" pos="{place}"><freejoint/><geom {geom} {extra}/></body>'


def test_momentum_is_kept_and_energy_falls_when_bodies_collide(measured):
    """Six bodies fly at each other without gravity."""
    bodies = "".join(
        free(n, geom, extra='mass="1" friction=".4"') for n, (geom, _) in CLOUD.items()
    )
    model = dojo.load(
        f'<mujoco><option timestep=".01" gravity="0 0 0"/><worldbody>{bodies}</worldbody></mujoco>'
    )
    rng = np.random.default_rng(0)
    way = np.array([way for _, way in CLOUD.values()], float)
    turn = rng.normal(size=(6, 4))
    q = np.concatenate([0.6 * way, turn / np.linalg.norm(turn, axis=1, keepdims=True)], axis=1)
    v = np.concatenate([-2 * way, rng.uniform(-3, 3, (6, 3))], axis=1)
    state = dojo.init(model, q=q.ravel(), v=v.ravel())
    states, infos = simulate(model, state, 150, 1e-8, tolerance=1e-12)
    assert infos.converged.all()
    assert (infos.contacts.impulse[..., 0] > 0.1).any(axis=1).sum() >= 5
    kept = [
        np.concatenate(dojo.momentum(model, dojo.State(*x)))
        for x in zip(states.q, states.v, strict=True)
    ]
    first = np.concatenate(dojo.momentum(model, state))
    drift = np.abs(np.array(kept) - first).max()
    measured("momentum drift of six bodies that collide [kg m/s, kg m2/s]", drift)
    assert drift < 1e-10
    energy = [sum(dojo.energy(model, dojo.State(*x))) for x in zip(states.q, states.v, strict=True)]
    rise = np.diff([float(sum(dojo.energy(model, state))), *map(float, energy)]).max()
    measured("largest rise of their energy in a step [J]", rise)
    # The barriers' kappa / h each.
    assert rise < infos.contacts.gap.shape[-1] * 1e-8 / 0.01
    assert energy[-1] < 0.7 * energy[0]


@pytest.fixture(scope="module")
def two():
    """A box on a box on the floor, 1 kg each; the upper one is smaller."""
    lower, upper = (
        free("lower", 'type="box" size=".1 .1 .1"', "0 0 .1"),
        free("upper", 'type="box" size=".05 .05 .05"', "0 0 .25"),
    )
    return dojo.load(
        '<mujoco><option timestep=".01"/><worldbody><geom type="plane" size="1 1 1"/>'
        f"{lower}{upper}</worldbody></mujoco>"
    ).replace(link_mass=1.0)


@pytest.mark.parametrize("ratio", [1e3, 1e-3])
def test_a_heavy_box_rests_on_a_light_one(two, ratio, measured):
    inertia = np.asarray(two.link_inertia)
    scale = np.array([1.0, ratio])
    model = two.replace(link_mass=scale, link_inertia=inertia * scale[:, None, None])
    states, infos = simulate(model, dojo.init(model), 300, 1e-11)
    assert infos.converged.all()
    drift = np.abs(states.q[100:] - states.q[100]).max()
    measured(f"drift of a stack of masses 1 : {ratio:g} in 2 s after the first [m]", drift)
    assert drift < 1e-6
    weight = infos.contacts.impulse[-1, :, 0]
    on_floor = infos.contacts.geoms[-1, :, 0] == 0
    assert weight[on_floor].sum() / 0.01 == pytest.approx(G * scale.sum(), rel=1e-6)
    # The barrier of the floor, 0.2 m away, carries kappa / gap of the upper box as well.
    assert weight[~on_floor].sum() / 0.01 == pytest.approx(G * ratio, rel=1e-6, abs=1e-7)


def test_a_box_slides_on_another_past_the_angle_of_friction(two, measured):
    """The slope by the direction of gravity; the lower box cannot slide."""
    mu = 0.4
    model = two.replace(geom_friction=np.array([5.0, mu, mu]))

    def moved(degrees):
        angle = np.radians(degrees)
        tilted = model.replace(gravity=G * np.array([np.sin(angle), 0, -np.cos(angle)]))
        states, infos = simulate(tilted, dojo.init(tilted), 200, 1e-12)
        assert infos.converged.all()
        return np.ptp(states.q[100:, 7] - states.q[100:, 0])

    limit = np.degrees(np.arctan(mu))
    below, above = moved(limit - 0.01), moved(limit + 0.01)
    measured("slip of a box on another, 0.01 degrees before and past the limit [m]", [below, above])
    assert below < 1e-6
    # 1 s to 2 s after the start, with g sin(0.01 degrees) / cos(limit).
    expected = 0.5 * G * np.radians(0.01) / np.cos(np.radians(limit)) * (2**2 - 1)
    assert above == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("e", [0.0, 0.5, 1.0])
def test_balls_part_with_newtons_share_of_their_speed(e, measured):
    balls = free("a", 'size=".1"', "0 0 0", 'mass="1"') + free(
        "b", 'size=".1"', ".5 0 0", 'mass="3"'
    )
    model = dojo.load(
        f'<mujoco><option timestep=".01" gravity="0 0 0"/><worldbody>{balls}</worldbody></mujoco>',
        restitution=e,
    )
    state = dojo.init(model, v=np.eye(12)[0] * 2.0)
    states, infos = simulate(model, state, 50, 1e-10)
    assert infos.converged.all()
    va, vb = states.v[-1, 0], states.v[-1, 6]
    measured(f"restitution {e:g} between balls, measured", (vb - va) / 2.0)
    assert va + 3 * vb == pytest.approx(2.0, abs=1e-9)
    assert (vb - va) / 2.0 == pytest.approx(e, abs=1e-3)


def test_what_is_far_away_changes_nothing(measured):
    """A box thrown on the floor, alone and with a pile at 3 m: the same trajectory."""
    floor = '<geom type="plane" size="1 1 1" friction=".5"/>'
    thrown = free("thrown", 'type="box" size=".1 .08 .06"', "0 0 .4")
    pile = free("low", 'type="box" size=".1 .1 .1"', "3 0 .1", 'mass="5"') + free(
        "high", 'size=".05"', "3 .02 .26", 'mass="0.2"'
    )

    def flight(bodies):
        model = dojo.load(
            f'<mujoco><option timestep=".01"/><worldbody>{floor}{bodies}</worldbody></mujoco>'
        )
        v = np.zeros(model.nv)
        v[:6] = 0.8, 0.3, -0.5, 2.0, -3.0, 1.0
        states, infos = simulate(model, dojo.init(model, v=v), 200, 1e-6, tolerance=1e-12)
        assert infos.converged.all()
        assert infos.contacts.impulse[..., 0].max() > 0.1
        return states

    alone, among = flight(thrown), flight(thrown + pile)
    apart = [
        float(np.abs(a - b).max())
        for a, b in ((among.q[:, :7], alone.q), (among.v[:, :6], alone.v))
    ]
    measured("2 s of a thrown box with and without a pile 3 m away, apart [m, m/s]", apart)
    assert np.hypot(*(among.q[:, 7:9] - among.q[:, :2]).T).min() > 2.0
    assert max(apart) < 1e-9
