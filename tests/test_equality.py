"""Equality constraints: what they are, their derivatives, and what happens where they cannot be.

What they do in motion: tests/verification/test_linkages.py.
"""

import dataclasses

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from differences import best_richardson
from jacobians import Steps

import dojo
from dojo.physics.equality import equality_rates, remaining, violation
from dojo.physics.kinematics import difference, displace, link_frames, local_maps, motion_axes

BODIES = """
  <body name="crank"><joint name="a" axis="0 1 0"/><geom size=".02" pos="0 0 .2"/>
    <body name="coupler" pos="0 0 .2"><joint name="b" type="ball"/>
      <geom type="box" size=".2 .02 .02" pos=".2 0 0"/><site name="pin" pos=".5 0 .05"/>
      <body name="tip" pos=".4 0 0"><geom size=".03"/></body></body></body>
  <body name="rocker" pos=".5 0 0"><joint name="c" axis="0 1 0" ref="10"/>
    <geom size=".02" pos="0 0 .2"/><site name="hole" pos="0 0 .25"/></body>
  <body name="one" pos="1 0 0"><freejoint/><geom type="box" size=".1 .1 .2"/></body>
  <body name="two" pos="1 .4 .1" euler="10 20 30"><freejoint/>
    <geom type="box" size=".1 .1 .2"/></body>
  <body name="slow" pos="0 1 0"><joint name="d" axis="0 1 0"/><geom size=".1" pos=".1 0 0"/></body>
  <body name="rail" pos="0 2 0"><joint name="e" type="slide"/><geom size=".1"/></body>
"""
TIES = """
  <connect name="loop" body1="coupler" body2="rocker" anchor=".5 0 .05"/>
  <weld name="glue" body1="one" body2="two" anchor=".1 .2 .3"/>
  <joint name="gear" joint1="d" joint2="c" polycoef=".1 1.2 .3 -.2 .1"/>
  <joint name="stop" joint1="e" polycoef=".02 0 0 0 0"/>
"""
PARAMETERS = (
    "equality_pos",
    "equality_quat",
    "coupling_coefficients",
    "coupling_offset",
    "coupling_polynomial",
)


def mechanism(ties=TIES, bodies=BODIES, extra=""):
    return f"""<mujoco><option timestep="0.01"><flag contact="disable"/></option>
      <worldbody>{bodies}</worldbody>{extra}<equality>{ties}</equality></mujoco>"""


@pytest.fixture(scope="module")
def linkage():
    return dojo.load(mechanism())


@jax.jit
def rows(model, q):
    """Violation of the constraints, and its rates."""
    maps = local_maps(model)
    frames = link_frames(model, maps, q)
    axes = motion_axes(model, maps, frames)
    return violation(model, frames, q), equality_rates(model, frames, axes, q), frames.rot


@jax.jit
def step(model, state, kappa=1e-6):
    return dojo.step(model, state, options=dojo.SolverOptions(kappa=kappa))


def stirred(model, seed, spread=0.5):
    rng = np.random.default_rng(seed)
    return dojo.init(
        model,
        q=np.asarray(displace(model, model.q_rest, spread * rng.normal(size=model.nv))),
        v=rng.normal(size=model.nv),
    )


def in_mujoco(xml, q):
    """Residuals and Jacobian of MuJoCo's equality constraints, its own order of rows."""
    m = mujoco.MjModel.from_xml_string(xml)
    m.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
    d = mujoco.MjData(m)
    d.qpos = q
    mujoco.mj_forward(m, d)
    mine = d.efc_type == mujoco.mjtConstraint.mjCNSTR_EQUALITY
    return d.efc_pos[mine].copy(), d.efc_J.reshape(-1, m.nv)[mine]


