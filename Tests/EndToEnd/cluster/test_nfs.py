"""Datasets on NFS: native volumes of Kubernetes, granted and published as those of S3 are.

The source is asked on a real server. That a pod then reads it is the kubelet's own work and the kernel's NFS client's,
which machines for tests don't have.
"""

import urllib.error

import pytest

from controller import wait_for
from kube import DATASETS, Cluster
from nfs_server import PROGRAM, NFSServer

pytestmark = pytest.mark.skipif(not PROGRAM, reason="nfs-ganesha isn't installed: scripts/setup test")


@pytest.fixture(scope="module")
def nfs():
    with NFSServer() as server:
        yield server


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.namespace("courses")
    cluster.storage_class("millrace", datasetAnnotation="true", subPathAnnotation="true")
    cluster.controller("--no-leader-election", "--allow-address", "127.0.0.0/8")
    yield cluster
    cluster.stop()


def source(nfs, path="/shared/course"):
    return {"nfs": {"server": "127.0.0.1", "path": path, "mountOptions": ["nfsvers=4.1", f"port={nfs.port}"]}}


def told(cluster, name, type, status):
    return wait_for(f"{type} of {name} is {status}", lambda: (
        c := cluster.conditions("courses", name).get(type)) and c["status"] == status and c)


def test_V8_an_nfs_dataset_is_a_native_volume_in_any_namespace_that_is_granted(cluster, nfs):
    cluster.dataset("courses", "shared", source=source(nfs), allowedNamespaces={
        "from": "Selector", "selector": {"matchLabels": {"team": "a"}}})
    assert told(cluster, "shared", "SourceReachable", "True")["reason"] == "Answered"
    told(cluster, "shared", "Ready", "True")
    cluster.namespace("alice", team="a")
    cluster.namespace("eve", team="e")
    for namespace in ("alice", "eve"):
        cluster.claim(namespace, "data", "millrace", "ReadWriteMany", **{"millrace.dev/dataset": "courses/shared"})
    volume = cluster.bound("alice", "data")
    assert volume["spec"]["nfs"] == {"server": "127.0.0.1", "path": "/shared/course", "readOnly": True}
    assert "csi" not in volume["spec"]
    assert volume["spec"]["mountOptions"] == ["nodev", "nosuid", "nfsvers=4.1", f"port={nfs.port}"]
    assert volume["spec"]["claimRef"]["uid"] == cluster.found_claim("alice", "data")["metadata"]["uid"]
    wait_for("eve is told", lambda: [e for e in cluster.events("eve", "data") if e["reason"] == "NotAllowed"])
    assert cluster.phase("eve", "data") == "Pending"
    # The grant goes, and with it the volume.
    cluster.patch(DATASETS.format("courses") + "/shared", {"spec": {"allowedNamespaces": {"from": "Same", "selector": None}}})
    wait_for("Lost", lambda: cluster.phase("alice", "data") == "Lost")
    assert cluster.get(f"/api/v1/persistentvolumes/{volume['metadata']['name']}") is None


def test_V8_an_nfs_dataset_is_published(cluster, nfs):
    cluster.dataset("courses", "shared", source=source(nfs), publish={
        "namespaceSelector": {"matchLabels": {"role": "student"}}, "claimName": "workbench-shared-data"})
    cluster.namespace("alice", role="student")
    volume = cluster.bound("alice", "workbench-shared-data")
    assert volume["spec"]["nfs"]["path"] == "/shared/course"
    cluster.delete(DATASETS.format("courses") + "/shared")
    wait_for("claim and volume are gone", lambda: cluster.found_claim("alice", "workbench-shared-data") is None
             and cluster.get(f"/api/v1/persistentvolumes/{volume['metadata']['name']}") is None)


def test_a_sub_path_is_a_directory_below(cluster, nfs):
    cluster.dataset("courses", "shared", source=source(nfs, "/shared/"), allowedNamespaces={"from": "All"})
    cluster.namespace("alice")
    cluster.claim("alice", "data", "millrace", **{
        "millrace.dev/dataset": "courses/shared", "millrace.dev/sub-path": "course"})
    assert cluster.bound("alice", "data")["spec"]["nfs"]["path"] == "/shared/course"


def test_V8_what_is_wrong_is_said_before_any_pod_waits_for_it(cluster, nfs):
    cluster.dataset("courses", "missing", source=source(nfs, "/shared/nothing"))
    condition = told(cluster, "missing", "SourceReachable", "False")
    assert condition["reason"] == "NoPath" and "there is no /shared/nothing" in condition["message"]
    told(cluster, "missing", "Ready", "False")
    gone = source(nfs)
    gone["nfs"]["mountOptions"] = ["port=1"]
    cluster.dataset("courses", "gone", source=gone)
    condition = told(cluster, "gone", "SourceReachable", "False")
    assert condition["reason"] == "Unreachable" and "127.0.0.1" in condition["message"] and "refused" in condition["message"]


@pytest.mark.parametrize("change, words", [
    ({"server": "nfs.example.com/x"}, "spec.source.nfs.server"), ({"path": "relative"}, "spec.source.nfs.path"),
    ({"path": "/a/../b"}, "must not contain '.' or '..'"), ({"mountOptions": ["rw"]}, "rw"),
    ({"mountOptions": ["ro,suid"]}, "mountOptions")])
def test_bad_sources_are_refused_by_the_schema(cluster, nfs, change, words):
    bad = source(nfs)
    bad["nfs"] |= change
    with pytest.raises(urllib.error.HTTPError) as caught:
        cluster.dataset("courses", "bad", source=bad)
    assert caught.value.code == 422 and words in caught.value.read().decode()


def test_credentials_beside_nfs_are_refused(cluster, nfs):
    with pytest.raises(urllib.error.HTTPError) as caught:
        cluster.dataset("courses", "bad", source=source(nfs), secretRef={"name": "keys"})
    assert "secretRef" in caught.value.read().decode()
