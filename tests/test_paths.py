"""Spatial tendons: lengths and rates beside MuJoCo's, what they do in a step."""

import dataclasses

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from differences import best_richardson
from jacobians import Steps

import dojo
from dojo.physics.kinematics import displace, link_frames, local_maps, motion_axes
from dojo.physics.tendons import tendon_lengths, tendon_rates

PATHS = """
<mujoco><option timestep="0.01" gravity="0 0 -3"><flag contact="disable"/></option><worldbody>
  <site name="w" pos="0.3 0 1.2"/>
  <body pos="0 0 1"><joint name="ball" type="ball"/><geom size=".05" mass="1"/>
    <site name="s1" pos=".2 .05 0"/><site name="above" pos=".3 0 .3"/>
    <geom name="ball" type="sphere" size=".07" pos=".3 0 .02"/>
    <body pos=".3 0 0"><joint name="b" axis="0 1 .2"/>
      <geom name="drum" type="cylinder" size=".06 .1" euler="80 10 0" pos=".1 0 .02"/>
      <site name="s2" pos=".25 .03 .08"/><site name="beside" pos=".05 .2 .1"/>
      <body pos=".4 0 0"><joint name="c" axis="0 0 1"/><geom size=".04"/>
        <site name="s3" pos=".1 .1 .1"/></body></body></body>
  <body pos="0 .5 1"><freejoint/><geom size=".05"/><site name="f" pos=".02 0 0"/></body>
</worldbody><tendon>
  <spatial name="straight" stiffness="10" damping=".3"><site site="w"/><site site="s1"/>
    <site site="s3"/></spatial>
  <spatial name="pulley" limited="true" range="0 1.2"><site site="w"/><site site="f"/>
    <pulley divisor="2"/><site site="s1"/><site site="s3"/><site site="s2"/></spatial>
  <spatial name="sphere" limited="true" range=".3 9"><site site="s1"/><geom geom="ball"/>
    <site site="s2"/></spatial>
  <spatial name="drum" stiffness="6" springlength="0"><site site="s1"/><geom geom="drum"/>
    <site site="s3"/></spatial>
  <spatial name="beside" stiffness="5" springlength=".1 .2"><site site="s1"/>
    <geom geom="drum" sidesite="beside"/><site site="s3"/></spatial>
  <spatial name="pulled"><site site="f"/><site site="s2"/></spatial>
  <spatial name="shown"><site site="f"/><site site="s3"/></spatial>
  <fixed name="sum" stiffness="1"><joint joint="b" coef="1"/><joint joint="c" coef="-.5"/></fixed>
</tendon><actuator>
  <position name="winch" tendon="pulled" kp="4" kv=".2" gear="2"/>
</actuator></mujoco>"""
SIDED = """
<mujoco><worldbody><site name="a" pos="-.5 0 {y}"/><geom name="g" type="{kind}" size=".1 .2"
  euler="90 0 0" pos="0 0 0"/><site name="side" pos="0 0 {side}"/>
  <body><joint type="slide" axis="0 0 1"/><geom size=".05"/><site name="b" pos=".5 {out} 0"/></body>
</worldbody><tendon><spatial name="t" stiffness="1"><site site="a"/>
  <geom geom="g" sidesite="side"/><site site="b"/></spatial></tendon></mujoco>"""


@pytest.fixture(scope="module")
def paths():
    return dojo.load(PATHS)


@jax.jit
def lengths_and_rates(model, q):
    maps = local_maps(model)
    frames = link_frames(model, maps, q)
    rates = tendon_rates(model, frames, motion_axes(model, maps, frames))
    return tendon_lengths(model, q, frames), rates


def of_mujoco(m, d, q):
    """Lengths, their rates, and how many pieces of a path each has."""
    d.qpos = q
    mujoco.mj_forward(m, d)
    rates = np.zeros((m.ntendon, m.nv))
    table = m.ten_J_rownnz, m.ten_J_rowadr, m.ten_J_colind.ravel()
    mujoco.mju_sparse2dense(rates, d.ten_J.ravel(), *table)
    return d.ten_length, rates, d.ten_wrapnum