def test_rows_are_those_of_mujoco(linkage):
    """Places in world axes there, in those of the second frame here; turns by the half-angle's sine
    there, twice its tangent here. Off the constraint MuJoCo holds the second frame's axes."""
    for seed in range(5):
        state = stirred(linkage, seed)
        found, rates, rot = (np.asarray(x) for x in rows(linkage, state.q))
        pos, jacobian = in_mujoco(mechanism(), state.q)
        places = found[:6].reshape(3, 2)
        rocker, two = rot[..., 2], rot[..., 4]
        np.testing.assert_allclose(rocker @ places[:, 0], pos[:3], atol=1e-12)
        np.testing.assert_allclose(two @ places[:, 1], pos[3:6], atol=1e-12)
        half = pos[6:9] / np.sqrt(1 - pos[6:9] @ pos[6:9])
        np.testing.assert_allclose(found[6:9], 2 * half * np.sign(half @ found[6:9]), atol=1e-12)
        np.testing.assert_allclose(found[9:], pos[9:], atol=1e-12)
        np.testing.assert_allclose(rates[9:], jacobian[9:], atol=1e-12)


def test_rates_are_those_of_the_violation(linkage):
    for seed in range(3):
        q = stirred(linkage, seed).q
        at = jax.jit(jax.jacfwd(lambda dq, q=q: rows(linkage, displace(linkage, q, dq))[0]))
        np.testing.assert_allclose(rows(linkage, q)[1], at(jnp.zeros(linkage.nv)), atol=1e-13)


def test_closed_form_jacobians(linkage):
    """Against differences, where recovery is still at work and where all is closed."""
    steps = Steps(linkage, kappa=1e-6)
    states = [stirred(linkage, seed, spread) for seed, spread in ((0, 0.1), (1, 0.3), (2, 0.0))]
    q, v = (jnp.stack([getattr(s, name) for s in states]) for name in ("q", "v"))
    info, error = steps.errors(q, v)
    assert info.converged.all()
    assert (error < 1e-6).all(), error


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_derivatives(linkage, name):
    """Of the next state and of the impulses, against differences."""
    state, before = stirred(linkage, 4, 0.1), np.asarray(getattr(linkage, name))
    change = np.random.default_rng(1).normal(size=before.shape)
    center = step(linkage, state)[0]

    @jax.jit
    def after(h):
        model = dataclasses.replace(linkage, **{name: before + h * change})
        end, info = step(model, state)
        return jnp.concatenate([difference(model, center.q, end.q), end.v, info.equality_impulse])

    expected = best_richardson(lambda h: np.asarray(after(h)), [1e-7, 1e-6, 1e-5])
    found = jax.jit(jax.jacfwd(after))(0.0)
    # Of the impulses that hold a planar loop in its plane, only the sum over it is determined.
    assert np.abs(expected).max() > 1e-3
    assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()


def test_reverse_mode(linkage):
    state = stirred(linkage, 4, 0.1)

    def after(v):
        return step(linkage, dojo.State(state.q, v))[0].v

    forward, reverse = (jax.jit(mode(after))(state.v) for mode in (jax.jacfwd, jax.jacrev))
    np.testing.assert_allclose(forward, reverse, atol=1e-10 * np.abs(forward).max())


def test_what_is_open_closes_at_half_a_metre_a_second():
    """And does not spring together within one step."""
    model = dojo.load(mechanism('<connect body1="one" body2="two" anchor="0 0 0"/>'))
    state = dojo.init(model)
    q = np.array(state.q)
    q[6] += 0.02  # body one, after crank, coupler and rocker
    state, apart = dojo.State(jnp.asarray(q), state.v), []
    for _ in range(8):
        apart.append(np.linalg.norm(rows(model, state.q)[0]))
        state, info = step(model, state)
        assert info.converged
    np.testing.assert_allclose(apart[:5], [0.02, 0.015, 0.01, 0.005, 0.0], atol=1e-9)
    assert max(apart[4:]) < 1e-9


def test_recovery_has_derivatives_where_all_is_closed(linkage):
    """At violations of exactly zero."""
    zero = jnp.zeros(linkage.topology.ne)
    slopes = jax.jacfwd(lambda x: remaining(linkage, x, 0.005))(zero)
    np.testing.assert_array_equal(slopes, np.zeros((len(zero), len(zero))))


def test_a_weld_opens_by_an_angle_and_closes_by_it(linkage):
    """0.5 rad/s of the angle, whatever its Cayley vector does."""
    turns = np.zeros((3, linkage.topology.ne))
    turns[:, 6] = 2 * np.tan(0.5 * np.array([0.004, 1.0, 3.0]))
    left = jax.vmap(lambda x: remaining(linkage, x, 0.005))(jnp.asarray(turns))
    np.testing.assert_allclose(2 * np.arctan(0.5 * left[:, 6]), [0, 0.995, 2.995], atol=1e-12)


