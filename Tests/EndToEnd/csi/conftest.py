"""Fixtures of the node plugin's tests."""

import pytest

from harness import Embedded
from node_plugin import KEYS, NodePlugin


@pytest.fixture(scope="module")
def server():
    """An S3 server that takes signed requests only."""
    environment = {"AWS_ACCESS_KEY_ID": KEYS["accessKeyID"], "AWS_SECRET_ACCESS_KEY": KEYS["secretAccessKey"]}
    with Embedded("--signed", environment=environment) as server:
        for number in range(50):
            server.put(f"set/file-{number:03}", f"content of {number}\n".encode())
        server.put("other/secret", b"of another dataset")
        yield server


@pytest.fixture(scope="module")
def plugin():
    with NodePlugin(registration_socket=True) as plugin:
        yield plugin


@pytest.fixture
def own_plugin():
    """One that a test may break."""
    with NodePlugin() as plugin:
        yield plugin


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure comes with the logs of the processes."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for name in ("plugin", "own_plugin"):
            if name in item.funcargs:
                report.sections.append(("the plugin's logs", item.funcargs[name].logs()))