def moved_at_random(m, rng):
    q = m.qpos0.copy()
    mujoco.mj_integratePos(m, q, rng.normal(size=m.nv), 1.0)
    return q


def test_lengths_and_rates_are_those_of_mujoco(paths):
    m = mujoco.MjModel.from_xml_string(PATHS)
    d, rng, wrapped = mujoco.MjData(m), np.random.default_rng(0), np.zeros(m.ntendon)
    kept = [t for t in range(m.ntendon) if m.tendon(t).name != "shown"]
    assert paths.topology.tendon_names == tuple(m.tendon(t).name for t in kept)
    for _ in range(400):
        q = moved_at_random(m, rng)
        length, rates, pieces = of_mujoco(m, d, q)
        found, by_dof = lengths_and_rates(paths, q)
        np.testing.assert_allclose(found, length[kept], atol=1e-12)
        np.testing.assert_allclose(by_dof, rates[kept], atol=1e-12)
        wrapped += pieces > 2
    # Both cases were met: round the geom, and past it.
    assert ((wrapped[2:5] > 50) & (wrapped[2:5] < 350)).all(), wrapped
    # Only those of a path's links change its length.
    changes = np.abs(lengths_and_rates(paths, q)[1]) > 0
    assert not (changes & ~paths.topology.tendon_dofs).any()


@pytest.mark.parametrize("kind", ["cylinder", "sphere"])
@pytest.mark.parametrize("side", [0.3, -0.3])
def test_the_side_to_take(kind, side):
    """Two tangents and an arc over or under the drum, straight where that is clear on the side."""
    out = 0.2 if kind == "cylinder" else 0.0
    for y in (-0.3, -0.12, -0.05, 0.0, 0.05, 0.12, 0.3):
        model = dojo.load(SIDED.format(kind=kind, side=side, y=y, out=out))
        length, _ = lengths_and_rates(model, jnp.array([y]))
        apart, up = np.hypot(0.5, y), np.arctan2(y * np.sign(side), 0.5)
        tangent, arc = np.sqrt(apart**2 - 0.01), np.pi - 2 * up - 2 * np.arccos(0.1 / apart)
        flat = 1.0 if y * np.sign(side) > 0.1 else 2 * tangent + 0.1 * arc
        np.testing.assert_allclose(length[0], np.hypot(flat, out), rtol=1e-12)


def test_jacobians(paths):
    """Springs, dampers and limits, by state."""
    rng = np.random.default_rng(3)
    moved = [displace(paths, paths.q_rest, 0.4 * rng.normal(size=paths.nv)) for _ in range(6)]
    q, v = jnp.stack(moved), jnp.asarray(rng.normal(size=(6, paths.nv)))
    length = np.array([lengths_and_rates(paths, x)[0] for x in q])
    # Half of the states are beyond a limit, which they leave; others come close.
    pulley, sphere = np.median(length[:, 1]), np.median(length[:, 2])
    steps = Steps(paths.replace(tendon_range=[[0.0, pulley], [sphere, 9.0]]))
    info, error = steps.errors(q, v, scales=(1e-5, 1e-4, 1e-3))
    assert info.converged.all()
    assert (error < 1e-6).all(), error
    pushed = np.asarray(info.limit_impulse).max(axis=0)
    assert (pushed[[1, 2]] > 0.05).all(), pushed


@pytest.mark.slow
def test_derivatives_by_parameters_and_control(paths):
    """Forward mode, and B in closed form, against differences."""
    options, rng = dojo.SolverOptions(kappa=1e-4), np.random.default_rng(5)
    q = displace(paths, paths.q_rest, 0.4 * rng.normal(size=paths.nv))
    state, u = dojo.init(paths, q=q, v=rng.normal(size=paths.nv)), np.array([0.3])
    names = ("tendon_point_pos", "geom_size", "geom_pos")

    @jax.jit
    def after(h, changes, du):
        model = dataclasses.replace(paths, **{n: getattr(paths, n) + h * changes[n] for n in names})
        return dojo.step(model, state, u + h * du, options=options)[0].v

    slope, still = jax.jit(jax.jacfwd(after)), {n: 0.0 * getattr(paths, n) for n in names}
    cases = [({**still, n: rng.normal(size=still[n].shape)}, 0.0 * u) for n in names]
    for case in [*cases, (still, np.ones(1))]:
        expected = best_richardson(lambda h, c=case: np.asarray(after(h, *c)), [1e-5, 1e-4, 1e-3])
        assert np.abs(expected).max() > 1e-3
        assert np.abs(slope(0.0, *case) - expected).max() < 1e-6 * np.abs(expected).max()
    _, b = jax.jit(dojo.linearize)(paths, state, u, options=options)
    assert np.abs(b[paths.nv :, 0] - expected).max() < 1e-6 * np.abs(expected).max()


