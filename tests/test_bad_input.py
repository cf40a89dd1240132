"""Wrong input: the exception, what it names, and what it advises."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dojo
from dojo.loaders.findings import FEATURES
from dojo.solver.options import resolve_kappa

FLOOR = '<geom name="floor" type="plane" size="0 0 1"/>'
BALL = '<body name="ball"><freejoint name="root"/><geom name="ball" size=".1"/></body>'
ARM = (
    '<body name="arm"><joint name="hinge" {0}/><geom name="arm" size=".1" pos="0 0 .5" {1}/></body>'
)


def mjcf(world, extra="", option=""):
    return f"<mujoco>{option}<worldbody>{world}</worldbody>{extra}</mujoco>"


def hinged(extra="", joint="", option=""):
    return mjcf(ARM.format(joint, ""), extra, option)


def inertial(mass, diagonal):
    return mjcf(
        f'<body name="rotor"><joint/><inertial pos="0 0 0" mass="{mass}" '
        f'diaginertia="{diagonal}"/></body>'
    )


# Files


def test_a_missing_file(tmp_path):
    path = tmp_path / "robot.xml"
    with pytest.raises(dojo.ModelError) as caught:
        dojo.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: no such file")
    assert "Give the path of an MJCF or URDF file, or its XML as a string." in message


def test_a_folder(tmp_path):
    with pytest.raises(dojo.ModelError, match=re.escape(f"{tmp_path}: is a folder")):
        dojo.load(tmp_path)


def test_a_message_names_the_file(tmp_path):
    path = tmp_path / "robot.xml"
    path.write_text("<mujoco><worldbody>")
    with pytest.raises(dojo.ModelError, match=re.escape(str(path)) + ".*malformed"):
        dojo.load(str(path))


def test_a_mesh_that_is_not_there(tmp_path):
    path = tmp_path / "robot.xml"
    path.write_text(hinged('<asset><mesh name="shell" file="shell.stl"/></asset>'))
    with pytest.raises(dojo.ModelError, match=r"shell\.stl.*check the path of the mesh"):
        dojo.load(path)


REFUSED = {
    "broken XML": (
        "<mujoco><worldbody>",
        "Line number=1.*Remedy: the XML is malformed at the place named",
    ),
    "not a robot": ("<html/>", "<XML string>"),
    "empty": ("<", "<XML string>: .*malformed"),
    "unknown element": (mjcf("<ball/>"), "'ball', line 1.*Remedy: .*check its spelling"),
    "unknown attribute": (hinged(joint='colour="red"'), "'colour'.*Remedy: .*check its spelling"),
    "zero mass": (
        mjcf('<body name="ghost"><freejoint/></body>'),
        "mass and inertia.*'ghost'.*Remedy: give the body an <inertial>",
    ),
    "geom of no mass": (
        mjcf('<body name="ghost"><joint/><geom size=".1" mass="0"/></body>'),
        "mass and inertia.*'ghost'.*Remedy",
    ),
    "negative mass": (inertial(-1, "1 1 1"), "'rotor'.*Remedy: give the body an <inertial>"),
    "impossible inertia": (inertial(1, "1 1 5"), r"A \+ B >= C.*'rotor'.*Remedy: .*correct it"),
    "zero timestep": (hinged(option='<option timestep="0"/>'), "timestep = 0.0: must be positive"),
    "negative timestep": (
        hinged(option='<option timestep="-.1"/>'),
        "timestep = -0.1: must be positive, e.g. 0.01",
    ),
    "NaN gravity": (hinged(option='<option gravity="0 0 nan"/>'), "gravity: holds a NaN"),
    "infinite gravity": (hinged(option='<option gravity="0 0 inf"/>'), "gravity: .*an infinity"),
    "no joints": (mjcf('<geom size=".1"/>'), "nothing moves.*no joints.*<freejoint/>"),
    "nothing": ("<mujoco/>", "nothing moves"),
    "empty range": (hinged(joint='limited="true" range="0 0"'), "'hinge'"),
    "static URDF": (
        '<robot name="r"><link name="base"/></robot>',
        "nothing moves.*of a URDF, let the root float",
    ),
    "flat mesh": (
        mjcf(
            FLOOR + '<body><joint/><geom size=".1" pos="0 0 3"/>'
            '<geom name="sheet" type="mesh" mesh="flat" mass="0"/></body>',
            '<asset><mesh name="flat" inertia="shell" vertex="0 0 0 1 0 0 0 1 0 1 1 0" '
            'face="0 1 2 2 1 3"/></asset>',
        ),
        "sheet|flat",
    ),
}


@pytest.mark.parametrize(("xml", "message"), REFUSED.values(), ids=REFUSED)
def test_a_file_is_refused(xml, message):
    with pytest.raises(dojo.ModelError, match=message) as caught:
        dojo.load(xml)
    assert type(caught.value) is dojo.ModelError
    assert str(caught.value).startswith("<XML string>: ")


@pytest.mark.parametrize("timestep", [0.0, -0.01])
def test_the_timestep_argument(timestep):
    with pytest.raises(dojo.ModelError, match=f"timestep = {timestep}: must be positive"):
        dojo.load(hinged(), timestep=timestep)
    with pytest.raises(dojo.ModelError, match="timestep: holds a NaN"):
        dojo.load(hinged(), timestep=float("nan"))


# Features


def actuator(text):
    return hinged(f"<actuator>{text}</actuator>", joint='range="-1 1"')


TENDON = '<tendon><fixed name="cable" {0}><joint joint="hinge" coef="1"/></fixed></tendon>'
STRING = """<tendon><spatial name="string" {0}><site site="tip"/><site site="nail"/></spatial>
  </tendon>"""
NAILED = """<site name="nail" pos="0 0 2"/><body name="arm"><joint name="hinge"/><geom size=".1"/>
  <site name="tip" pos=".1 0 0"/></body>"""


def strung(tendon, extra=""):
    return mjcf(NAILED, STRING.format(tendon) + extra)


UNSUPPORTED = {
    "string equality": (
        strung("", '<equality><tendon name="tied" tendon1="string"/></equality>'),
        "equality",
        r"tied \(couples spatial tendons\)",
    ),
    "tendon friction": (hinged(TENDON.format('frictionloss="1"')), "tendon", "cable"),
    "tendon armature": (hinged(TENDON.format('armature="1"')), "tendon", "cable"),
    "muscle": (actuator('<muscle name="a" joint="hinge"/>'), "actuator", r"a \(muscle dynamics"),
    "reference site": (
        mjcf(NAILED, '<actuator><motor name="a" site="tip" refsite="nail"/></actuator>'),
        "actuator",
        r"a \(at a site with a reference site\)",
    ),
    "body transmission": (
        hinged('<actuator><adhesion name="a" body="arm" ctrlrange="0 1"/></actuator>'),
        "actuator",
        r"a \(body transmission\)",
    ),
    "motor in the parent's frame": (
        mjcf(BALL, '<actuator><motor name="a" jointinparent="root"/></actuator>'),
        "actuator",
        r"a \(in the parent's frame of a free or ball joint\)",
    ),
    "ellipsoids in a medium": (
        mjcf(
            '<body><freejoint/><geom name="fin" size=".1" fluidshape="ellipsoid"/></body>',
            option='<option density="1.2"/>',
        ),
        "fluid",
        "fluidshape='ellipsoid' of geoms fin",
    ),
    "contact override": (
        mjcf(
            FLOOR + BALL,
            option='<option o_friction=".3 .3 0 0 0"><flag override="enable"/></option>',
        ),
        "override",
        "friction",
    ),
    "damping polynomial": (hinged(joint='damping="1 2"'), "polynomial", "dof_dampingpoly"),
}


@pytest.mark.parametrize(("xml", "feature", "detail"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_an_unsupported_feature_is_refused_by_name(xml, feature, detail):
    with pytest.raises(dojo.UnsupportedFeature, match=f"{feature}: .*{detail}") as caught:
        dojo.load(xml)
    assert f"dojo.load(..., ignore=['{feature}'])" in str(caught.value)
    model = dojo.load(xml, ignore=feature)
    assert any(note.startswith(f"ignored on request, {feature}") for note in model.topology.notes)


def test_every_feature_is_reported_at_once():
    xml = hinged(TENDON.format('armature="1"'), joint='damping="1 2"')
    with pytest.raises(dojo.UnsupportedFeature, match=r"ignore=\['polynomial', 'tendon'\]"):
        dojo.load(xml)
    with pytest.raises(dojo.UnsupportedFeature, match=r"ignore=\['tendon'\]"):
        dojo.load(xml, ignore="polynomial")
    assert dojo.load(xml, ignore=["tendon", "polynomial"]).nv == 1
    assert dojo.load(xml, ignore="all").nv == 1


@pytest.mark.parametrize(
    ("ignore", "hint"),
    [("mocup", "'mocap'"), (["tendon", "tendons"], "'tendon'"), ("equalty", "'equal")],
)
def test_a_misspelled_ignore(ignore, hint):
    with pytest.raises(ValueError, match=f"no such feature. Did you mean {hint}") as caught:
        dojo.load(hinged(), ignore=ignore)
    assert all(feature in str(caught.value) for feature in FEATURES)


def test_a_joint_without_inertia():
    xml = mjcf("""<body><joint name="lost" axis="0 0 1"/>
      <inertial pos="0 0 0" mass="1" diaginertia="1e-14 1e-14 1e-14"/></body>""")
    with pytest.raises(dojo.ModelError, match=r"joint lost moves no inertia.*an armature"):
        dojo.load(xml)


# Arrays

# Codegen dominates; these steps are few.
FAST_COMPILE = {"xla_backend_optimization_level": 0}


@pytest.fixture(scope="module")
def ball():
    """A ball above the floor, a hinge and a motor."""
    arm = ARM.format("", 'contype="0" conaffinity="0"')
    motor = '<actuator><motor joint="hinge"/></actuator>'
    return dojo.load(mjcf(FLOOR + BALL.replace('"ball">', '"ball" pos="0 0 .3">') + arm, motor))


@pytest.fixture(scope="module")
def batched(ball):
    """Its step over a batch of (q, v, u)."""

    def step(q, v, u):
        return dojo.step(ball, dojo.State(q, v), u)

    return jax.jit(jax.vmap(step), compiler_options=FAST_COMPILE)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"q": np.zeros(3)}, r"q: shape \(3,\), expected \(8,\)"),
        ({"q": np.zeros((2, 8))}, r"q: shape \(2, 8\), expected \(8,\).*jax.vmap"),
        ({"v": np.zeros(8)}, r"v: shape \(8,\), expected \(7,\)"),
        ({"q": [0, 0, 0, 0, 0, 0, 0, 0]}, r"zero quaternion.*identity is \(1, 0, 0, 0\)"),
        ({"q": [0, 0, np.nan, 1, 0, 0, 0, 0]}, "q: holds a NaN"),
        ({"v": [0, 0, np.inf, 1, 0, 0, 0]}, "v: holds a NaN or an infinity"),
    ],
)
def test_init(ball, values, message):
    with pytest.raises(ValueError, match=message):
        dojo.init(ball, **values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u": np.zeros(2)}, r"u: shape \(2,\), expected \(1,\)"),
        ({"u": 0.0}, r"u: shape \(\), expected \(1,\)"),
        ({"u": np.zeros((4, 1))}, r"u: shape \(4, 1\), expected \(1,\)"),
        ({"wrench": np.zeros(6)}, r"wrench: shape \(6,\), expected \(2, 6\)"),
        ({"q": np.ones(7)}, r"state.q: shape \(7,\), expected \(8,\)"),
        ({"q": np.ones(3)}, r"state.q: shape \(3,\), expected \(8,\)"),
        ({"v": np.zeros((3, 7))}, r"state.v: shape \(3, 7\), expected \(7,\).*jax.vmap"),
    ],
)
@pytest.mark.parametrize("function", [dojo.step, dojo.linearize], ids=["step", "linearize"])
def test_wrong_shapes(ball, function, change, message):
    state = dojo.init(ball)
    state = dojo.State(change.get("q", state.q), change.get("v", state.v))
    with pytest.raises(ValueError, match=message):
        # Shapes are known without running anything.
        jax.eval_shape(lambda: function(ball, state, change.get("u"), wrench=change.get("wrench")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"us": np.zeros((5, 2))}, r"us has shape \(5, 2\), expected \(T, 1\)"),
        ({"us": np.zeros(5)}, r"us has shape \(5,\), expected \(T, 1\)"),
        ({"us": np.zeros((2, 5, 1))}, r"us has shape \(2, 5, 1\).*jax.vmap"),
        (
            {"us": np.zeros((5, 1)), "wrenches": np.zeros((4, 2, 6))},
            r"wrenches has shape \(4, 2, 6\), expected \(5, 2, 6\)",
        ),
    ],
)
def test_rollout(ball, arguments, message):
    with pytest.raises(ValueError, match=message):
        dojo.rollout(ball, dojo.init(ball), **arguments)


def test_a_model_without_actuators_takes_controls_of_size_zero():
    model = dojo.load(mjcf(BALL))
    with pytest.raises(ValueError, match=r"u: shape \(1,\), expected \(0,\)"):
        dojo.step(model, dojo.init(model), np.zeros(1))
    with pytest.raises(ValueError, match=r"us has shape \(5, 1\), expected \(T, 0\)"):
        dojo.rollout(model, dojo.init(model), np.zeros((5, 1)))


POISON = [("q", 2), ("q", 4), ("q", 7), ("v", 0), ("v", 5), ("u", 0)]


def sane_batch(model):
    """Four lanes: in flight, on the floor, pressed into it, tumbling."""
    q = np.tile(np.asarray(model.q_rest), (4, 1))
    q[:, 2] = [0.5, 0.1, 0.09, 0.4]
    v = np.random.default_rng(0).normal(size=(4, model.nv))
    u = np.linspace(-1, 1, 4)[:, None]
    return {"q": q, "v": v, "u": u}


@pytest.fixture(scope="module")
def clean(ball, batched):
    """The sane batch and what a step makes of it."""
    inputs = sane_batch(ball)
    result = batched(**{k: jnp.array(x) for k, x in inputs.items()})
    assert result[1].converged.all()
    assert (result[1].status == dojo.Status.CONVERGED).all()
    return inputs, result


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("name", "entry"), POISON)
def test_a_lane_that_is_not_finite_is_reported_and_leaves_the_others(
    clean, batched, name, entry, value
):
    inputs, expected = clean
    poisoned = {k: x.copy() for k, x in inputs.items()}
    poisoned[name][1, entry] = value
    result = batched(**{k: jnp.array(x) for k, x in poisoned.items()})
    info = result[1]
    assert info.status.tolist() == [0, dojo.Status.NONFINITE, 0, 0]
    assert info.converged.tolist() == [True, False, True, True]
    others = [0, 2, 3]
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(result), strict=True):
        np.testing.assert_array_equal(np.asarray(a)[others], np.asarray(b)[others])


def test_a_zero_quaternion_inside_a_trace_is_the_identity(clean, batched):
    inputs, expected = clean
    q = inputs["q"].copy()
    q[:, 3:7] = 0.0
    state, info = batched(q=jnp.array(q), v=jnp.array(inputs["v"]), u=jnp.array(inputs["u"]))
    assert info.converged.all()
    np.testing.assert_array_equal(state.q, expected[0].q)


# Options


@pytest.mark.parametrize("name", ["kappa", "grad_kappa"])
@pytest.mark.parametrize("value", [0.0, -1e-6, float("nan"), 0])
def test_kappa_must_be_positive(name, value):
    with pytest.raises(ValueError, match=rf"SolverOptions\({name}=.*must be positive, e.g. 1e-6"):
        dojo.SolverOptions(**{name: value})


def test_a_budget_of_contacts_is_positive():
    with pytest.raises(ValueError, match=r"contact_budget=0\): must be positive"):
        dojo.load(hinged(), contact_budget=0)


@pytest.mark.parametrize("value", [0, -3])
def test_an_iteration_is_the_least(value):
    with pytest.raises(ValueError, match=rf"max_iterations={value}\): must be at least 1"):
        dojo.SolverOptions(max_iterations=value)


def test_a_traced_kappa_is_clamped_to_the_smallest_supported():
    for dtype, smallest in ((jnp.float64, 1e-12), (jnp.float32, 1e-6)):
        clamped = jax.jit(lambda kappa, dtype=dtype: resolve_kappa(kappa, dtype))(-1.0)
        np.testing.assert_allclose(clamped, smallest, rtol=1e-6)


def test_too_few_iterations_are_reported():
    """A hinge that runs into its limit."""
    model = dojo.load(hinged(joint='range="0 60"'))
    state = dojo.init(model, q=[0.01], v=[-3.0])
    step = jax.jit(dojo.step, compiler_options=FAST_COMPILE)
    _, info = step(model, state, options=dojo.SolverOptions(max_iterations=1))
    assert not bool(info.converged)
    status = dojo.Status(int(info.status))
    assert status is dojo.Status.MAX_ITERATIONS
    assert "max_iterations" in status.message


@pytest.mark.parametrize("status", dojo.Status)
def test_every_status_explains_itself(status):
    assert status.message.endswith(".")
    assert len(status.message.split()) >= 5
    assert [s for s in dojo.Status if s.message == status.message] == [status]


def test_unsupported_features_and_model_errors_are_value_errors():
    assert issubclass(dojo.UnsupportedFeature, dojo.ModelError)
    assert issubclass(dojo.ModelError, ValueError)


def test_names_that_are_no_text_are_named(tmp_path):
    file = tmp_path / "robot.xml"
    body = '<body name="a\u00e4"><joint/><geom size=".1"/></body>'
    text = f"<mujoco><worldbody>{body}</worldbody></mujoco>"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(dojo.ModelError, match=r"robot.xml: a name is not UTF-8.*Save the file as"):
        dojo.load(file)
    file.write_text(text, encoding="utf-8")
    assert dojo.load(file).topology.link_names == ("a\u00e4",)


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b"])
def test_a_path_that_cannot_be_one_is_not_there(name):
    with pytest.raises(dojo.ModelError, match="no such file"):
        dojo.load(name)
    mesh = f'<collision><geometry><mesh filename="{name}"/></geometry></collision>'
    if "\0" not in name:
        with pytest.raises(dojo.ModelError, match="is not there"):
            dojo.load(f'<robot name="r"><link name="base">{mesh}</link></robot>')


def test_a_comment_without_an_end_is_no_trap():
    """Many comments before it would be tried in every way, for hours."""
    text = "<!-- a -->" * 60 + "<!-- b"
    with pytest.raises(dojo.ModelError, match="malformed"):
        dojo.load(text)
