"""A case: what is measured, by whom, and what must be reached."""

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import Callable

from . import machine
from .contenders import MOUNTS, Mount, Options
from .origin import Origin


class TooSlow(Exception):
    """A contender passed the case's time limit, `seconds`."""

    def __init__(self, seconds: float):
        super().__init__(f"more than {seconds:.0f} s")
        self.seconds = seconds


@dataclass
class Target:
    """`value(medians)` answers the figure, from contender → metric → median; None where somebody is missing."""

    text: str
    value: Callable[[dict], float | None]
    limit: float
    at_most: bool = False

    def verdict(self, medians: dict) -> tuple[float | None, bool | None]:
        try:
            value = self.value(medians)
        except (KeyError, ZeroDivisionError, ValueError):
            value = None
        if value is None:
            return None, None
        return value, value <= self.limit if self.at_most else value >= self.limit


@dataclass
class Case:
    name: str
    title: str
    contenders: list[str]
    measure: Callable[["Bench", str], dict]
    main: str  # the metric of the chart
    profile: str = "capped"
    targets: list[Target] = field(default_factory=list)
    limit_seconds: float = 120
    note: str = ""
    lower_is_better: bool = False


class Bench:
    """What a case's `measure` works with, for one contender in one round."""

    def __init__(self, case: Case, origin: Origin, scratch: str, first: bool):
        self.case, self.origin, self.profile = case, origin, case.profile
        self.endpoint = origin.endpoint(case.profile)
        self.scratch = tempfile.mkdtemp(dir=scratch)
        self.is_first_round = first
        self.mounts: list[Mount] = []

    def mount(self, contender: str, bucket: str, **options) -> Mount:
        """Mounts with cold caches and sets the origin's counts to zero."""
        machine.drop_caches()
        self.origin.reset()
        mount = MOUNTS[contender].mount(self.endpoint, Options(bucket, **options), self.scratch)
        self.mounts.append(mount)
        return mount

    def unmount(self, mount: Mount) -> None:
        self.mounts.remove(mount)
        if mount.stop() != 0 and mount.name == "millrace":
            raise RuntimeError(f"millrace did not stop with status 0: see {mount.log.name}")

    def close(self) -> None:
        """What is still mounted now failed in the middle: its log says why."""
        for mount in self.mounts:
            state = "ran on" if mount.child.poll() is None else f"ended with status {mount.child.returncode}"
            print(f"{mount.name} {state}; its log's end:\n{mount.log_end()}")
            mount.stop()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def size(self, body: str) -> int:
        return self.origin.bodies[body]["size"]

    def spec(self, mount: Mount, key: str, body: str | None = None) -> str:
        """For the reader: path, body's number, distance of its stamps."""
        body = self.origin.bodies[body or key]
        return f"{mount.path}/{key}:{body['number']}:{body['stamp_every']}"

    def read(self, *arguments: str, files: list[str] | None = None) -> dict:
        """Runs the reader; its figures, with the origin's counts. Wrong bytes end the benchmark."""
        try:
            out = subprocess.run([machine.reader(), *arguments], input="\n".join(files) if files else None, text=True,
                                 capture_output=True, timeout=self.case.limit_seconds)
        except subprocess.TimeoutExpired:
            raise TooSlow(self.case.limit_seconds) from None
        if out.returncode:
            raise RuntimeError(f"reading failed or bytes were wrong: {out.stdout}{out.stderr}")
        return json.loads(out.stdout)

    def run(self, *command: str) -> str:
        try:
            out = subprocess.run(command, text=True, capture_output=True, timeout=self.case.limit_seconds)
        except subprocess.TimeoutExpired:
            raise TooSlow(self.case.limit_seconds) from None
        if out.returncode:
            raise RuntimeError(f"{command[0]} failed: {out.stderr[-500:]}")
        return out.stdout

    def counts(self) -> dict[str, int]:
        return self.origin.counts(self.profile)

    def check_whole(self, mount: Mount, key: str) -> None:
        """Compares a dense object's SHA-256, untimed; in the first round only."""
        if self.is_first_round:
            found = self.run("sha256sum", os.path.join(mount.path, key)).split()[0]
            if found != self.origin.bodies[key]["sha256"]:
                raise RuntimeError(f"{mount.name}: {key} has another SHA-256 than the origin's")

    def origin_figures(self, read: int) -> dict:
        """What the origin sent for it. `read`: bytes that the case read."""
        counts = self.counts()
        return {"GET": counts["GET"], "HEAD": counts["HEAD"], "LIST": counts["LIST"],
                "MiB read": read / (1 << 20), "MiB sent": counts["bytes"] / (1 << 20),
                "connections": counts["connections"]}