def test_a_string_holds_a_ball():
    """A ball on a taut string is a pendulum: its period, and the pull m g + m v^2 / r below."""
    xml = """<mujoco><option timestep="0.01"/><worldbody><site name="top" pos="0 0 2"/>
      <body pos=".2 0 1.0202041"><joint type="slide" axis="1 0 0"/>
      <joint type="slide" axis="0 0 1"/><geom size=".01" mass="2"/><site name="hook"/></body>
    </worldbody><tendon><spatial range="0 1" limited="true"><site site="top"/><site site="hook"/>
    </spatial></tendon></mujoco>"""
    h, angle = 0.01, np.arcsin(0.2)
    model, us = dojo.load(xml), np.zeros((400, 0))
    options = dojo.SolverOptions(kappa=1e-10)
    states, infos = jax.jit(dojo.rollout)(model, dojo.init(model), us, options=options)
    assert infos.converged.all()
    x, z = (np.asarray(states.q) + np.array([0.2, 1.0202041 - 2])).T
    length = np.hypot(x, z)
    assert length.max() < 1 + 1e-9
    assert length.min() > 1 - 1e-6
    crossings = np.flatnonzero(np.diff(np.sign(x)))
    period = 2 * np.pi / np.sqrt(9.81) * (1 + angle**2 / 16)
    assert 2 * h * np.diff(crossings).mean() == pytest.approx(period, abs=2 * h)
    pull = infos.limit_impulse[np.abs(x).argmin(), 1] / h
    assert pull == pytest.approx(2 * 9.81 * (1 + 2 * (1 - np.cos(angle))), rel=0.01)


def test_actuator_force_limit_of_a_joint_counts_tendons():
    """The sum of a joint's own motor and of a tendon's is cut as in MuJoCo; others feel all."""
    xml = """<mujoco><option timestep="1e-6" gravity="0 0 0"><flag contact="disable"/></option>
    <worldbody>
      <body><joint name="a" axis="0 1 0" actuatorfrcrange="-1 1"/>
        <geom size=".1" pos=".3 0 0"/></body>
      <body pos="0 1 0"><joint name="b" axis="0 1 0"/><geom size=".1" pos=".3 0 0"/></body>
    </worldbody><tendon><fixed name="t"><joint joint="a" coef=".5"/><joint joint="b" coef="2"/>
    </fixed></tendon><actuator><motor joint="a"/><velocity tendon="t" kv=".7"/></actuator>
    </mujoco>"""
    model, m = dojo.load(xml), mujoco.MjModel.from_xml_string(xml)
    d = mujoco.MjData(m)
    for u in ([0.3, 0.2], [0.9, 1.0], [-2.0, 0.5], [3.0, -1.0]):
        state = dojo.init(model, q=[0.1, 0.2], v=[0.3, -0.4])
        d.qpos, d.qvel, d.ctrl = state.q, state.v, u
        mujoco.mj_forward(m, d)
        after, _ = dojo.step(model, state, u)
        mass = np.asarray(dojo.mass_matrix(model, state.q))
        force = mass @ np.asarray(after.v - state.v) / 1e-6
        np.testing.assert_allclose(force, d.qfrc_actuator, atol=1e-4)


def test_what_is_left_out_is_said(paths):
    assert any("1 spatial tendons without" in note for note in paths.topology.notes)
    inside = SIDED.format(kind="cylinder", side=0.05, y=0, out=0)
    with pytest.raises(dojo.UnsupportedFeature, match=r"t \(inside g\)"):
        dojo.load(inside)
