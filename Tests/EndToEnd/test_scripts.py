"""The README's first command, and the runner of the second."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import eventually
from harness.mount import ROOT

sys.path.insert(0, str(ROOT / "scripts" / "lib"))
import run_tests  # noqa: E402  pylint: disable=wrong-import-position


def mounts() -> list[str]:
    return [line.split()[4] for line in open("/proc/self/mountinfo")]


@pytest.fixture
def place(tmp_path):
    """TMPDIR of the demo; it must have nothing of the demo's left (the compiler leaves things of its own), and nothing
    mounted in it."""
    yield tmp_path
    assert list(tmp_path.glob("millrace*")) == []
    assert not any(str(tmp_path) in mount for mount in mounts())
    running = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout
    assert running == "", running


def demo(place: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [ROOT / "scripts" / "demo", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True, env={**os.environ, "TMPDIR": str(place)})


def test_the_demo_shows_a_mount(place):
    shown, _ = (process := demo(place, "--once")).communicate(timeout=300)
    assert process.returncode == 0, shown
    assert "README.txt" in shown and "shards" in shown
    sums = re.findall(r"^([0-9a-f]{64})  (through the mount|from S3)$", shown, re.M)
    assert len(sums) == 2 and sums[0][0] == sums[1][0], shown


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_stays_until_it_is_told_and_cleans_up(place, how):
    process = demo(place)
    shown = ""
    while "Ctrl-C" not in shown:
        line = process.stdout.readline()
        assert line, shown
        shown += line
    assert any(str(place) in mount for mount in mounts())
    # As a terminal does it: to the whole group.
    os.killpg(process.pid, how)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, shown + rest


def test_setup_is_silent_where_all_is_there():
    done = subprocess.run([ROOT / "scripts" / "setup", "test"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == ""
    assert "installing" not in done.stderr or "going on without Ceph" in done.stderr, done.stderr


def test_the_runner_kills_and_reports_what_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(run_tests, "LOGS", tmp_path)
    totals = run_tests.Totals()
    pids = tmp_path / "pids"
    script = f"sleep 1000 & echo $! >{pids}; echo working; wait"
    assert not run_tests.plain("hanging", ["sh", "-c", script], 1, totals)
    assert totals.failures == ["hanging"] and totals.passed == 0
    child = int(pids.read_text())
    eventually(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2],
               10, "the end of the child")


def test_the_runner_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(run_tests, "LOGS", tmp_path)
    totals = run_tests.Totals()
    suite = tmp_path / "test_sample.py"
    suite.write_text("import pytest\ndef test_a(): pass\ndef test_b(): assert 0\n"
                     "@pytest.mark.skip(reason='because')\ndef test_c(): pass\n")
    monkeypatch.setattr(run_tests, "END_TO_END", tmp_path)
    run_tests.end_to_end(suite, totals)
    assert totals.passed == 1
    assert [failure.split(": ")[1] for failure in totals.failures] == ["test_b"]
    assert len(totals.skipped) == 1 and "because" in totals.skipped[0]
