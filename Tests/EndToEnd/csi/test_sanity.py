"""The official conformance tests, csi-sanity, against the node plugin and the controller, on real mounts.

All of them run: none is left out by hand. A test for a capability that a driver doesn't announce leaves itself out; the
reasons that are right for this driver are in `NOT_OFFERED`, and any other fails.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from harness import clean_environment
from node_plugin import KEYS, NodePlugin

sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))
PROGRAM = os.environ.get("CSI_SANITY") or shutil.which("csi-sanity")
pytestmark = pytest.mark.skipif(
    not PROGRAM,
    reason="csi-sanity is not here: build cmd/csi-sanity of kubernetes-csi/csi-test and set CSI_SANITY to it")

# What csi-sanity says: why this driver doesn't offer it. docs/node.md has the same in more words.
SNAPSHOTS = "a volume is a view of a bucket that others write to; Datasets have revisions"
ATTACH = "a bucket is reached from every node: nothing is attached"
SIZE = "a view has no size to change"
NOT_OFFERED = {
    "Snapshot not supported": SNAPSHOTS, "ListSnapshots not supported": SNAPSHOTS, "GetSnapshot not supported": SNAPSHOTS,
    "DeleteSnapshot not supported": SNAPSHOTS, "CreateSnapshot not supported": SNAPSHOTS,
    "GroupControllerService not supported": SNAPSHOTS, "VolumeGroupSnapshots not supported": SNAPSHOTS,
    "Volume Cloning not supported": "two volumes with the same parameters show the same already",
    "Modify volume not supported": "other options are another view", "Modify Volume not supported": "the same",
    "ControllerModifyVolume not supported": "the same",
    "ControllerPublishVolume not supported": ATTACH, "ControllerUnpublishVolume not supported": ATTACH,
    "Controller Publish, UnpublishVolume not supported": ATTACH,
    "ControllerExpandVolume not supported": SIZE, "NodeExpandVolume not supported": SIZE,
    "NodeStageVolume not supported": "a session is shared by all volumes of a view, not by those of one volume",
    "NodeUnstageVolume not supported": "the same",
}


@pytest.fixture
def sanity(server, tmp_path):
    def run(plugin, *arguments, parameters=("endpoint", "bucket", "prefix", "pathStyle")):
        """What failed, what left itself out, and how many passed."""
        # JSON is YAML.
        values = {"endpoint": server.endpoint, "bucket": server.bucket, "prefix": "set", "pathStyle": "true"}
        (tmp_path / "parameters.yaml").write_text(json.dumps({name: values[name] for name in parameters}))
        directory = plugin.directory / "sanity"
        directory.mkdir()
        done = subprocess.run(
            [PROGRAM, f"--csi.endpoint=unix://{plugin.endpoint}", f"--csi.testvolumeparameters={tmp_path}/parameters.yaml",
             f"--csi.mountdir={directory}/mount", f"--csi.stagingdir={directory}/staging", "--ginkgo.no-color",
             f"--ginkgo.json-report={tmp_path}/report.json", *arguments],
            capture_output=True, text=True, timeout=240)
        summary = re.search(r"(\d+) Passed \| (\d+) Failed \| (\d+) Pending \| (\d+) Skipped", done.stdout)
        print(summary and summary.group(0))
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        specs = [s for s in json.loads((tmp_path / "report.json").read_text())[0]["SpecReports"] if s["LeafNodeType"] == "It"]
        left_out = Counter(s["Failure"]["Message"] for s in specs if s["State"] == "skipped")
        for reason, count in sorted(left_out.items()):
            print(f"{count:3} left themselves out: {reason}: {NOT_OFFERED.get(reason, '?')}")
        assert set(left_out) <= set(NOT_OFFERED)
        # csi-sanity itself has one spec switched off.
        assert {s["State"] for s in specs} == {"passed", "skipped", "pending"}
        assert sum(s["State"] == "pending" for s in specs) == 1
        assert not plugin.mounts()
        return sum(s["State"] == "passed" for s in specs)

    return run


@pytest.fixture
def secrets(tmp_path):
    (tmp_path / "secrets.yaml").write_text(json.dumps({"NodePublishVolumeSecret": KEYS}))
    return f"--csi.secrets={tmp_path}/secrets.yaml"


def test_csi_sanity_with_the_controller(plugin, sanity, secrets, tmp_path):
    """As in a cluster: two programs, two sockets."""
    from controller import CSIController
    controller = CSIController(tmp_path)
    try:
        assert sanity(plugin, f"--csi.controllerendpoint={controller.endpoint}", secrets) == 37
    finally:
        controller.stop()


def test_csi_sanity_with_the_plugin_alone(own_plugin, sanity, secrets):
    """Its two arguments and nothing else: it has the Controller service too."""
    assert sanity(own_plugin, secrets) == 37


def test_csi_sanity_with_keys_in_the_plugins_environment(server, sanity):
    """No secrets anywhere else, and a bucket's name for all parameters."""
    environment = {
        **clean_environment(), "AWS_ACCESS_KEY_ID": KEYS["accessKeyID"], "AWS_SECRET_ACCESS_KEY": KEYS["secretAccessKey"],
        "AWS_ENDPOINT_URL": server.endpoint, "AWS_REGION": "us-east-1"}
    with NodePlugin(environment=environment) as plugin:
        assert sanity(plugin, parameters=["bucket"]) == 37
