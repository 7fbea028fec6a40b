"""Pinned Datasets, from the controller to bytes in pods: revisions are made, mounted, rolled forward and removed."""

import errno
import os

import pytest

from chart import kinds, render
from controller import wait_for
from harness import Embedded, within, Web
from kube import DATASETS, Cluster, needs_stand_in
from kubelet import Kubelet
from node_plugin import KEYS, NodePlugin

pytestmark = needs_stand_in("its own kubelet mounts; this node isn't one of the cluster's")
IRIS = DATASETS.format("courses") + "/iris"


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    manifests = render({})
    cluster.apply("/apis/storage.k8s.io/v1/csidrivers", kinds(manifests, "CSIDriver")[0])
    cluster.apply("/apis/storage.k8s.io/v1/storageclasses", kinds(manifests, "StorageClass")[0])
    cluster.namespace("courses")
    cluster.secret("courses", "keys", KEYS)
    yield cluster
    cluster.stop()


@pytest.fixture
def node(cluster):
    with NodePlugin("--allow-address", "127.0.0.0/8") as plugin:
        yield Kubelet(cluster, plugin)


@pytest.fixture
def s3():
    environment = {"AWS_ACCESS_KEY_ID": KEYS["accessKeyID"], "AWS_SECRET_ACCESS_KEY": KEYS["secretAccessKey"]}
    with Embedded("--signed", environment=environment) as server:
        for number in range(5):
            server.put(f"iris/{number}.csv", f"row {number}\n".encode())
        yield server


def pinned(cluster, s3, **revision):
    cluster.dataset(
        "courses", "iris", secretRef={"name": "keys"}, revision={"policy": "Pinned", **revision},
        source={"s3": {"bucket": "data", "prefix": "iris", "endpoint": s3.endpoint, "pathStyle": True}})


def revisions(cluster):
    return [entry["id"] for entry in cluster.get(IRIS).get("status", {}).get("revisions", [])]


def new_revision(cluster, name):
    count = len(revisions(cluster))
    cluster.patch(IRIS, {"metadata": {"annotations": {"millrace.dev/new-revision": name}}})
    wait_for("a new revision", lambda: len(revisions(cluster)) > count)
    newest = max(revisions(cluster))
    wait_for("pods get it", lambda: cluster.get(IRIS)["status"]["revision"].get("current") == newest)


def claim(cluster, name):
    cluster.claim("courses", name, "millrace", **{"millrace.dev/dataset": "courses/iris"})
    return cluster.bound("courses", name)


def content(pod, name):
    return within(20, pod.path(name).read_bytes)


def test_C11_new_volumes_get_the_newest_revision_and_pods_keep_theirs(cluster, node, s3):
    controller = cluster.controller("--no-leader-election", "--allow-address", "127.0.0.0/8")
    pinned(cluster, s3, keep=1, rollForward=False)
    wait_for("a revision", lambda: revisions(cluster))
    first = claim(cluster, "first")
    assert first["spec"]["csi"]["volumeAttributes"]["millrace.dev/revision"] == revisions(cluster)[0]
    old = node.start("courses", "old", "first")
    assert content(old, "0.csv") == b"row 0\n"

    s3.put("iris/new.csv", b"added\n")
    s3.put("iris/1.csv", b"replaced\n")
    new_revision(cluster, "1")
    claim(cluster, "second")
    s3.clear_log()
    new = node.start("courses", "new", "second")
    assert sorted(within(20, os.listdir, new.target)) == ["0.csv", "1.csv", "2.csv", "3.csv", "4.csv", "new.csv"]
    assert content(new, "1.csv") == b"replaced\n"

    # The pod that runs, and one that comes later to its claim, see what they saw.
    later = node.start("courses", "later", "first")
    for pod in (old, later):
        assert sorted(within(20, os.listdir, pod.target)) == ["0.csv", "1.csv", "2.csv", "3.csv", "4.csv"]
        assert content(pod, "2.csv") == b"row 2\n"
        with pytest.raises(OSError) as caught:
            content(pod, "1.csv")
        assert caught.value.errno == errno.ESTALE
    # No node has listed anything: whoever did asked for the controller's store.
    assert not [r for r in s3.log() if r["operation"] == "list" and r["key"].startswith("iris")]

    # One more revision: of the old ones only those that volumes show are kept.
    s3.put("iris/2.csv", b"replaced too\n")
    new_revision(cluster, "2")
    assert len(wait_for("three", lambda: len(revisions(cluster)) == 3 and revisions(cluster))) == 3
    for pod in (old, later):
        node.stop(pod)
    cluster.delete("/api/v1/namespaces/courses/persistentvolumeclaims/first")
    wait_for("the first is gone", lambda: len(revisions(cluster)) == 2)
    node.stop(new)
    cluster.delete("/api/v1/namespaces/courses/persistentvolumeclaims/second")
    wait_for("the newest is left", lambda: len(revisions(cluster)) == 1)

    # With the Dataset all manifests go, and nothing else.
    cluster.delete(IRIS)
    wait_for("the Dataset is gone", lambda: cluster.get(IRIS) is None)
    deleted = [request["key"] for request in s3.log() if request["method"] == "DELETE"]
    assert deleted and all(".millrace/revisions/" in key for key in deleted)
    controller.stop()


