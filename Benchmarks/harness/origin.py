"""Starts the origin: nginx with Lua that answers as S3 does, once with real S3's delays ("capped") and once without."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request

from . import data

HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "origin")

# Seconds to first byte, seconds for a LIST, bytes a second and connection.
PROFILES = {"capped": (0.020, 0.060, "90m"), "free": (0, 0, "0")}

# Keys by bucket; `bodies` are dealt out in turn.
SMALL = [f"small-{i:02}" for i in range(16)]
BUCKETS = {
    "big": [
        *({"prefix": f"gib-{i}", "bodies": [f"gib-{i}"]} for i in range(4)),
        {"prefix": "huge", "bodies": ["huge"]},
        {"prefix": "large", "bodies": ["large"]},
        *({"prefix": f"thick-{i}", "bodies": [f"thick-{i}"]} for i in range(8)),
    ],
    "files": [{"prefix": "tree/", "directories": 10, "files": 1000, "bodies": SMALL}],
    "tree": [{"prefix": "", "directories": 200, "files": 1000, "bodies": ["tiny"]}],
    "flat": [{"prefix": "all/", "files": 100_000, "bodies": ["tiny"]}],
    "million": [{"prefix": "", "directories": 1000, "files": 1000, "bodies": ["tiny"]}],
}


def lua(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{lua(k)}] = {lua(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(map(lua, value)) + "}"
    return json.dumps(value)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Origin:
    """A running origin. `endpoint("capped")` is its URL; `counts` what it answered since `reset`."""

    def __init__(self, directory: str, scale: float):
        self.directory = directory
        self.bodies = data.make(directory, scale)
        self.run = os.path.join(directory, f"run-{os.getpid()}")
        os.makedirs(os.path.join(self.run, "tmp"), exist_ok=True)
        *ports, self.control = free_ports(len(PROFILES) + 1)
        self.ports = dict(zip(PROFILES, ports))
        dated = {
            name: {"size": b["size"], "time": b["time"],
                   "date": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(b["time"]))}
            for name, b in self.bodies.items()
        }
        with open(os.path.join(self.run, "config.lua"), "w") as file:
            file.write(f"return {lua({'buckets': BUCKETS, 'bodies': dated})}\n")
        servers = ""
        for name, (first_byte, list_seconds, rate) in PROFILES.items():
            servers += self._fill("server.conf", NAME=name, PORT=self.ports[name], FIRST_BYTE=first_byte,
                                  LIST=list_seconds, RATE=rate, DATA=os.path.join(directory, "data"))
        config = os.path.join(self.run, "nginx.conf")
        with open(config, "w") as file:
            user = "root" if os.geteuid() == 0 else "nobody"
            file.write(self._fill("nginx.conf", RUN=self.run, HERE=HERE, USER=user, SERVERS=servers,
                                  CONTROL=self.control))
        self.process = subprocess.Popen(["nginx", "-c", config], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(os.path.join(self.run, "error.log")) as log:
                    raise RuntimeError(f"the origin did not start: {log.read()[-2000:]}")
            time.sleep(0.05)

    @staticmethod
    def _fill(template: str, **values) -> str:
        with open(os.path.join(HERE, template)) as file:
            text = file.read()
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        return text

    def _answers(self) -> bool:
        try:
            self.counts("free")
            return True
        except OSError:
            return False

    def endpoint(self, profile: str) -> str:
        return f"http://127.0.0.1:{self.ports[profile]}"

    def counts(self, profile: str) -> dict[str, int]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.control}/?origin={profile}", timeout=10) as answer:
            return json.load(answer)

    def reset(self) -> None:
        urllib.request.urlopen(f"http://127.0.0.1:{self.control}/", data=b"", timeout=10).close()

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.run, ignore_errors=True)
