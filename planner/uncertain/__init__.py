"""Plans under draws of what is uncertain: the law of loss, and the times of serving and training."""

from .study import COVERAGE as COVERAGE
from .study import DRAWS as DRAWS
from .study import SAME as SAME
from .study import SURE as SURE
from .study import Size as Size
from .study import Study as Study
from .study import study as study