def test_C11_claims_roll_forward_without_touching_running_pods(cluster, node, s3):
    controller = cluster.controller("--no-leader-election", "--allow-address", "127.0.0.0/8")
    pinned(cluster, s3, keep=1)
    wait_for("a revision", lambda: revisions(cluster))
    volume = claim(cluster, "shared")
    assert volume["spec"]["csi"]["volumeAttributes"]["millrace.dev/revision"] == "newest"
    old = node.start("courses", "old", "shared")
    names = [f"{number}.csv" for number in range(5)]
    assert content(old, "0.csv") == b"row 0\n"

    s3.put("iris/new.csv", b"added\n")
    s3.put("iris/1.csv", b"replaced\n")
    new_revision(cluster, "1")
    new = node.start("courses", "new", "shared")
    assert sorted(within(20, os.listdir, new.target)) == names + ["new.csv"]
    assert content(new, "1.csv") == b"replaced\n"

    def old_is_as_it_was():
        assert sorted(within(20, os.listdir, old.target)) == names
        assert content(old, "2.csv") == b"row 2\n"
        with pytest.raises(OSError) as caught:
            content(old, "1.csv")
        assert caught.value.errno == errno.ESTALE

    old_is_as_it_was()
    # The kubelet publishes again and again; an engine that takes over, and a plugin that starts anew, go on as well.
    node.publish(old)
    node.publish(new)
    old_is_as_it_was()
    node.plugin.kill("engine")
    old_is_as_it_was()
    node.publish(old)
    assert content(new, "new.csv") == b"added\n"

    # keep: 1, and yet what running pods may show is there, until they end: the new one's age is about the revision's, and
    # clocks may differ.
    assert len(revisions(cluster)) == 2
    node.stop(old)
    node.stop(new)
    cluster.patch(IRIS, {"metadata": {"labels": {"look": "again"}}})
    wait_for("the old one goes", lambda: len(revisions(cluster)) == 1)
    third = node.start("courses", "third", "shared")
    assert "new.csv" in within(20, os.listdir, third.target)
    node.stop(third)
    controller.stop()


def test_claims_wait_for_the_first_revision_and_are_told_why(cluster, s3):
    controller = cluster.controller("--no-leader-election", "--allow-address", "127.0.0.0/8")
    s3.fault(operation="put", count=-1, status=403, code="AccessDenied")
    pinned(cluster, s3)
    state = wait_for("it failed", lambda: (s := cluster.get(IRIS).get("status", {}).get("revision")) and s["phase"] == "Failed" and s)
    assert "can't be written to bucket data" in state["message"] and "AccessDenied" in state["message"]
    cluster.claim("courses", "early", "millrace", **{"millrace.dev/dataset": "courses/iris"})
    wait_for("the claim is told", lambda: [e for e in cluster.events("courses", "early") if e["reason"] == "RevisionPending"])
    assert cluster.conditions("courses", "iris")["Ready"]["reason"] == "RevisionPending"
    controller.stop()


def test_an_engine_that_is_replaced_goes_on_with_the_revision(cluster, node, s3):
    controller = cluster.controller("--no-leader-election", "--allow-address", "127.0.0.0/8")
    pinned(cluster, s3)
    wait_for("a revision", lambda: revisions(cluster))
    claim(cluster, "first")
    pod = node.start("courses", "pod", "first")
    assert content(pod, "0.csv") == b"row 0\n"
    s3.put("iris/new.csv", b"added\n")
    node.plugin.kill("engine")
    assert within(60, lambda: content(pod, "3.csv")) == b"row 3\n"
    assert "new.csv" not in within(20, os.listdir, pod.target)
    node.stop(pod)
    controller.stop()


def test_an_http_source_is_mounted_in_a_pod(cluster, node):
    with Web() as web:
        controller = cluster.controller("--no-leader-election", "--allow-address", "127.0.0.0/8")
        web.put("a/one.bin", b"one")
        cluster.secret("courses", "login", {"username": "user", "password": "word"})
        cluster.dataset("courses", "iris", secretRef={"name": "login"}, source={"http": {"url": web.url("private/")}})
        claim(cluster, "files")
        pod = node.start("courses", "pod", "files")
        assert within(20, pod.path("a", "one.bin").read_bytes) == b"one"
        node.stop(pod)
        cluster.patch("/api/v1/namespaces/courses/secrets/login", {"data": {"password": "d3Jvbmc="}})
        assert "denied" in node.refusal("courses", "other", "files")
        controller.stop()
        assert "word" not in (controller.output() + node.plugin.logs()).replace("password", "")


def test_an_http_source_on_this_machine_is_refused(cluster):
    controller = cluster.controller("--no-leader-election", "--probe-seconds", "1")
    cluster.dataset("courses", "iris", source={"http": {"url": "http://127.0.0.1:1/"}})
    ready = wait_for("asked", lambda: (c := cluster.conditions("courses", "iris").get("Ready")) and c["status"] == "False" and c)
    assert "loopback" in ready["message"] and "spec.source.http.url" in ready["message"]
    controller.stop()


def test_V9_a_pachyderm_branch_is_mounted_in_a_pod(cluster, node):
    token = "pach-session-token"
    with Embedded("--signed", bucket="staging.images.vision",
                  environment={"AWS_ACCESS_KEY_ID": token, "AWS_SECRET_ACCESS_KEY": token}) as gateway:
        gateway.put("train/1.png", b"one", etag="b1946ac92492d2347c6235b4d2611184f00ba8bc2f3a")
        controller = cluster.controller("--no-leader-election", "--allow-address", "127.0.0.0/8")
        cluster.secret("courses", "token", {"token": token})
        cluster.dataset("courses", "iris", secretRef={"name": "token"}, source={"pachyderm": {
            "endpoint": gateway.endpoint, "repo": "images", "branch": "staging", "project": "vision", "path": "train"}})
        wait_for("it is asked", lambda: cluster.conditions("courses", "iris").get("SourceReachable", {}).get("status") == "True")
        claim(cluster, "images")
        pod = node.start("courses", "pod", "images")
        assert within(20, pod.path("1.png").read_bytes) == b"one"
        node.stop(pod)
        controller.stop()
