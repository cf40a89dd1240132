"""Bounds that contradict each other: found out, named, and nothing but numbers returned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dojo
from dojo.physics import mechanics, solvability
from dojo.step_problem import Inputs, StepProblem

WORLD = '<mujoco><option timestep="0.01"/><worldbody>{}</worldbody></mujoco>'
WALLS = (
    '<geom type="plane" size="5 5 1" zaxis="1 0 0" pos="-0.2 0 0"/>'
    '<geom type="plane" size="5 5 1" zaxis="-1 0 0" pos="0.2 0 0"/>'
)
FREE = '<body pos="0 0 1"><freejoint/><geom type="{}" size="{} .2 .2" mass="1" condim="{}"/></body>'
# A ball on a vertical rail: its limit holds it down in the floor.
RAIL = (
    '<geom type="plane" size="5 5 1"/><body pos="0 0 .1"><joint type="slide" axis="0 0 1" '
    'range="-.1 -.02" limited="true"/><geom type="sphere" size=".1" mass="1"/></body>'
)
KAPPAS = [1e-3, 1e-5, 1e-7, 1e-9]


@jax.jit
def advance(model, state, kappa):
    return dojo.step(model, state, options=dojo.SolverOptions(kappa=kappa))


def outcomes(model, **start):
    """Statuses over KAPPAS; everything returned must be finite."""
    state, found = dojo.init(model, **start), []
    for kappa in KAPPAS:
        result = advance(model, state, kappa)
        for leaf in jax.tree.leaves(result):
            assert jnp.isfinite(leaf).all()
        found.append(dojo.Status(int(result[1].status)).name)
    return found


@pytest.mark.parametrize("condim", [1, 3])
def test_a_box_between_walls_too_close(condim):
    """0.4 m between the walls; half sizes from 5 cm too large to 1 mm too small."""
    model = dojo.load(WORLD.format(WALLS + FREE.format("box", 0.2, condim)))
    for excess in (0.05, 1e-3, 1e-5):
        wide = model.replace(geom_size=model.geom_size.at[2, 0].set(0.2 + excess))
        assert outcomes(wide) == ["INFEASIBLE"] * 4
    narrow = model.replace(geom_size=model.geom_size.at[2, 0].set(0.199))
    assert outcomes(narrow) == ["CONVERGED"] * 4


def test_a_moving_ball_between_walls_too_close():
    model = dojo.load(WORLD.format(WALLS + FREE.format("sphere", 0.21, 3)))
    assert outcomes(model, v=[0.3, 1, 2, 3, 4, 5]) == ["INFEASIBLE"] * 4


@pytest.mark.parametrize("kind", ["sphere", "box"])
def test_most_random_starts_between_walls_are_proved_infeasible(kind):
    """A search finds the proof, so not always: of 300 other starts it found 300 and 299."""
    model = dojo.load(WORLD.format(WALLS + FREE.format(kind, 0.21, 3)))
    v = 3 * np.random.default_rng(1).normal(size=(48, 6))
    states = dojo.State(jnp.tile(dojo.init(model).q, (48, 1)), jnp.asarray(v))
    kappas = jnp.tile(10.0 ** -jnp.arange(2, 10), 6)
    _, info = jax.vmap(advance, (None, 0, 0))(model, states, kappas)
    assert jnp.mean(info.status == dojo.Status.INFEASIBLE) > 0.95


def test_a_joint_limit_against_the_floor():
    """Both bounds violated at the start, and apart by 2 cm: no place satisfies them."""
    model = dojo.load(WORLD.format(RAIL))
    assert outcomes(model, q=[0.0]) == ["INFEASIBLE"] * 4
    wider = model.replace(joint_range=jnp.array([[-0.1, 0.02]]))
    assert outcomes(wider, q=[0.0]) == ["CONVERGED"] * 4


def test_recovery_from_one_bound_is_no_contradiction_until_the_other_is_met():
    """5 cm in the floor, 3 cm below the limit: it rises at the speed of recovery, then fails."""
    model = dojo.load(WORLD.format(RAIL))
    states, infos = jax.jit(dojo.rollout)(model, dojo.init(model, q=[-0.05]), np.zeros((10, 0)))
    step, status = dojo.first_failure(infos)
    assert (int(step), dojo.Status(int(status))) == (5, dojo.Status.INFEASIBLE)
    np.testing.assert_allclose(np.diff(states.q[:5, 0]), 0.005, rtol=1e-2)
    assert jnp.isfinite(states.q).all()


ROD = (
    '<geom type="plane" size="5 5 1"/><body pos="0 0 .51"><joint axis="0 1 0"/><geom '
    'type="capsule" fromto="0 0 0 .2 0 -.5" size=".02" mass="1" friction=".1"/></body>'
)


@pytest.mark.parametrize("depth", [1e-3, 1e-2, 2e-2])
def test_a_rod_that_friction_jams(depth):
    """Turning out of the floor takes its tip sideways 2.5 times as fast as up."""
    model = dojo.load(WORLD.format(ROD))
    deep = model.replace(link_pos=model.link_pos.at[0, 2].set(0.52 - depth))
    steep, flat = (deep.replace(geom_friction=jnp.full(2, mu)) for mu in (0.5, 0.3))
    assert outcomes(steep) == ["INFEASIBLE"] * 4
    assert outcomes(flat) == ["CONVERGED"] * 4


def test_one_lane_is_infeasible():
    model = dojo.load(WORLD.format(RAIL))
    starts = dojo.State(jnp.array([[-0.05], [0.0], [0.05]]), jnp.zeros((3, 1)))
    _, info = jax.jit(jax.vmap(lambda s: dojo.step(model, s)))(starts)
    names = [dojo.Status(int(s)).name for s in info.status]
    assert names == ["CONVERGED", "INFEASIBLE", "CONVERGED"]


def test_a_step_too_large_is_not_called_infeasible():
    model = dojo.load(WORLD.format(WALLS + FREE.format("box", 0.25, 3)))
    _, info = advance(model, dojo.init(model, v=[0, 0, 0, 200.0, 0, 0]), 1e-6)
    assert int(info.status) == dojo.Status.STEP_TOO_LARGE


@pytest.mark.slow
def test_running_out_of_iterations_is_not_infeasible():
    """One to six iterations for boxes that fall on an edge."""
    floor = '<geom type="plane" size="5 5 1"/>'
    model = dojo.load(WORLD.format(floor + FREE.format("box", 0.2, 3)))
    rng = np.random.default_rng(0)
    q = np.concatenate([np.tile([0, 0, 0.25], (64, 1)), rng.normal(size=(64, 4))], axis=1)
    starts = dojo.State(jnp.asarray(q), jnp.asarray(3 * rng.normal(size=(64, 6))))
    for limit in range(1, 7):
        options = dojo.SolverOptions(max_iterations=limit)
        _, info = jax.jit(jax.vmap(lambda s, o=options: dojo.step(model, s, options=o)))(starts)
        assert set(np.asarray(info.status).tolist()) <= {0, dojo.Status.MAX_ITERATIONS}
    assert (info.status == dojo.Status.MAX_ITERATIONS).any()


def test_single_precision():
    model = dojo.load(WORLD.format(WALLS + FREE.format("box", 0.21, 3)), dtype="float32")
    after, info = advance(model, dojo.init(model), 1e-4)
    assert int(info.status) == dojo.Status.INFEASIBLE
    assert jnp.isfinite(after.v).all()


@pytest.mark.parametrize(
    ("height", "end", "given"),
    [
        (0.0, (0.5, 0.0, 0.0), False),
        (0.0, (2.0, 0.0, 0.0), True),
        (-0.01, (1.0, 0.0, 0.5), False),
        (-0.01, (2.0, 0.0, 0.5), True),
    ],
)
def test_contacts_that_give_energy_are_found_out(height, end, given):
    """A ball that slides at 1 m/s, and the impulses to end like this.

    To leave an overlap is their right, to speed it up is not.
    """
    floor = '<geom type="plane" size="5 5 1"/>'
    model = dojo.load(WORLD.format(floor + FREE.format("sphere", 0.1, 3)))
    start = dojo.init(model, q=[0, 0, 0.1 + height, 1, 0, 0, 0], v=[1.0, 0, 0, 0, 0, 0])
    node = mechanics.prepare(model, start.q, start.v, jnp.zeros(0), None)
    v = jnp.zeros(model.nv).at[:3].set(jnp.array(end))
    impulse = node.mass @ (v - node.unhindered)
    at = mechanics.pull(model, node, jnp.ones(1), jnp.zeros((2, 1)))
    np.testing.assert_allclose(at[:3], [0, 0, 1], atol=1e-12)
    gamma, b = impulse[2:3], (node.contacts.frame[:, 1:, 0].T @ impulse[:3])[:, None]
    pulled = mechanics.pull(model, node, gamma, b)
    np.testing.assert_allclose(pulled[:3], impulse[:3], atol=1e-9)
    gap = mechanics.gaps(model, node, mechanics.move(model, node, v))
    assert bool(solvability.flung(model, node, v, gap, gamma, pulled)) is given


def test_a_barrier_stronger_than_a_light_body_is_named():
    """A body of 27 g on up to 64 balls: at kappa / h = 100 J each nothing tells how it would move.

    A smaller timestep would raise the energy that the barrier has; a smaller kappa is the remedy.
    """
    rng = np.random.default_rng(0)
    places = rng.uniform([-0.06, -0.06, -0.02], [0.06, 0.06, 0.02], (64, 3))
    ball = '<geom type="sphere" size=".005" pos="{:.4f} {:.4f} {:.4f}"/>'
    balls = "".join(ball.format(*place) for place in places)
    model = dojo.load(f"""<mujoco><option timestep=".001"/><worldbody>
      <geom type="plane" size="1 1 1"/><body pos="0 0 .025"><freejoint/>
      <inertial pos="0 0 0" mass=".027" diaginertia="2.4e-5 2.4e-5 3.2e-5"/>{balls}
      </body></worldbody></mujoco>""")

    def status(kappa, v):
        options = dojo.SolverOptions(kappa=kappa, max_iterations=200)
        return dojo.step(model, dojo.init(model, v=v), options=options)[1].status

    run = jax.jit(jax.vmap(status, (None, 0)))
    speeds = 0.05 * rng.normal(size=(8, 6))
    named = {dojo.Status.STEP_TOO_LARGE, dojo.Status.KAPPA_TOO_LARGE}
    failures = set(run(0.1, speeds).tolist()) - {dojo.Status.CONVERGED}
    assert dojo.Status.KAPPA_TOO_LARGE in failures
    assert failures <= named
    assert "smaller kappa" in dojo.Status.KAPPA_TOO_LARGE.message
    assert set(run(1e-6, speeds).tolist()) == {dojo.Status.CONVERGED}


def test_the_turn_that_a_barrier_has_the_energy_for():
    """sqrt(2 n kappa h / I), for the contacts n that are near: of two feet one, or both."""
    model = dojo.load("""<mujoco><worldbody><geom type="plane" size="1 1 1"/>
      <body><freejoint/><inertial pos="0 0 0" mass="2" diaginertia="3 4 5"/>
      <geom type="sphere" size=".1"/><geom type="sphere" size=".1" pos="0 0 2000"/>
      </body></worldbody></mujoco>""")
    turns = []
    for tilt in (0.0, np.pi / 2):
        pose = [0, 0, 0.1, np.cos(tilt / 2), np.sin(tilt / 2), 0, 0]
        state = dojo.init(model, q=pose)
        problem = StepProblem.build(Inputs(model, state.q, state.v, jnp.zeros(0), None))
        turns.append(float(solvability.barrier_turn(model, problem.node, jnp.asarray(1e-3))))
    one = np.sqrt(2 * 1e-3 * float(model.timestep) / 3)
    np.testing.assert_allclose(turns, [one, np.sqrt(2) * one], rtol=1e-6)


# A ball on a hinged arm beside a wide block, at a distance from its face: {}.
BESIDE = (
    '<geom type="box" size=".5 .1 .5"/><body pos="0 {} 0"><joint name="hinge" axis="{} 1 0"/>'
    '<geom type="sphere" size=".05" pos=".2 0 .1" mass="1" {}/></body>'
)


@jax.jit
def swung(model, state):
    """Fifty steps from a state, and the derivatives of the first."""
    states, infos = dojo.rollout(model, state, jnp.zeros((50, 0)))
    return jnp.concatenate([states.q, states.v], axis=1), infos, dojo.linearize(model, state)[:2]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_contact_that_moves_nothing_has_no_part_in_the_step(dtype):
    """The arm's hinge leads along the face: it swings as one that touches nothing.

    Also where its axis is square to the face within five digits only.
    """
    beside, free = (
        dojo.load(WORLD.format(BESIDE.format(0.15, 0, filters)), dtype=dtype)
        for filters in ("", 'contype="0" conaffinity="0"')
    )
    # Half a second in single precision: what the tolerances of its steps add up to.
    along, within = (5e-3, 1e-4) if dtype == jnp.float32 else (1e-12, 1e-12)
    for speed in (0.0, 2.0):
        start = dojo.init(free, v=[speed])
        motion, _, derivatives = swung(free, start)
        for gap, tilt in ((1e-3, 0.0), (0.0, 0.0), (-1e-3, 0.0), (0.0, 3.7e-6)):
            near = beside.replace(
                geom_pos=beside.geom_pos.at[1, 1].add(gap),
                joint_axis=beside.joint_axis.at[0, 0].set(tilt),
            )
            found, infos, rates = swung(near, start)
            assert (infos.status == dojo.Status.CONVERGED).all()
            assert jnp.abs(infos.contacts.gap[:, 0] - gap).max() < 2e-6
            # A tilted hinge swings a little differently.
            assert jnp.abs(found - motion).max() < max(along, 10 * tilt)
            for a, b in zip(rates, derivatives, strict=True):
                assert jnp.abs(a - b).max(initial=0.0) < max(within, 10 * tilt)


def test_a_mocap_body_that_leaves_a_link_no_room_is_told_of():
    """It is driven along the hinge of an arm that can only turn: into it, or not that far."""
    ball = '<body name="hand" mocap="true" pos=".2 {} .1"><geom type="sphere" size=".05"/></body>'
    model = dojo.load(WORLD.format(BESIDE.format(1.0, 0, "") + ball.format(1.11)))
    start, ends = dojo.init(model), []
    for way in (0.03, 0.005):
        goal = start.q[1:].reshape(1, 7).at[0, 1].add(-way)
        ends.append(dojo.step(model, start, mocap=goal))
    crushed, near = (dojo.Status(int(info.status)) for _, info in ends)
    assert (crushed, near) == (dojo.Status.INFEASIBLE, dojo.Status.CONVERGED)
    assert all(jnp.isfinite(after.q).all() for after, _ in ends)


def upright(gap):
    """A pendulum of 1 m, its end two balls beside each other, a floor that far under them."""
    balls = '<geom type="sphere" size=".005" pos="{} 0 1" mass=".01"/>'
    rod = '<geom type="capsule" fromto="0 0 0 0 0 .9" size=".02" mass="1" contype="0"/>'
    plane = f'<geom type="plane" size="1 1 1" pos="0 0 {0.995 - gap}" contype="0" conaffinity="1"/>'
    return dojo.load(
        '<mujoco><default><geom conaffinity="0"/></default><option timestep="0.01"/>'
        f'<worldbody>{plane}<body><joint axis="0 1 0"/>{rod}'
        f"{balls.format(0.009)}{balls.format(-0.009)}</body></worldbody></mujoco>"
    )


def test_where_nothing_moves_no_contact_makes_energy():
    """At rest in balance the work of the impulses is rounding, of either sign."""
    for gap in (1e-3, 1e-5):
        model = upright(gap)
        for kappa in (1e-4, 1e-8):
            after, info = advance(model, dojo.init(model), kappa)
            assert int(info.status) == dojo.Status.CONVERGED
            assert abs(float(after.v[0])) < 1e-12
        at = dojo.init(model)
        node = StepProblem.build(Inputs(model, at.q, at.v, jnp.zeros(0), None)).node
        gaps = jnp.full(2, gap)
        for rounding in (1e-13, -1e-13):
            noise = jnp.asarray([rounding])
            assert not solvability.flung(model, node, noise, gaps, 1e-8 / gaps, noise)


def test_an_arm_that_points_straight_out_of_what_it_is_in_is_told_of():
    """At its dead point a turn either way takes one of its two ends further in."""
    model = upright(-1e-3)
    for speed in (0.0, 1.0):
        after, info = advance(model, dojo.init(model, v=[speed]), 1e-6)
        assert int(info.status) == dojo.Status.INFEASIBLE
        assert jnp.isfinite(after.q).all()


@pytest.mark.parametrize(("speed", "solved"), [(0.0, True), (5.0, True), (60.0, False)])
def test_a_string_that_its_ball_goes_by_is_too_large_a_step(speed, solved):
    """0.3 m of string, taut, and a ball that goes across it by 5 cm and by 60 cm in a step."""
    model = dojo.load("""<mujoco><option timestep="0.01"/><worldbody><site name="top" pos="0 0 1"/>
      <body pos="0 0 .7"><joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/>
      <geom type="sphere" size=".02" mass="1"/><site name="ball"/></body></worldbody>
      <tendon><spatial limited="true" range="0 .3"><site site="top"/><site site="ball"/></spatial>
      </tendon></mujoco>""")
    named = ["CONVERGED" if solved else "STEP_TOO_LARGE"] * 4
    assert outcomes(model, v=[speed, -1.0]) == named
    parts = dojo.SolverOptions(substeps=8)
    _, info = dojo.step(model, dojo.init(model, v=[speed, -1.0]), options=parts)
    assert info.converged
