"""Copies to files in memory: one object of 4 GiB, and 10,000 objects of 100 KiB."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time

from harness import machine
from harness.case import Bench, Case, Target
from harness.contenders import KEYS
from harness.downloaders import _cpu_of_children
from harness.ratios import best_peer

PEERS = ("rclone-copy", "aws-crt")
AWS_CONFIG = """[default]
s3 =
  preferred_transfer_client = crt
  addressing_style = path
"""


def aws() -> str:
    """The AWS CLI with Amazon's own transfer library, from PyPI."""
    program = os.path.join(machine.VENV, "bin", "aws")
    if not os.path.exists(program):
        subprocess.run([os.path.join(machine.VENV, "bin", "pip"), "install", "-q", "awscli[crt]"], check=True)
    return program


def command(bench: Bench, contender: str, bucket: str, key: str | None, target: str) -> tuple[list[str], dict[str, str]]:
    if contender == "millrace":
        source = f"s3://{bucket}/{key or ''}"
        return [machine.millrace(), "cp", "-q", "--endpoint", bench.endpoint, source, target], {}
    if contender == "rclone-copy":
        remote = f":s3,provider=Other,env_auth=true,force_path_style=true,endpoint='{bench.endpoint}':{bucket}"
        program = os.path.join(machine.VENV, "bin", "rclone")
        verb = ["copyto", f"{remote}/{key}"] if key else ["copy", remote]
        # As its documentation advises: more transfers for small files, more streams for a large one, no extra HEADs; but
        # without a HEAD it takes one object for a directory, and copies nothing.
        tuning = ["--transfers", "32", "--checkers", "32", "--multi-thread-streams", "16", "--multi-thread-cutoff", "64Mi",
                  "--fast-list", "--no-update-modtime", *([] if key else ["--s3-no-head-object"])]
        return [program, "--config", "/dev/null", *verb, target, *tuning], {}
    config = os.path.join(bench.scratch, "aws-config")
    with open(config, "w") as file:
        file.write(AWS_CONFIG)
    whole = [] if key else ["--recursive"]
    return ([aws(), "s3", "cp", "--only-show-errors", "--endpoint-url", bench.endpoint, *whole,
             f"s3://{bucket}/{key or ''}", target], {"AWS_CONFIG_FILE": config, "AWS_EC2_METADATA_DISABLED": "true"})


def measure(bucket: str, key: str | None):
    def run(bench: Bench, contender: str) -> dict:
        machine.drop_caches()
        bench.origin.reset()
        place = tempfile.mkdtemp(prefix="millrace-copy-", dir="/dev/shm")
        target = os.path.join(place, "out")
        try:
            words, environment = command(bench, contender, bucket, key, target)
            before, started = _cpu_of_children(), time.monotonic()
            out = subprocess.run(words, env=os.environ | KEYS | environment, capture_output=True, text=True,
                                 timeout=bench.case.limit_seconds)
            seconds, cpu = time.monotonic() - started, _cpu_of_children() - before
            if out.returncode:
                raise RuntimeError(f"{words[0]} failed: {out.stderr[-500:]}")
            paths = [target] if key else [os.path.join(d, n) for d, _, names in os.walk(target) for n in names]
            total = sum(os.path.getsize(path) for path in paths)
            if key and bench.is_first_round:
                with open(target, "rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
                if found != bench.origin.bodies[key]["sha256"]:
                    raise RuntimeError(f"{contender}: {key} has another SHA-256 than the origin's")
            return {"MB/s": total / seconds / 1e6, "files/s": len(paths) / seconds, "seconds": seconds,
                    "CPU s/GiB": cpu / (total / (1 << 30)), **bench.origin_figures(total)}
        finally:
            shutil.rmtree(place, ignore_errors=True)

    return run


def over_peers(metric: str):
    return lambda medians: medians["millrace"][metric] / best_peer(medians, metric, peers=PEERS)


CASES = [
    *(
        Case(f"copy-large-{profile}", f"Copy of one object of 4 GiB to a file in memory, {profile} origin",
             ["millrace", *PEERS], measure("big", "large"), "MB/s", profile=profile,
             targets=[Target("1 × the better of rclone copy and aws s3 cp", over_peers("MB/s"), 1),
                      Target("aim: 2 ×", over_peers("MB/s"), 2)])
        for profile in ("capped", "free")
    ),
    Case("copy-small", "Copy of 10,000 objects of 100 KiB to files in memory, capped origin",
         ["millrace", *PEERS], measure("files", None), "files/s", limit_seconds=600,
         targets=[Target("1 × the better of rclone copy and aws s3 cp", over_peers("files/s"), 1),
                  Target("aim: 2 ×", over_peers("files/s"), 2)]),
]
