"""Margins: distances that geoms keep from each other, and joints from their limits."""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from differences import richardson

import dojo

# Stiff: MuJoCo's contacts give way, by a tenth of a millimetre here.
SCENE = """<mujoco><option timestep="0.002"/>
  <default><geom solref="0.004 1" solimp=".99 .999 .001"/></default>
  <worldbody><geom name="floor" type="plane" size="1 1 1" margin=".01"/>
    <body name="low" pos="0 0 .15"><freejoint/>
      <geom name="low" type="box" size=".1 .1 .1" margin=".02" gap=".005"/></body>
    <body name="high" pos="0 0 .4"><freejoint/>
      <geom name="high" type="{kind}" size=".05 .05 .05" margin=".004"/></body>
  </worldbody>{more}</mujoco>"""
PAIR = '<contact><pair geom1="high" geom2="low" margin=".007"/></contact>'
CASES = {
    "boxes": SCENE.format(kind="box", more=""),
    "a ball": SCENE.format(kind="sphere", more=""),
    "a cylinder": SCENE.format(kind="cylinder", more=""),
    "an explicit pair": SCENE.format(kind="sphere", more=PAIR),
}


@functools.partial(jax.jit, static_argnums=2)
def _settled(model, state, steps):
    options = dojo.SolverOptions(kappa=1e-8)
    return dojo.rollout(model, state, jnp.zeros((steps, 0)), options=options)


@pytest.mark.parametrize("xml", CASES.values(), ids=CASES)
def test_bodies_rest_where_mujocos_do(xml):
    m = mujoco.MjModel.from_xml_string(xml)
    d = mujoco.MjData(m)
    mujoco.mj_step(m, d, nstep=2000)
    model = dojo.load(xml, timestep=0.01)
    states, infos = _settled(model, dojo.init(model), 120)
    assert infos.converged.all()
    heights = states.q[-1, [2, 9]]
    np.testing.assert_allclose(heights, d.qpos[[2, 9]], atol=5e-4)
    kept = np.array([0.03, 0.007 if "pair" in xml else 0.024])
    np.testing.assert_allclose(heights, [0.1 + kept[0], 0.25 + kept.sum()], atol=1e-5)
    # The gaps are those above the margins; impulses act halfway between the surfaces.
    bears = np.asarray(infos.contacts.impulse[-1, :, 0]) > 1e-3
    assert np.abs(infos.contacts.gap[-1][bears]).max() < 1e-5
    points = {round(float(z), 4) for z in infos.contacts.point[-1][bears][:, 2]}
    assert points == {round(kept[0] / 2, 4), round(0.2 + kept[0] + kept[1] / 2, 4)}


def test_margins_are_parameters():
    """The height at rest by the margins: that of the upper box, and those below it twice."""
    model = dojo.load(CASES["boxes"], timestep=0.01)
    at_rest = dojo.init(model, q=model.q_rest.at[jnp.array([2, 9])].set(jnp.array([0.131, 0.305])))

    def height(margin):
        after, _ = dojo.step(
            model.replace(geom_margin=margin), at_rest, options=dojo.SolverOptions(kappa=1e-3)
        )
        return after.q[9]

    got = jax.jit(jax.grad(height))(model.geom_margin)
    moved = jax.jit(lambda t, way: height(model.geom_margin + t * way))
    expected = [richardson(lambda t, way=way: moved(t, way), 1e-4) for way in jnp.eye(3)]
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert (np.asarray(got) > 0.01).all()


def test_a_budget_takes_the_nearest_by_their_margins():
    """The ball further away would touch the post, but for the budget."""
    xml = """<mujoco><option gravity="0 0 0" timestep=".01"/><worldbody>
      <geom name="post" size=".1"/>
      <body pos=".25 0 0"><freejoint/><geom name="near" size=".1" contype="2"/></body>
      <body pos="-.28 0 0"><freejoint/><geom name="far" size=".1" margin=".09" contype="2"/></body>
      </worldbody></mujoco>"""
    model = dojo.load(xml, contact_budget=1)
    after, info = dojo.step(model, dojo.init(model, v=jnp.eye(12)[6] * 1.0))
    names = model.topology.geom_names
    assert {names[g] for g in info.contacts.geoms[0]} == {"post", "far"}
    assert info.converged
    assert after.v[6] < 1e-3
    assert info.contacts.overflow == 0


def test_without_margins_in_the_file_there_are_none():
    model = dojo.load(CASES["boxes"].replace("margin", "solmix").replace('gap=".005"', ""))
    assert not model.topology.margins
    with pytest.raises(dojo.ModelError, match="loaded without margins"):
        model.replace(geom_margin=0.01)
    assert not np.any(model.replace(geom_margin=0.0).geom_margin)


JOINT = """<mujoco><worldbody><body><joint name="lift" type="slide" axis="0 0 1" limited="true"
  range="-.5 {high}" margin=".1" solreflimit="0.004 1"/><geom size=".1" mass="1"/></body>
  </worldbody></mujoco>"""


def test_a_joint_stops_where_its_margin_begins():
    m = mujoco.MjModel.from_xml_string(JOINT.format(high=1))
    d = mujoco.MjData(m)
    mujoco.mj_step(m, d, nstep=2000)
    model = dojo.load(JOINT.format(high=1), timestep=0.01)
    states, infos = _settled(model, dojo.init(model), 120)
    assert infos.converged.all()
    np.testing.assert_allclose(states.q[-1], d.qpos, atol=1e-3)
    np.testing.assert_allclose(states.q[-1], [-0.4], atol=1e-5)


def test_a_margin_that_leaves_no_range_is_refused():
    with pytest.raises(dojo.ModelError, match=r"joint lift: its margin 0\.1 leaves nothing"):
        dojo.load(JOINT.format(high=-0.35))
