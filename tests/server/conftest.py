"""No test here may leave a warning or a traceback in the log, unless it takes it out itself."""

import logging
from collections.abc import Iterator

import pytest

from .peers import troubles


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever peers do, nothing from WARNING on is logged that the test hasn't taken with `troubles`."""
    caplog.set_level(logging.DEBUG, "trio_chat")
    yield
    assert troubles(caplog) == []