def test_parts_pass_a_dead_point(linkage):
    """Where a loop can go no further the whole step has no solution, its parts have."""
    options = dojo.SolverOptions(retry_substeps=4)
    retried = jax.jit(lambda model, state: dojo.step(model, state, options=options))
    state, energy, parts = stirred(linkage, 0, 0.0), [], []
    for _ in range(30):
        state, info = retried(linkage, state)
        assert info.converged
        parts.append(int(info.parts))
        energy.append(float(sum(dojo.energy(linkage, state))))
    passed = parts.index(4)
    assert parts.count(4) == 1
    np.testing.assert_allclose(energy[passed], energy[passed - 1], rtol=2e-3)


def test_contradictions_are_told():
    """Two pins of one bar, further apart than its holes."""
    bodies = """<body name="bar"><freejoint/><geom type="box" size=".5 .1 .1"/></body>
      <body name="left" pos="-.3 0 0"><joint axis="0 1 0"/><geom size=".1"/></body>
      <body name="right" pos=".3 0 0"><joint axis="0 1 0"/><geom size=".1"/></body>"""
    sites = """<connect body1="bar" body2="left" anchor="-.3 0 0"/>
      <connect body1="bar" body2="right" anchor=".3 0 0"/>"""
    model = dojo.load(mechanism(sites, bodies))
    assert step(model, dojo.init(model))[1].status == dojo.Status.CONVERGED
    apart = np.asarray(model.equality_pos).copy()
    apart[1, 1] += [0.1, 0.0, 0.0]
    info = step(model.replace(equality_pos=apart), dojo.init(model))[1]
    assert not info.converged
    assert info.status == dojo.Status.INFEASIBLE


def test_sites_join_as_bodies_do(linkage):
    """And a weld without torquescale is a connect."""
    ties = """<connect site1="pin" site2="hole"/>
      <weld body1="one" body2="two" anchor=".1 .2 .3" torquescale="0"/>"""
    model = dojo.load(mechanism(ties))
    assert model.topology.ne == 6
    q = stirred(linkage, 0).q
    np.testing.assert_allclose(rows(model, q)[0], rows(linkage, q)[0][:6], atol=1e-12)


def test_inactive_constraints_are_left_out():
    model = dojo.load(mechanism('<weld name="off" body1="one" body2="two" active="false"/>'))
    assert model.topology.ne == 0
    assert any("off" in note for note in model.topology.notes)
    for flag in ("equality", "constraint"):
        off = mechanism().replace('contact="disable"', f'{flag}="disable"')
        assert dojo.load(off).topology.ne == 0


def test_fixed_tendons_couple():
    """Against MuJoCo's rows."""
    tendons = """<tendon><fixed name="s"><joint joint="a" coef="2"/><joint joint="c" coef="-1"/>
      </fixed><fixed name="t"><joint joint="d" coef=".5"/></fixed></tendon>"""
    ties = '<tendon tendon1="s" tendon2="t" polycoef=".1 .7 .2 0 0"/><tendon tendon1="t"/>'
    xml = mechanism(ties, extra=tendons)
    model = dojo.load(xml)
    q = stirred(model, 3).q
    found, rates, _ = rows(model, q)
    pos, jacobian = in_mujoco(xml, q)
    np.testing.assert_allclose(found, pos, atol=1e-12)
    np.testing.assert_allclose(rates, jacobian, atol=1e-12)


