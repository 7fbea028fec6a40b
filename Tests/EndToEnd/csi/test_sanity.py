"""The official conformance tests, csi-sanity, against the node plugin and the controller, on real mounts."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from node_plugin import KEYS

sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))
PROGRAM = os.environ.get("CSI_SANITY") or shutil.which("csi-sanity")


@pytest.mark.skipif(
    not PROGRAM,
    reason="csi-sanity is not here: build cmd/csi-sanity of kubernetes-csi/csi-test and set CSI_SANITY to it")
def test_csi_sanity(plugin, server, tmp_path):
    from controller import CSIController
    controller = CSIController(tmp_path)
    try:
        # JSON is YAML.
        parameters = {"endpoint": server.endpoint, "bucket": server.bucket, "prefix": "set", "pathStyle": "true"}
        (tmp_path / "parameters.yaml").write_text(json.dumps(parameters))
        (tmp_path / "secrets.yaml").write_text(json.dumps({"NodePublishVolumeSecret": KEYS}))
        directory = plugin.directory / "sanity"
        directory.mkdir()
        done = subprocess.run(
            [PROGRAM, f"--csi.endpoint=unix://{plugin.endpoint}", f"--csi.controllerendpoint={controller.endpoint}",
             f"--csi.testvolumeparameters={tmp_path}/parameters.yaml", f"--csi.secrets={tmp_path}/secrets.yaml",
             f"--csi.mountdir={directory}/mount", f"--csi.stagingdir={directory}/staging", "--ginkgo.no-color"],
            capture_output=True, text=True, timeout=240)
    finally:
        controller.stop()
    summary = re.search(r"(\d+) Passed \| (\d+) Failed \| (\d+) Pending \| (\d+) Skipped", done.stdout)
    print(summary and summary.group(0))
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert int(summary.group(1)) > 30 and summary.group(2) == "0"
    assert not plugin.mounts()
