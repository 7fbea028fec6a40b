"""The unit of docs/mount.md under a real systemd: a manager of the test's own, in a mount namespace of its own."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import BINARY, clean_environment, is_mounted
from harness.mount import ROOT

SYSTEMD = Path("/lib/systemd/systemd")

# The manager wants to be booted by systemd, and a place for its sockets: /run is replaced where nobody else sees it.
MANAGER = r"""
set -eu
mount -t tmpfs none /run
mkdir -p /run/systemd/system /run/user/0
chmod 700 /run/user/0
export XDG_RUNTIME_DIR=/run/user/0 HOME="$WORK/home"
"$SYSTEMD" --user --log-target=console >"$WORK/manager.log" 2>&1 </dev/null &
manager=$!
trap 'kill $manager; wait $manager || true' EXIT
for _ in $(seq 200); do systemctl --user is-system-running >/dev/null 2>&1 && break; sleep 0.05; done
systemctl --user is-system-running >/dev/null 2>&1 || { echo "NO-MANAGER $(tail -3 "$WORK/manager.log")"; exit 0; }
"""

SCENARIO = r"""
say() { echo "$1=$2"; }
property() { systemctl --user show -p "$1" --value mnt-data; }
systemctl --user start mnt-data
say started "$(cat "$DIR/file")"
first=$(property MainPID)
kill -9 "$first"
for _ in $(seq 400); do
  [ "$(property MainPID)" != "$first" ] && [ "$(property ActiveState)" = active ] && break
  sleep 0.05
done
say restarted "$(cat "$DIR/file")"
say mounts "$(grep -c " $DIR " /proc/self/mountinfo)"
systemctl --user stop mnt-data
say result "$(property Result)"
say state "$(property ActiveState)"
say left "$(grep -c " $DIR " /proc/self/mountinfo || true)"
"""

FAILURE = r"""
sed -i 's/s3:\/\/data\/d/s3:\/\/nowhere/' "$WORK/home/.config/systemd/user/mnt-data.service"
sed -i 's/^Restart=.*/Restart=no/' "$WORK/home/.config/systemd/user/mnt-data.service"
systemctl --user daemon-reload
if systemctl --user start mnt-data; then echo "start=succeeded"; else echo "start=failed"; fi
echo "result=$(systemctl --user show -p Result --value mnt-data)"
echo "left=$(grep -c " $DIR " /proc/self/mountinfo || true)"
"""


def documented_unit() -> str:
    text = (ROOT / "docs" / "mount.md").read_text()
    return re.search(r"mnt-data\.service`:\n\n```ini\n(.*?)```", text, re.S).group(1)


@pytest.fixture
def place(embedded, tmp_path):
    if os.geteuid() != 0 or not SYSTEMD.exists() or not shutil.which("systemctl"):
        pytest.skip("a systemd of the test's own takes root and the package systemd")
    embedded.put("d/file", b"content")
    directory = tmp_path / "mnt"
    directory.mkdir()
    settings = tmp_path / "data.env"
    settings.write_text("".join(f"{name}={value}\n" for name, value in clean_environment(
        {"MILLRACE_ENDPOINT": embedded.endpoint}).items() if name.startswith(("AWS_", "MILLRACE_"))))
    unit = documented_unit()
    for ours, here in {
            "s3://my-bucket/data": "s3://data/d", "/mnt/data": str(directory), "/usr/local/bin/millrace": str(BINARY),
            "/etc/millrace/data.env": str(settings)}.items():
        assert ours in unit, unit
        unit = unit.replace(ours, here)
    path = tmp_path / "home/.config/systemd/user/mnt-data.service"
    path.parent.mkdir(parents=True)
    path.write_text(unit)
    yield tmp_path, directory, path
    assert not is_mounted(directory)


def run(place, scenario: str) -> dict[str, str]:
    work, directory, _ = place
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "bash", "-c", MANAGER + scenario], capture_output=True,
        text=True, timeout=90, env={**clean_environment(), "WORK": str(work), "DIR": str(directory), "SYSTEMD": str(SYSTEMD)})
    if "NO-MANAGER" in done.stdout:
        pytest.skip(f"systemd does not run here: {done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr + (work / "manager.log").read_text()
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def test_the_unit_starts_restarts_and_stops(place):
    assert run(place, SCENARIO) == {
        "started": "content", "restarted": "content", "mounts": "1", "result": "success", "state": "inactive",
        "left": "0"}


def test_a_unit_that_cannot_mount_fails(place):
    assert run(place, FAILURE) == {"start": "failed", "result": "exit-code", "left": "0"}


def test_the_unit_has_no_mistake_that_systemd_would_see(place):
    done = subprocess.run(["systemd-analyze", "verify", place[2]], capture_output=True, text=True, timeout=60)
    about_ours = [line for line in (done.stdout + done.stderr).splitlines() if "mnt-data" in line]
    assert about_ours == [], about_ours
