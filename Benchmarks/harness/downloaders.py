"""References that mount nothing: Mountpoint's own S3 client, curl with one stream, curl with sixteen."""

import os
import resource
import subprocess
import sys
import time

from . import machine
from .contenders import KEYS

PART = 8 << 20
CONNECTIONS = 16

MOUNTPOINT = """
import sys, time
from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client
endpoint, bucket, *keys = sys.argv[1:]
client = MountpointS3Client("us-east-1", unsigned=True, endpoint=endpoint, force_path_style=True,
                            throughput_target_gbps=100.0)
import threading
totals = []
def fetch(key):
    total = 0
    for chunk in client.get_object(bucket, key):
        total += len(chunk)
    totals.append(total)
started = time.monotonic()
threads = [threading.Thread(target=fetch, args=(key,)) for key in keys]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(time.monotonic() - started, sum(totals))
"""


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def mountpoint_client(endpoint: str, bucket: str, keys: list[str]) -> dict:
    """Each key by a thread of its own. Seconds don't count the interpreter's start; CPU seconds do."""
    before = _cpu_of_children()
    out = subprocess.run([os.path.join(machine.VENV, "bin", "python"), "-c", MOUNTPOINT, endpoint, bucket, *keys],
                         capture_output=True, text=True, timeout=600, env=os.environ | KEYS)
    if out.returncode:
        sys.exit(f"Mountpoint's client failed: {out.stderr[-1000:]}")
    seconds, total = out.stdout.split()
    return {"seconds": float(seconds), "bytes": int(total), "cpu_seconds": _cpu_of_children() - before}


def curl(endpoint: str, bucket: str, sizes: dict[str, int], connections: int) -> dict:
    """Ranges of 8 MiB, so many at a time; with one connection, whole objects."""
    config = []
    for key, size in sizes.items():
        for start in range(0, size, size if connections == 1 else PART):
            config += ["next"] if config else []
            config += [f'url = "{endpoint}/{bucket}/{key}"', 'output = "/dev/null"', "silent", "fail"]
            if connections > 1:
                config.append(f'range = "{start}-{min(size, start + PART) - 1}"')
    command = ["curl", "--config", "-"]
    if connections > 1:
        command = ["curl", "--parallel", "--parallel-immediate", "--parallel-max", str(connections), "--config", "-"]
    before, started = _cpu_of_children(), time.monotonic()
    subprocess.run(command, input="\n".join(config), text=True, check=True, timeout=600, capture_output=True)
    return {"seconds": time.monotonic() - started, "bytes": sum(sizes.values()),
            "cpu_seconds": _cpu_of_children() - before}
