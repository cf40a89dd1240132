"""dojo: differentiable rigid-body simulation through hard contact."""

from dojo.inertial_parameters import inertial_parameters as inertial_parameters
from dojo.inertial_parameters import with_inertial_parameters as with_inertial_parameters
from dojo.linearize import linearize as linearize
from dojo.linearize import step_and_linearize as step_and_linearize
from dojo.loaders.load import load as load
from dojo.metrics import energy as energy
from dojo.metrics import momentum as momentum
from dojo.model.errors import ModelError as ModelError
from dojo.model.errors import UnsupportedFeature as UnsupportedFeature
from dojo.model.model import Model as Model
from dojo.model.state import State as State
from dojo.model.state import init as init
from dojo.physics.inertia import bias_force as bias_force
from dojo.physics.inertia import mass_matrix as mass_matrix
from dojo.physics.kinematics import forward_kinematics as forward_kinematics
from dojo.physics.kinematics import geom_poses as geom_poses
from dojo.report import Contacts as Contacts
from dojo.report import StepInfo as StepInfo
from dojo.rollout import first_failure as first_failure
from dojo.rollout import rollout as rollout
from dojo.sensors import sensor_data as sensor_data
from dojo.solver.options import SolverOptions as SolverOptions
from dojo.solver.status import SolverError as SolverError
from dojo.solver.status import Status as Status
from dojo.step import step as step
from dojo.viewer import Visualizer as Visualizer
