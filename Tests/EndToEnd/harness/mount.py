"""The program under test, and mounts made with it."""

import errno
import os
import shlex
import signal
import subprocess
import tempfile
from pathlib import Path

from .waiting import eventually, within

ROOT = Path(__file__).resolve().parents[3]
BINARY = Path(os.environ.get("MILLRACE_BIN", ROOT / ".build" / "release" / "millrace"))

KEYS = {"AWS_ACCESS_KEY_ID": "testkey", "AWS_SECRET_ACCESS_KEY": "testsecret", "AWS_REGION": "us-east-1"}


def clean_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """An environment without this machine's AWS settings; HOME is an empty place."""
    return {
        "PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8",
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"), "AWS_EC2_METADATA_DISABLED": "true", **KEYS, **(extra or {})}


def is_mounted(directory: str | Path) -> bool:
    """By the kernel's table: never touches the file system itself, which may hang."""
    escaped = str(directory).replace("\\", "\\134").replace(" ", "\\040")
    with open("/proc/self/mountinfo") as table:
        return any(line.split()[4] == escaped for line in table)


def millrace(*arguments: str, environment: dict[str, str] | None = None, seconds: float = 30, check: bool = False,
             **options) -> subprocess.CompletedProcess:
    """Runs one command to its end."""
    done = subprocess.run(
        [str(BINARY), *map(str, arguments)], env=clean_environment(environment), capture_output=True, text=True,
        timeout=seconds, stdin=subprocess.DEVNULL, **options)
    if check:
        assert done.returncode == 0, f"{shlex.join(map(str, done.args))}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


class Mount:
    """`millrace mount … --foreground`; use as a context manager: leaving it checks that SIGTERM unmounts and exits 0."""

    def __init__(self, source: str, endpoint: str | None, *options: str, directory: str | Path | None = None,
                 environment: dict[str, str] | None = None):
        self.source = source
        self.work = Path(tempfile.mkdtemp(prefix="millrace-e2e-"))
        self.directory = Path(directory) if directory else self.work / "mnt"
        if not directory:
            self.directory.mkdir()
        self.log_path = self.work / "log"
        command = [str(BINARY), "mount", source, str(self.directory), "--foreground", *map(str, options)]
        if endpoint:
            command += ["--endpoint", endpoint]
        self.command = command
        self.environment = clean_environment(environment)
        self.process: subprocess.Popen | None = None

    def start(self) -> "Mount":
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def is_up():
            status = self.process.poll()
            assert status is None, f"{shlex.join(self.command)}: ended with {status}:\n{self.log[-3000:]}"
            return self.is_serving()

        try:
            eventually(is_up, 20, "the mount")
        except BaseException:
            self.tear_down()
            raise
        return self

    def is_serving(self) -> bool:
        """Mounted and answering: a mount whose daemon has died is mounted too, and answers ENOTCONN."""
        if not is_mounted(self.directory):
            return False
        try:
            within(10, os.statvfs, self.directory)  # never from the kernel's caches
            # A dead mount may have made room just now: then that was the bare directory, until ours is there.
            return within(10, os.stat, self.directory).st_dev != os.stat(self.directory.parent).st_dev
        except OSError as error:
            if error.errno in (errno.ENOTCONN, errno.ECONNABORTED):
                return False
            raise

    __enter__ = start

    def __exit__(self, kind, *_):
        if kind is not None:
            print(f"--- log of {shlex.join(self.command)}\n{self.log[-4000:]}")
            self.tear_down()
            return
        try:
            assert self.stop() == 0, f"exit status {self.process.returncode}:\n{self.log[-3000:]}"
            assert not is_mounted(self.directory), "still mounted"
        finally:
            self.tear_down()

    def stop(self, with_signal: int = signal.SIGTERM, seconds: float = 20) -> int:
        """The exit status after the signal."""
        self.process.send_signal(with_signal)
        return self.process.wait(seconds)

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def tear_down(self):
        """Leaves nothing, whatever happened; `last_log` keeps the log."""
        self.last_log = self.log
        if self.process and self.process.poll() is None:
            self.kill()
        while is_mounted(self.directory):
            subprocess.run(["umount", "-l", str(self.directory)], check=False, capture_output=True)
        subprocess.run(["rm", "-rf", "--one-file-system", str(self.work)], check=False)

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def resident_bytes(self) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def path(self, name: str | bytes = ""):
        if isinstance(name, bytes):
            return os.path.join(os.fsencode(self.directory), name)
        return self.directory / name

    def read(self, name: str | bytes) -> bytes:
        with open(self.path(name), "rb") as file:
            return file.read()

    def drop_caches(self):
        """The kernel's pages of this file system (and every other): root only."""
        Path("/proc/sys/vm/drop_caches").write_text("1\n")
