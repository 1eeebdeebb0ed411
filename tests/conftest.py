"""Shared by all tests: where the measured data is, strict arrays, run-time shape checks."""

import os
from pathlib import Path

import jax
import pytest
from hypothesis import settings

# The first example pays for compilation, so deadlines mean nothing; a fixed seed keeps failures repeatable.
settings.register_profile("planner", deadline=None, derandomize=True)
settings.load_profile("planner")

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)

DATA = Path(os.environ.get("LLM_PLANNER_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of measured data and oracles; tests that need it skip where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"the measured data is not at {DATA} (set LLM_PLANNER_DATA)")
    return DATA


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory):
    """Keep the tests' compiled programs away from the user's; xdist workers share one."""
    root = tmp_path_factory.getbasetemp()
    shared = root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root
    old = os.environ.get("LLM_PLANNER_CACHE")
    os.environ["LLM_PLANNER_CACHE"] = str(shared / "planner-cache")
    yield
    if old is None:
        del os.environ["LLM_PLANNER_CACHE"]
    else:
        os.environ["LLM_PLANNER_CACHE"] = old
