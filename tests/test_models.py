"""The models that come with the engine: each loads whole and simulates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from paths import MODELS

import dojo

# Codegen dominates; a second of simulation is short.
FAST_COMPILE = {"xla_backend_optimization_level": 0}
PATHS = sorted(MODELS.iterdir())
rollout = jax.jit(dojo.rollout, compiler_options=FAST_COMPILE)


def controls(model, seconds, ctrl=None):
    steps = round(seconds / float(model.timestep))
    u = np.zeros(model.nu) if ctrl is None else np.array(ctrl)
    return jnp.tile(u, (steps, 1))


def check(model, states, infos):
    assert infos.converged.all()
    assert (infos.status == dojo.Status.CONVERGED).all()
    for leaf in jax.tree.leaves((states, infos)):
        assert jnp.isfinite(leaf).all()
    assert jnp.min(infos.contacts.gap, initial=np.inf) >= -1e-9
    assert states.q.shape == (infos.converged.shape[0], model.nq)


def test_the_models_are_those_promised():
    names = """
      ant arm atlas block2d box cartpole dzhanibekov fourbar half_cheetah hopper
      humanoid mobile_arm npendulum nslider panda pendulum quadrotor quadruped
      raibert_hopper slider snake sphere tippetop twister uuv walker xarm6_push
    """
    assert [path.stem for path in PATHS] == names.split()
    assert dojo.models.names() == tuple(names.split())


def test_models_are_found_by_name():
    model = dojo.models.load("pendulum", timestep=0.02)
    assert float(model.timestep) == pytest.approx(0.02)
    assert model.topology.source == str(dojo.models.path("pendulum"))
    with pytest.raises(dojo.ModelError, match=r"no robot 'hoper'. Did you mean 'hopper'"):
        dojo.models.load("hoper")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_a_model_needs_no_ignore_and_approximates_nothing(path):
    notes = dojo.load(path).topology.notes
    excused = ("without joint merged", "no effect here")
    assert [n for n in notes if not any(e in n for e in excused)] == []


# A legged robot, an arm from a URDF, a machine without contact; the others differ in size.
QUICK = ("quadruped", "arm", "cartpole")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.name, marks=[] if path.stem in QUICK else pytest.mark.slow)
        for path in PATHS
    ],
)
def test_a_second_without_control(path):
    model = dojo.load(path)
    states, infos = rollout(model, dojo.init(model), controls(model, 1.0))
    check(model, states, infos)
    t = model.topology
    q = np.asarray(states.q)[:, t.q_start[t.limited]]
    low, high = np.asarray(model.joint_range).T
    assert (q >= low - 1e-9).all()
    assert (q <= high + 1e-9).all()


def test_the_quadruped_stands_in_its_home_pose_for_two_seconds():
    model = dojo.load(MODELS / "quadruped.xml")
    home = {key.name: key for key in model.topology.keyframes}["home"]
    start = state = dojo.init(model, keyframe="home")
    for _ in range(2):  # the compiled second from above, twice
        states, infos = rollout(model, state, controls(model, 1.0, home.ctrl))
        check(model, states, infos)
        assert states.q[:, 2].min() > 0.2
        state = jax.tree.map(lambda x: x[-1], states)
    # And it stays: upright, in place, at rest.
    assert jnp.abs(state.q[:2] - start.q[:2]).max() < 0.05
    assert state.q[3] > 0.99
    assert jnp.abs(state.v).max() < 0.05
