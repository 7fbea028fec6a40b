"""Starts millrace-controller and kube-embedded, and speaks CSI to it with stubs made from csi/csi.proto."""

import os
import pathlib
import subprocess
import tempfile
import time

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[3]


def program(name):
    """The built program: the directory in MILLRACE_BUILD, else release, else debug."""
    places = [os.environ.get("MILLRACE_BUILD"), ROOT / ".build/release", ROOT / ".build/debug"]
    for place in places:
        if place and (pathlib.Path(place) / name).exists():
            return str(pathlib.Path(place) / name)
    raise RuntimeError(f"{name} isn't built: swift build -c release --product {name}")


def stubs():
    """Python's own view of csi.proto: (messages, services)."""
    from stubs import load

    return load()[:2]


def wait_for(what, condition, seconds=30):
    """Waits for a condition and answers its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"never: {what}")


class Process:
    """A child that is ended by its own id, with its output in a file."""

    def __init__(self, arguments, environment=None):
        self.log = tempfile.NamedTemporaryFile("w+", prefix="cluster-", suffix=".log")
        clean = {key: value for key, value in os.environ.items() if not key.startswith("KUBE")}
        self.child = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=self.log, text=True, env={**clean, **(environment or {})})

    def output(self):
        return pathlib.Path(self.log.name).read_text()

    def kill(self):
        self.child.kill()
        self.child.wait(30)

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"it didn't end after SIGTERM:\n{self.output()[-2000:]}")
        self.child.stdout.close()


class CSIController:
    """millrace-controller alone, serving CSI."""

    def __init__(self, directory):
        self.endpoint = f"unix://{directory}/csi.sock"
        self.socket = pathlib.Path(directory) / "csi.sock"
        self.start()

    def start(self):
        self.process = Process([program("millrace-controller"), "--csi-endpoint", self.endpoint, "--no-kubernetes"])
        self.channel = grpc.insecure_channel(self.endpoint)
        grpc.channel_ready_future(self.channel).result(30)
        _, services = stubs()
        self.identity = services.IdentityStub(self.channel)
        self.controller = services.ControllerStub(self.channel)

    def stop(self):
        self.channel.close()
        self.process.stop()
