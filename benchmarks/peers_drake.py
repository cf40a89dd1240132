"""Models in Drake; see gradients_peers.py for what differs from the files."""

import logging
from importlib.metadata import version
from typing import Any

import mujoco
import numpy as np
from peers import Peer, contact_spheres, friction

APPROXIMATIONS = ("Sap", "Tamsi", "Lagged")  # Drake's default is the last


class DrakeStep:
    """A discrete update of a plant, in float or AutoDiffXd."""

    def __init__(self, diagram: Any, dofs: np.ndarray) -> None:
        """Of a diagram, with torques at some degrees of freedom."""
        self.diagram, self.dofs = diagram, dofs
        self.plant = diagram.GetSubsystemByName("plant")
        self.context = diagram.CreateDefaultContext()
        self.plant_context = self.plant.GetMyMutableContextFromRoot(self.context)
        self.forces = self.plant.get_applied_generalized_force_input_port()

    def set(self, x: np.ndarray) -> None:
        """Set state and torques."""
        count = self.plant.num_multibody_states()
        self.plant.SetPositionsAndVelocities(self.plant_context, x[:count])
        forces = np.full(self.plant.num_velocities(), 0 * x[0])
        forces[self.dofs] = x[count:]
        self.forces.FixValue(self.plant_context, forces)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The next [q; v]."""
        self.set(x)
        after = self.diagram.EvalUniquePeriodicDiscreteUpdate(self.context)
        return after.get_vector().CopyToVector()

    def contacts(self, x: np.ndarray) -> int:
        """Number of contacts in the step from x."""
        self.set(x)
        results = self.plant.get_contact_results_output_port().Eval(self.plant_context)
        return results.num_point_pair_contacts()


def drake_peer(path: str, m: mujoco.MjModel, approximation: str) -> Peer:
    """A model in Drake, with derivatives by AutoDiffXd."""
    from pydrake.autodiffutils import ExtractGradient, InitializeAutoDiff

    diagram = drake_diagram(path, m, approximation)
    plant = diagram.GetSubsystemByName("plant")
    joints = [plant.GetJointByName(m.joint(j).name) for j in m.actuator_trnid[:, 0]]
    dofs = np.array([joint.velocity_start() for joint in joints])
    step, dual = DrakeStep(diagram, dofs), DrakeStep(diagram.ToAutoDiffXd(), dofs)
    rest = plant.GetPositionsAndVelocities(step.plant_context)
    return Peer(
        engine=f"Drake {version('drake')}, {approximation}",
        start=np.concatenate([rest, np.zeros(m.nu)]),
        motor_q=np.array([joint.position_start() for joint in joints]),
        motor_v=plant.num_positions() + dofs,
        step=step,
        jacobians=lambda x: ExtractGradient(dual(InitializeAutoDiff(x).ravel())),
        contacts=step.contacts,
    )


def drake_diagram(path: str, m: mujoco.MjModel, approximation: str) -> Any:
    """Plant and scene of a file, with what the parser leaves out and spheres for the geoms."""
    from pydrake.multibody.parsing import Parser
    from pydrake.multibody.plant import AddMultibodyPlantSceneGraph, DiscreteContactApproximation
    from pydrake.multibody.tree import RevoluteSpring
    from pydrake.systems.framework import DiagramBuilder

    logging.getLogger("drake").setLevel(logging.ERROR)  # a warning for each omission
    builder = DiagramBuilder()
    plant, scene = AddMultibodyPlantSceneGraph(builder, m.opt.timestep)
    kind = getattr(DiscreteContactApproximation, f"k{approximation}")
    plant.set_discrete_contact_approximation(kind)
    plant.SetUseSampledOutputPorts(False)  # makes a step one discrete update
    Parser(plant).AddModels(path)
    for j in np.flatnonzero(m.jnt_stiffness):
        joint, rest = plant.GetJointByName(m.joint(j).name), m.qpos_spring[m.jnt_qposadr[j]]
        plant.AddForceElement(RevoluteSpring(joint, rest, m.jnt_stiffness[j]))
    spheres = drake_spheres(plant, m)
    plant.Finalize()
    filter_contacts(plant, scene, spheres)
    return builder.Build()


def drake_spheres(plant: Any, m: mujoco.MjModel) -> list[Any]:
    """Add the contact spheres of all bodies."""
    from pydrake.geometry import Sphere
    from pydrake.math import RigidTransform
    from pydrake.multibody.plant import CoulombFriction

    added: list[Any] = []
    for b in range(1, m.nbody):
        body, mu = plant.GetBodyByName(m.body(b).name), CoulombFriction(*[friction(m, b)] * 2)
        for centre, radius in contact_spheres(m, b):
            pose, name = RigidTransform(centre), f"contact_{len(added)}"
            added.append(plant.RegisterCollisionGeometry(body, pose, Sphere(radius), name, mu))
    return added


def filter_contacts(plant: Any, scene: Any, spheres: list[Any]) -> None:
    """Leave contacts of the spheres with the floor, which is the world's only geometry."""
    from pydrake.geometry import CollisionFilterDeclaration, GeometrySet
    from pydrake.multibody.tree import BodyIndex

    bodies = [plant.get_body(BodyIndex(b)) for b in range(plant.num_bodies())]
    floor, *shapes = [plant.GetCollisionGeometriesForBody(body) for body in bodies]
    moving = [g for of_body in shapes for g in of_body]
    replaced = [g for g in moving if g not in spheres]
    rules = CollisionFilterDeclaration().ExcludeWithin(GeometrySet(moving))
    rules.ExcludeBetween(GeometrySet(floor), GeometrySet(replaced))
    scene.collision_filter_manager().Apply(rules)
