"""Runs the command line as ``python -m planner``."""

import sys

from .cli.main import main

sys.exit(main())
