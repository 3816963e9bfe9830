"""The processes that the tests of this folder share: a start costs seconds."""

import pytest

from .processes import Processes


@pytest.fixture(scope="session")
def pair():
    """Two processes of one group."""
    processes = Processes(2)
    yield processes
    processes.close()


@pytest.fixture(scope="session")
def four():
    """Four processes of one group."""
    processes = Processes(4)
    yield processes
    processes.close()
