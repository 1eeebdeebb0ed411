"""Facts with a source: chips, laws, models, workloads, engines, shapes, scenarios; and the strict loader."""

from .catalog import ids as ids
from .catalog import path_of as path_of
from .chips import PRECISIONS as PRECISIONS
from .chips import ChipFacts as ChipFacts
from .chips import load_chip as load_chip
from .engines import EngineFacts as EngineFacts
from .engines import load_engine as load_engine
from .errors import ConfigError as ConfigError
from .errors import nearest as nearest
from .errors import shown as shown
from .laws import LawFacts as LawFacts
from .laws import load_law as load_law
from .models import ModelFacts as ModelFacts
from .models import load_model as load_model
from .scenarios import PLAN_SETTINGS as PLAN_SETTINGS
from .scenarios import SETTINGS as SETTINGS
from .scenarios import ScenarioFacts as ScenarioFacts
from .scenarios import load_scenario as load_scenario
from .shapes import ShapeFacts as ShapeFacts
from .shapes import load_shape as load_shape
from .workloads import WorkloadFacts as WorkloadFacts
from .workloads import load_workload as load_workload
