"""kubectl millrace as a person uses it, against kube-embedded and the controller."""

import json
import os
import subprocess

import pytest

from controller import program, wait_for
from kube import Cluster, needs_stand_in

pytestmark = needs_stand_in("it counts on what is and isn't there")


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    for name in ("golden", "alice", "bob"):
        cluster.namespace(name, students="no" if name == "golden" else "yes")
    cluster.storage_class("millrace", datasetAnnotation="true")
    cluster.call("POST", "/apis/storage.k8s.io/v1/csidrivers", {"metadata": {"name": "s3.csi.millrace.dev"}, "spec": {}})
    cluster.controller("--no-leader-election", "--no-probes")
    yield cluster
    cluster.stop()


def plugin(cluster, *words, status=0):
    result = subprocess.run(
        [program("kubectl-millrace"), *words, *([] if words[0] == "__complete" else ["--kubeconfig", cluster.kubeconfig])],
        capture_output=True, text=True, timeout=60, env={**os.environ, "KUBECONFIG": cluster.kubeconfig})
    assert result.returncode == status, f"{words}: {result.stdout}{result.stderr}"
    return result.stdout + (result.stderr if status else "")


def names(cluster, name):
    return {"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def test_C10_a_grant_replaces_the_clone_into_another_namespace(cluster):
    cluster.dataset("golden", "image")
    cluster.claim("alice", "data", "millrace", **{"millrace.dev/dataset": "golden/image"})
    wait_for("alice is told why", lambda: [
        e for e in cluster.get("/api/v1/namespaces/alice/events")["items"] if e["reason"] == "NotAllowed"])
    told = plugin(cluster, "explain", "alice/data", status=1)
    assert "grant add golden/image alice" in told
    assert "golden, alice" in (said := plugin(cluster, "grant", "add", "golden/image", "alice")) or "alice, golden" in said
    wait_for("alice's claim is Bound", lambda: cluster.phase("alice", "data") == "Bound")
    # Nothing was cloned: no other claim, and a volume that shows the very same objects.
    assert [c["metadata"]["name"] for c in cluster.get("/api/v1/persistentvolumeclaims")["items"]] == ["data"]
    [volume] = cluster.volumes()
    assert volume["spec"]["csi"]["volumeAttributes"]["bucket"] == "data"
    for kind in ("/apis/batch/v1/jobs", "/api/v1/pods"):
        assert cluster.get(kind)["items"] == []
    plugin(cluster, "explain", "alice/data")
    rows = json.loads(plugin(cluster, "who", "golden/image", "-o", "json"))
    assert [(r["namespace"], r["claim"], r["phase"]) for r in rows] == [("alice", "data", "Bound")]
    plugin(cluster, "grant", "remove", "golden/image", "alice")
    wait_for("alice's claim is Lost", lambda: cluster.phase("alice", "data") == "Lost")


def test_C1_golden_data_stays_in_its_owners_namespace(cluster):
    cluster.call("POST", "/api/v1/namespaces/golden/secrets", {
        "metadata": {"name": "keys"}, "stringData": {"accessKeyID": "a", "secretAccessKey": "b"}})
    cluster.dataset(
        "golden", "image", source={"s3": {"bucket": "data", "endpoint": "http://127.0.0.1:1"}}, secretRef={"name": "keys"},
        publish={"namespaceSelector": {"matchLabels": {"students": "yes"}}, "claimName": "golden"})
    for user in ("alice", "bob"):
        wait_for(f"{user} has it", lambda: cluster.phase(user, "golden") == "Bound")
        # The kubelet fetches the owner's Secret; users' namespaces have none.
        assert cluster.get(f"/api/v1/namespaces/{user}/secrets")["items"] == []
    assert cluster.get("/api/v1/namespaces/golden/persistentvolumeclaims")["items"] == []
    assert {v["spec"]["csi"]["nodePublishSecretRef"]["namespace"] for v in cluster.volumes()} == {"golden"}
    assert all(v["spec"]["csi"]["readOnly"] for v in cluster.volumes())


def test_ls_and_describe(cluster):
    cluster.dataset("golden", "image", allowedNamespaces=names(cluster, "alice"))
    wait_for("it has a status", lambda: cluster.get(
        "/apis/millrace.dev/v1alpha1/namespaces/golden/datasets/image").get("status", {}).get("conditions"))
    table = plugin(cluster, "ls", "-A").splitlines()
    assert table[0].split()[:3] == ["NAMESPACE", "NAME", "READY"] and table[1].split()[:2] == ["golden", "image"]
    assert plugin(cluster, "ls", "-n", "alice").startswith("No Datasets in namespace alice")
    assert json.loads(plugin(cluster, "ls", "-n", "golden", "-o", "json"))[0]["source"] == "s3://data/"
    text = plugin(cluster, "describe", "image", "-n", "golden")
    assert "now: alice" in text and "nobody" in text


def test_mistakes_are_said_in_one_line(cluster):
    assert "not found" in plugin(cluster, "describe", "nothing", "-n", "golden", status=1)
    assert "takes a Dataset and a namespace" in plugin(cluster, "grant", "add", "image", status=1)
    assert "context nowhere isn't there" in plugin(cluster, "ls", "--context", "nowhere", status=1)


def test_completions_as_kubectl_asks_for_them(cluster):
    cluster.dataset("golden", "image")
    lines = plugin(cluster, "__complete", "describe", "-n", "golden", "im").splitlines()
    assert lines == ["image", ":4"]
    lines = plugin(cluster, "__complete", "").splitlines()
    assert lines[-1] == ":4" and {line.split("\t")[0] for line in lines[:-1]} >= {
        "ls", "describe", "who", "warm", "grant", "explain", "import", "top"}


def test_it_is_one_file():
    libraries = subprocess.run(["ldd", program("kubectl-millrace")], capture_output=True, text=True, timeout=60).stdout
    assert "libswift" not in libraries and "libFoundation" not in libraries
