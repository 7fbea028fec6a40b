"""Fixtures of the tests through real mounts."""

import signal

import pytest

from harness import BINARY, Embedded


def pytest_configure(config):
    # A shell has those that it starts in the background ignore SIGINT, and their children too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not BINARY.exists():
        raise pytest.UsageError(
            f"{BINARY}: not built: swift build -c release --product millrace (or set MILLRACE_BIN)")


@pytest.fixture(scope="module")
def shared_embedded():
    """One server for a whole file of tests; each test uses keys of its own."""
    with Embedded() as server:
        yield server


@pytest.fixture
def embedded():
    """A server of the test's own."""
    with Embedded() as server:
        yield server
