"""Where a mode of the simulated GPU cannot be built, its tests are skipped and say why."""

import pytest

from simt.build import MODES, why_not


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "simt(mode): needs the simulated GPU in this mode")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = {mode: why_not(mode) for mode in MODES}
    for item in items:
        for mark in item.iter_markers("simt"):
            reason = reasons[mark.args[0]]
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))
