"""Which geoms may touch each other, and with which friction: MuJoCo's rules."""

import numpy as np
import pytest

import dojo
from dojo.physics import collision

FLOOR = '<geom name="floor" type="plane" size="0 0 1" {0}/>'
BALL = '<body name="ball"><freejoint name="root"/><geom name="ball" size=".1" {0}/></body>'


def mjcf(world, extra="", option=""):
    return f"<mujoco>{option}<worldbody>{world}</worldbody>{extra}</mujoco>"


def touching(model):
    """Pairs of geom names that have contact candidates."""
    names = model.topology.geom_names
    return {
        (names[p], names[g])
        for group in model.topology.contacts
        for p, g in zip(group.first, group.second, strict=True)
    }


def friction_of(xml):
    """The coefficient of each frictional candidate."""
    return np.asarray(collision.candidates(dojo.load(xml)).friction.sliding)


@pytest.mark.parametrize("flag", ["contact", "constraint"])
def test_disable_flags_switch_contacts_off(flag):
    world = FLOOR.format("") + BALL.format("")
    assert dojo.load(mjcf(world)).topology.nc == 1
    assert dojo.load(mjcf(world, "", f'<option><flag {flag}="disable"/></option>')).topology.nc == 0


@pytest.mark.parametrize(
    ("floor", "ball", "expected"),
    [
        ('friction=".3"', 'friction=".7"', 0.7),
        ('friction=".7"', 'friction=".3"', 0.7),
        ('friction=".3" priority="1"', 'friction=".7"', 0.3),
        ('friction=".7"', 'friction=".3" priority="2"', 0.3),
        ('friction=".3" priority="2"', 'friction=".7" priority="2"', 0.7),
    ],
)
def test_friction_is_the_larger_one_or_that_of_the_priority(floor, ball, expected):
    mu = friction_of(mjcf(FLOOR.format(floor) + BALL.format(ball)))
    np.testing.assert_allclose(mu, [expected], rtol=1e-15)


@pytest.mark.parametrize("first", ["floor", "ball"])
def test_an_explicit_pair_brings_its_own_friction(first):
    second = {"floor": "ball", "ball": "floor"}[first]
    pair = f'<contact><pair geom1="{first}" geom2="{second}" friction=".2 .2"/></contact>'
    xml = mjcf(FLOOR.format('friction=".9"') + BALL.format(""), pair)
    np.testing.assert_allclose(friction_of(xml), [0.2], rtol=1e-15)


def test_an_explicit_pair_passes_the_bit_masks():
    world = FLOOR.format('contype="0" conaffinity="0"') + BALL.format('contype="0"')
    pair = '<contact><pair geom1="floor" geom2="ball"/></contact>'
    assert touching(dojo.load(mjcf(world))) == set()
    assert touching(dojo.load(mjcf(world, pair))) == {("floor", "ball")}


@pytest.mark.parametrize(
    ("floor", "ball", "touch"),
    [
        ((1, 1), (1, 1), True),
        ((1, 0), (0, 1), True),
        ((0, 1), (1, 0), True),
        ((1, 0), (1, 0), False),
        ((2, 0), (0, 3), True),
        ((2, 0), (0, 1), False),
        ((0, 0), (7, 7), False),
    ],
)
def test_contype_and_conaffinity(floor, ball, touch):
    bits = 'contype="{}" conaffinity="{}"'
    model = dojo.load(mjcf(FLOOR.format(bits.format(*floor)) + BALL.format(bits.format(*ball))))
    assert touching(model) == ({("floor", "ball")} if touch else set())


def test_an_exclude_removes_the_pair_but_not_its_neighbours():
    other = BALL.replace("ball", "other").replace("root", "root2").format('conaffinity="0"')
    world = (
        '<body name="ground"><geom name="floor" type="plane" size="0 0 1"/></body>'
        + BALL.format('conaffinity="0"')
        + other
    )
    exclude = '<contact><exclude body1="ball" body2="ground"/></contact>'
    assert touching(dojo.load(mjcf(world))) == {("floor", "ball"), ("floor", "other")}
    assert touching(dojo.load(mjcf(world, exclude))) == {("floor", "other")}


def test_a_body_and_its_parent_do_not_collide():
    chain = (
        '<body><freejoint/><geom size=".2"/><body pos="0 0 1"><joint/><geom size=".2"/>'
        '<body pos="0 0 1"><joint/><geom size=".2" {0}/></body></body></body>'
    )
    assert touching(dojo.load(mjcf(chain.format("")))) == {("geom0", "geom2")}
    off = '<option><flag filterparent="disable"/></option>'
    assert len(touching(dojo.load(mjcf(chain.format(""), "", off)))) == 3


