"""Metrics and logs: there, useful, and without secrets."""

import json
import re
import subprocess
import urllib.request
from pathlib import Path

from harness import Mount, eventually, generated, within
from harness.servers import free_port

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIDFORSECRETSCHECK",
    "AWS_SECRET_ACCESS_KEY": "s3cr3t+KEY/for=the*check",
    "AWS_SESSION_TOKEN": "t0ken+for/the=check",
}
HIDDEN = [SECRETS["AWS_SECRET_ACCESS_KEY"], SECRETS["AWS_SESSION_TOKEN"], "s3cr3t", "t0ken", "Signature=",
          "AWS4-HMAC"]


def test_metrics_and_logs_without_secrets(embedded):
    embedded.put_generated("file", 3_000_000, 1)
    embedded.put("denied", b"x", denied=1)
    embedded.credentials(SECRETS["AWS_ACCESS_KEY_ID"], SECRETS["AWS_SECRET_ACCESS_KEY"], SECRETS["AWS_SESSION_TOKEN"])
    port = free_port()
    with Mount("s3://data", embedded.endpoint, "--metrics", f"127.0.0.1:{port}", "--log-level", "trace",
               environment=SECRETS) as mount:
        within(20, mount.read, "file")
        try:
            within(30, mount.read, "denied")
        except OSError:
            pass
        embedded.fault(operation="get", count=2, status=500, code="InternalError")
        embedded.put_generated("other", 100, 1)
        within(30, mount.read, "other")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        command_line = Path(f"/proc/{mount.process.pid}/cmdline").read_bytes().decode()
        log = mount.log
    for where, text in {"metrics": metrics, "log": log, "command line": command_line}.items():
        for secret in HIDDEN:
            assert secret not in text, f"{secret!r} is in the {where}"
    # Every line is Prometheus's text format, and what the documentation names is there and counts.
    for line in metrics.splitlines():
        assert line.startswith("#") or re.fullmatch(r'[a-z_:0-9]+(\{.*\})? [-+0-9.eEinfNa]+', line), line
    for name in ("operation_seconds_bucket", "operation_errors_total", "s3_requests_total", "s3_errors_total",
                 "s3_first_byte_seconds_bucket", "s3_retries_total", "s3_received_bytes_total", "answered_bytes_total",
                 "cache_hits_total", "cache_evictions_total", "cache_memory_bytes", "open_handles",
                 "readahead_used_bytes_total", "readahead_wasted_bytes_total"):
        assert re.search(rf"^millrace_{name}[ {{]", metrics, re.M), f"no metric millrace_{name}:\n{metrics[:3000]}"
    assert log.strip()


def test_json_logs(embedded):
    embedded.put("file", b"x")
    with Mount("s3://data", embedded.endpoint, "--log-format", "json", "--log-level", "debug") as mount:
        mount.read("file")
    lines = [line for line in mount.last_log.splitlines() if line.strip()]
    assert lines
    for line in lines:
        entry = json.loads(line)
        assert entry.get("level") and (entry.get("message") or entry.get("msg")), entry


def test_secrets_are_in_no_child_environment(embedded, tmp_path):
    """What the daemon starts (fusermount3, say) must not inherit the keys: seen by tracing its exec calls."""
    directory = tmp_path / "mnt"
    directory.mkdir()
    embedded.put("file", b"x")
    with Mount("s3://data", embedded.endpoint, directory=directory, environment=SECRETS) as mount:
        assert mount.read("file") == b"x"
        children = subprocess.run(["pgrep", "-P", str(mount.process.pid)], capture_output=True, text=True).stdout.split()
        for child in children:
            environment = Path(f"/proc/{child}/environ").read_bytes().decode(errors="replace")
            assert not any(secret in environment for secret in HIDDEN)


def test_a_slow_request_is_logged(embedded):
    embedded.put("slow", b"slow")
    with Mount("s3://data", embedded.endpoint, "--slow-request", "200ms") as mount:
        embedded.fault(operation="get", key="slow", count=1, delayMs=1000)
        assert within(30, mount.read, "slow") == b"slow"
        eventually(lambda: "slow" in mount.log, 10, "a log line of the slow request")


def test_memory_goes_back_when_nobody_reads(embedded):
    """The blocks that sped up reading: the kernel has the pages, so RSS falls some seconds after the last request."""
    embedded.put_generated("file", 300 << 20, 1)
    with Mount("s3://data", embedded.endpoint, "--memory", "256M") as mount:
        before = mount.resident_bytes
        with open(mount.path("file"), "rb", buffering=0) as file:
            while within(30, file.read, 1 << 20):
                pass
        peak = mount.resident_bytes
        assert peak > before + (32 << 20), f"{before} before, {peak} after the read"
        eventually(lambda: mount.resident_bytes < before + (peak - before) // 3, 60, "the memory's return")
        print(f"RSS in MiB: {before >> 20} before, {peak >> 20} at the end of the read, {mount.resident_bytes >> 20} at rest")
        assert mount.read("file")[-100:] == generated(100, 1, (300 << 20) - 100)
