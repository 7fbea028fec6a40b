"""Those who are compared: how each is started, tuned as its own documentation advises."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

from . import machine

KEYS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark-secret", "AWS_REGION": "us-east-1"}


@dataclass
class Options:
    """What a case asks of a mount."""

    bucket: str
    memory_mib: int | None = None
    cache_dir: str | None = None
    cache_gib: int = 20
    program: str | None = None  # another build of Millrace
    flags: list[str] = field(default_factory=list)  # of Millrace
    before: list[str] = field(default_factory=list)  # a command to run the daemon under
    environment: dict[str, str] = field(default_factory=dict)


class Mount:
    """A file system that is mounted, at `path`, by `process`."""

    def __init__(self, name: str, command: list[str], path: str, environment: dict[str, str], log: str):
        self.name, self.command, self.path = name, command, path
        self.log = open(log, "w")
        self.started = time.monotonic()
        self.child = subprocess.Popen(command, env=os.environ | environment, stdout=self.log, stderr=self.log)
        self.process = machine.Process(self.child.pid)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        self.mounted_seconds = time.monotonic() - self.started

    def _wait(self) -> None:
        parent = os.stat(os.path.dirname(self.path)).st_dev
        deadline = time.monotonic() + 30
        while True:
            if self.child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not mount: {self.log_end()}")
            # A stat could hang in a broken daemon, so the mount table is asked first.
            with open("/proc/self/mounts") as file:
                if any(line.split()[1] == self.path for line in file) and os.stat(self.path).st_dev != parent:
                    return
            time.sleep(0.002)

    def log_end(self) -> str:
        self.log.flush()
        with open(self.log.name, errors="replace") as file:
            return file.read()[-3000:]

    def stop(self) -> int:
        """Unmounts; answers the daemon's exit status, which is negative where it had to be killed."""
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            subprocess.run(["fusermount3", "-uz", self.path], capture_output=True)
            self.child.kill()
            self.child.wait()
        if os.path.ismount(self.path):
            subprocess.run(["fusermount3", "-uz", self.path], capture_output=True)
        self.log.close()
        return self.child.returncode


@dataclass
class Contender:
    """A program that mounts. `tuning` is shown beside the results."""

    name: str
    tuning: str
    command: object  # (endpoint, Options, path, scratch directory) -> (command, environment)
    versions: list[str] = field(default_factory=list)

    def mount(self, endpoint: str, options: Options, scratch: str) -> Mount:
        path = tempfile.mkdtemp(prefix=f"{self.name}-", dir=scratch)
        command, environment = self.command(endpoint, options, path, scratch)
        environment = KEYS | environment | options.environment
        return Mount(self.name, options.before + command, path, environment, path + ".log")


def _millrace(endpoint: str, options: Options, path: str, scratch: str):
    command = [options.program or machine.millrace(), "mount", f"s3://{options.bucket}", path, "--endpoint", endpoint,
               "--foreground", *options.flags]
    if options.memory_mib:
        command += ["--memory", f"{options.memory_mib}M"]
    if options.cache_dir:
        command += ["--cache-dir", os.path.join(options.cache_dir, "millrace"), "--cache-size", f"{options.cache_gib}G"]
    return command, {}


def _rclone(endpoint: str, options: Options, path: str, scratch: str):
    config = {
        "RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_ORIGIN_TYPE": "s3", "RCLONE_CONFIG_ORIGIN_PROVIDER": "Other",
        "RCLONE_CONFIG_ORIGIN_ENDPOINT": endpoint, "RCLONE_CONFIG_ORIGIN_ENV_AUTH": "true",
        "RCLONE_CONFIG_ORIGIN_REGION": "us-east-1", "RCLONE_CONFIG_ORIGIN_FORCE_PATH_STYLE": "true",
    }
    command = [os.path.join(machine.VENV, "bin", "rclone"), "mount", f"origin:{options.bucket}", path, "--read-only",
               "--vfs-read-chunk-size", "4M", "--vfs-read-chunk-streams", "16", "--buffer-size", "0",
               "--dir-cache-time", "1h", "--attr-timeout", "1s", "--use-server-modtime", "--no-checksum",
               "--vfs-fast-fingerprint", "--max-read-ahead", "4M", "--s3-no-check-bucket", "--s3-list-version", "2",
               "--cache-dir", os.path.join(options.cache_dir or scratch, "rclone")]
    if options.cache_dir:
        command += ["--vfs-cache-mode", "full", "--vfs-cache-max-size", f"{options.cache_gib}G"]
    return command, config


def _s3fs(endpoint: str, options: Options, path: str, scratch: str):
    secrets = os.path.join(scratch, "s3fs-passwd")
    with open(os.open(secrets, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{KEYS['AWS_ACCESS_KEY_ID']}:{KEYS['AWS_SECRET_ACCESS_KEY']}\n")
    flags = ["ro", f"url={endpoint}", "use_path_request_style", f"passwd_file={secrets}", "sigv4", "listobjectsv2",
             "parallel_count=32", "multipart_size=16", "multireq_max=64", "max_stat_cache_size=1000000",
             "enable_noobj_cache", "nomixupload", f"tmpdir={scratch}"]
    if options.cache_dir:
        cache = os.path.join(options.cache_dir, "s3fs")
        os.makedirs(cache, exist_ok=True)
        flags.append(f"use_cache={cache}")
    command = ["s3fs", options.bucket, path, "-f"]
    for flag in flags:
        command += ["-o", flag]
    return command, {}


MILLRACE = Contender("millrace", "its defaults; `--memory`, `--cache-dir` where a case says so", _millrace)
RCLONE = Contender(
    "rclone",
    "`--vfs-read-chunk-streams 16 --vfs-read-chunk-size 4M --buffer-size 0` (rclone's advice for object stores), "
    "`--dir-cache-time 1h --use-server-modtime --no-checksum --vfs-fast-fingerprint` (no HEAD for each file), "
    "`--max-read-ahead 4M`; with a disk cache `--vfs-cache-mode full`", _rclone)
S3FS = Contender(
    "s3fs",
    "`parallel_count=32 multipart_size=16 multireq_max=64 max_stat_cache_size=1000000 enable_noobj_cache "
    "listobjectsv2`; with a disk cache `use_cache`", _s3fs)
MOUNTS = {c.name: c for c in (MILLRACE, RCLONE, S3FS)}


def versions() -> dict[str, str]:
    """What each program says of itself."""

    def first_line(*command: str) -> str:
        if not shutil.which(command[0]):
            return "not found"
        out = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return (out.stdout or out.stderr).strip().split("\n")[0]

    python = os.path.join(machine.VENV, "bin", "python")
    client = "import importlib.metadata as m; print('s3torchconnectorclient', m.version('s3torchconnectorclient'))"
    return {
        "millrace": first_line(machine.millrace_path(), "--version"),
        "rclone": first_line(os.path.join(machine.VENV, "bin", "rclone"), "version"),
        "s3fs": first_line("s3fs", "--version"),
        "Mountpoint's client": first_line(python, "-c", client),
        "curl": first_line("curl", "--version"),
    }