def test_mimic_of_a_urdf_couples():
    link = """<link name="{0}"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0"
      ixz="0" iyz="0"/></inertial></link>"""
    joint = """<joint name="{0}" type="revolute"><parent link="{1}"/><child link="{2}"/>
      <axis xyz="0 0 1"/><limit lower="-1" upper="1" effort="1" velocity="1"/>{3}</joint>"""
    links = "".join(link.format(name) for name in ("base", "one", "two"))
    mimic = '<mimic joint="lead" multiplier="-0.5" offset="0.1"/>'
    joints = joint.format("lead", "base", "one", "") + joint.format("led", "base", "two", mimic)
    model = dojo.load(f'<robot name="r">{links}{joints}</robot>', root="fixed")
    state, info = step(model, dojo.init(model, q=[0.2, 0.0], v=[0.4, -0.2]))
    (lead, led), (lead_speed, led_speed) = np.asarray(state.q), np.asarray(state.v)
    assert info.converged
    assert led == pytest.approx(0.1 - 0.5 * lead, abs=1e-10)
    assert led_speed == pytest.approx(-0.5 * lead_speed, abs=1e-9)


def test_the_two_frames_of_a_body_are_refused():
    xml = mechanism('<connect name="glue" body1="coupler" body2="tip" anchor="0 0 0"/>')
    with pytest.raises(dojo.UnsupportedFeature, match=r"glue \(between frames of one rigid body"):
        dojo.load(xml)
    assert dojo.load(xml, ignore="equality").topology.ne == 0


def test_single_precision():
    model = dojo.load(mechanism(), dtype="float32")
    state = stirred(model, 0, 0.0)
    state = dojo.State(state.q.astype(jnp.float32), state.v.astype(jnp.float32))
    # The gear is open by 0.1 rad, which takes twenty steps.
    for _ in range(21):
        state, info = step(model, state, 1e-4)
        assert info.converged
    assert np.abs(rows(model, state.q)[0]).max() < 1e-5


def test_a_welded_dumbbell_bounces():
    """Restitution is that of all that the constraint holds: it leaves as it came."""
    bodies = """<geom type="plane" size="1 1 .1"/>
      <body name="low" pos="0 0 .102"><freejoint/><geom size=".1" mass="1"/></body>
      <body name="high" pos="0 0 .5"><freejoint/><geom size=".1" mass="3" contype="0"
        conaffinity="0"/></body>"""
    xml = f"""<mujoco><option timestep="0.005" gravity="0 0 0"/><worldbody>{bodies}</worldbody>
      <equality><weld body1="low" body2="high"/></equality></mujoco>"""
    model = dojo.load(xml, restitution=0.7)
    down = np.zeros(12)
    down[[2, 8]] = -1.0
    state, info = step(model, dojo.init(model, v=down), 1e-8)
    assert info.converged
    np.testing.assert_allclose(state.v[jnp.asarray([2, 8])], 0.7, atol=1e-4)
    # The weld turned the upper one round: 3 kg by 1.7 m/s.
    np.testing.assert_allclose(np.abs(info.equality_impulse[2]), 3 * 1.7, rtol=1e-3)


@pytest.mark.parametrize("tilt", [1e-5, 1e-3])
def test_a_loop_that_is_planar_but_for_its_digits_moves(tilt):
    """Three rows at the pin that closes it, one of them nothing but rounding: degrees of tilt."""
    bodies = """<body name="crank"><joint axis="0 1 0"/><geom size=".02" pos=".2 0 0" mass="1"/>
        <body name="coupler" pos=".2 0 0"><joint axis="0 1 0"/>
          <geom size=".02" pos=".4 0 0" mass="1"/></body></body>
      <body name="rocker" pos=".5 0 .3"><joint axis="{} 1 0"/>
        <geom size=".02" pos="0 0 -.3" mass="1"/></body>"""
    ends = []
    for lean in (0.0, np.radians(tilt)):
        tie = '<connect body1="coupler" body2="rocker" anchor=".3 0 0"/>'
        model = dojo.load(mechanism(tie, bodies.format(lean)))
        state = dojo.init(model)
        for _ in range(50):
            state, info = step(model, state)
            assert info.converged
        ends.append(np.asarray(state.q))
    assert np.abs(ends[0]).max() > 0.5
    np.testing.assert_allclose(*ends, atol=2e-3)


def test_in_a_batch(linkage):
    states = [stirred(linkage, seed, 0.1) for seed in range(3)]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *states)
    after, _ = jax.jit(jax.vmap(step, (None, 0)))(linkage, batch)
    for k, state in enumerate(states):
        alone, _ = step(linkage, state)
        np.testing.assert_allclose(after.q[k], alone.q, atol=1e-12)