@pytest.mark.parametrize(
    ("floor", "ball", "frictional"),
    [
        ('condim="1"', 'condim="1"', False),
        ('condim="1"', 'condim="3"', True),
        ('condim="1" priority="1"', 'condim="3"', False),
        ('condim="3"', 'condim="1" priority="1"', False),
        ('condim="3" priority="1"', 'condim="1"', True),
    ],
)
def test_condim_decides_on_friction(floor, ball, frictional):
    model = dojo.load(mjcf(FLOOR.format(floor) + BALL.format(ball)))
    assert (model.topology.nc, model.topology.nc_friction) == (1, int(frictional))


def test_frictional_candidates_come_first():
    other = BALL.replace("ball", "other").replace("root", "root2")
    slick = 'condim="1" conaffinity="0"'
    world = FLOOR.format('condim="1"') + BALL.format(slick) + other.format('conaffinity="0"')
    model = dojo.load(mjcf(world))
    assert [group.frictional for group in model.topology.contacts] == [True, False]
    assert (model.topology.nc, model.topology.nc_friction) == (2, 1)


@pytest.mark.parametrize(
    ("kind", "size", "count"),
    [
        ("sphere", ".1", 1),
        ("capsule", ".1 .2", 2),
        ("box", ".1 .1 .1", 8),
        ("ellipsoid", ".1 .2 .3", 1),
        ("cylinder", ".1 .2", 18),
    ],
)
def test_candidates_per_geom(kind, size, count):
    geom = BALL.format(f'type="{kind}"').replace('size=".1"', f'size="{size}"')
    assert dojo.load(mjcf(FLOOR.format("") + geom)).topology.nc == count


BALLS = "".join(
    f'<body pos="{x} 0 0"><freejoint/><geom name="{name}" size=".1"/></body>'
    for name, x in (("one", 0.0), ("two", 0.15), ("three", 0.36))
)


def test_bodies_that_overlap_where_the_file_puts_them_are_named():
    world = mjcf(FLOOR.format("") + BALLS)
    model = dojo.load(world)
    (note,) = (note for note in model.topology.notes if "overlap" in note)
    assert "1 pairs: one-two." in note
    assert "ignore=['initial overlap']" in note
    without = dojo.load(world, ignore="initial overlap")
    assert touching(model) - touching(without) == {("one", "two")}
    assert "ignored on request, initial overlap: 1 pairs: one-two" in without.topology.notes


ARM = (
    '<body name="base"><geom name="base" size=".1"/>'
    '<body name="arm" pos="{} 0 0"><joint axis="0 1 0"/><geom name="arm" size=".1" mass="1"/>'
    '<geom name="tip" size=".05" pos=".2 0 0" mass="1"/>'
    '<body name="hand" pos=".5 0 0"><joint axis="0 1 0"/><geom name="hand" size=".1" mass="1"/>'
    '</body></body></body><geom name="wall" size=".1" pos="{} .15 0"/>'
)


def test_links_of_one_robot_that_overlap_do_not_touch_each_other():
    """The base does not move, so that MuJoCo lets it touch its child; the wall is no robot's.

    No geom of one then touches any of the other.
    """
    apart, overlapping = (mjcf(ARM.format(x, x)) for x in (0.25, 0.15))
    assert touching(dojo.load(apart)) >= {("base", "arm"), ("base", "tip"), ("base", "hand")}
    model, kept = (
        dojo.load(overlapping, overlapping_links=which) for which in ("exclude", "collide")
    )
    assert touching(dojo.load(overlapping)) == touching(model)
    assert touching(kept) - touching(model) == {("base", "arm"), ("base", "tip")}
    assert ("arm", "wall") in {tuple(sorted(pair)) for pair in touching(model)}
    own, other = (note for note in model.topology.notes if "overlap" in note)
    assert "do not touch each other, 1 pairs: base-arm; " in own
    assert "overlap where the file puts them, 1 pairs: wall-arm." in other
    assert "INFEASIBLE" in next(note for note in kept.topology.notes if "overlap" in note)
    asked = mjcf(ARM.format(0.15, 0.15), '<contact><pair geom1="base" geom2="arm"/></contact>')
    assert touching(dojo.load(asked)) == touching(kept)
    state = dojo.step(model, dojo.init(model))[1]
    assert int(state.status) == dojo.Status.CONVERGED
    with pytest.raises(ValueError, match="overlapping_links='no'"):
        dojo.load(overlapping, overlapping_links="no")


def test_pairs_of_bodies_are_left_out_on_request():
    model = dojo.load(mjcf(FLOOR.format("") + BALLS), ignore="body-body collision")
    assert touching(model) == {("floor", "one"), ("floor", "two"), ("floor", "three")}
    assert any("body-body collision: 3 pairs" in note for note in model.topology.notes)
