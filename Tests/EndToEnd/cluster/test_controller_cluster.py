"""The controller's program against the API server stand-in's: what an admin and a user would see."""

import pytest

from controller import wait_for
from kube import Cluster, needs_stand_in


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    for name in ("courses", "alice", "bob"):
        cluster.namespace(name, students="no" if name == "courses" else "yes")
    cluster.storage_class("millrace", datasetAnnotation="true")
    yield cluster
    cluster.stop()


def test_a_claim_is_bound_and_refused_ones_are_told(cluster):
    controller = cluster.controller("--no-leader-election")
    cluster.dataset("courses", "iris", allowedNamespaces={
        "from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": "alice"}}})
    cluster.claim("alice", "data", "millrace", **{"millrace.dev/dataset": "courses/iris"})
    cluster.claim("bob", "data", "millrace", **{"millrace.dev/dataset": "courses/iris"})
    wait_for("alice's claim is Bound", lambda: cluster.phase("alice", "data") == "Bound")
    event = wait_for("bob is told why", lambda: cluster.events("bob", "data"))[0]
    assert event["reason"] == "NotAllowed" and "spec.allowedNamespaces" in event["message"]
    assert cluster.phase("bob", "data") == "Pending"

    def status():
        dataset = cluster.get("/apis/millrace.dev/v1alpha1/namespaces/courses/datasets/iris")
        return {c["type"]: c for c in dataset.get("status", {}).get("conditions", [])}

    # The endpoint is nowhere: said in the status, and no reason to keep the claim waiting.
    reachable = wait_for("the source was asked", lambda: (c := status().get("SourceReachable")) and c["status"] == "False" and c)
    assert reachable["reason"] == "Unreachable" and "http://127.0.0.1:1" in reachable["message"]
    controller.stop()


def test_it_comes_back_from_kill_9_with_nothing_twice(cluster):
    cluster.dataset("courses", "iris", publish={"namespaceSelector": {"matchLabels": {"students": "yes"}}})
    for number in range(40):
        cluster.claim("alice", f"c{number}", "millrace", **{"millrace.dev/dataset": "courses/iris"})
    done = lambda: all(cluster.phase("alice", f"c{n}") == "Bound" for n in range(40))
    for _ in range(5):
        controller = cluster.controller("--no-leader-election", "--no-probes")
        wait_for("it does something", lambda before=len(cluster.volumes()): done() or len(cluster.volumes()) > before)
        controller.kill()
        controller.child.stdout.close()
    controller = cluster.controller("--no-leader-election", "--no-probes")
    wait_for("all are Bound", done)
    wait_for("published", lambda: cluster.phase("bob", "iris") == "Bound" and cluster.phase("alice", "iris") == "Bound")
    claims = [volume["spec"]["claimRef"]["uid"] for volume in cluster.volumes()]
    assert len(claims) == len(set(claims)) == 42
    cluster.call("DELETE", "/apis/millrace.dev/v1alpha1/namespaces/courses/datasets/iris")
    wait_for("published claims and all volumes are gone",
             lambda: cluster.phase("bob", "iris") is None and not cluster.volumes())
    controller.stop()


def test_the_second_replica_takes_over(cluster):
    cluster.dataset("courses", "iris", allowedNamespaces={"from": "All"})
    replicas = [cluster.controller("--no-probes", "--identity", f"replica-{n}") for n in range(2)]
    lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/millrace-controller"
    holder = wait_for("one leads", lambda: (found := cluster.get(lease)) and found["spec"]["holderIdentity"])
    leader = replicas.pop(int(holder[-1]))
    cluster.claim("alice", "first", "millrace", **{"millrace.dev/dataset": "courses/iris"})
    wait_for("bound by the leader", lambda: cluster.phase("alice", "first") == "Bound")
    leader.stop()  # In good order: it gives the lease up.
    cluster.claim("alice", "second", "millrace", **{"millrace.dev/dataset": "courses/iris"})
    wait_for("bound by the other", lambda: cluster.phase("alice", "second") == "Bound")
    assert cluster.get(lease)["spec"]["holderIdentity"] != holder
    replicas[0].stop()


def test_after_an_uninstall_no_namespace_is_stuck(cluster):
    """Nothing of ours has a finalizer, so all goes without the controller."""
    cluster.dataset("courses", "iris", publish={"namespaceSelector": {"matchLabels": {"students": "yes"}}})
    controller = cluster.controller("--no-leader-election", "--no-probes")
    cluster.bound("alice", "iris")
    controller.kill()
    for name in ("alice", "courses"):
        cluster.delete(f"/api/v1/namespaces/{name}")
    wait_for("both are gone", lambda: not any(cluster.get(f"/api/v1/namespaces/{name}") for name in ("alice", "courses")), 120)
    # Installed anew, the controller deletes what is left of them.
    controller = cluster.controller("--no-leader-election", "--no-probes")
    wait_for("no volume is left", lambda: not [v for v in cluster.volumes() if v["spec"]["claimRef"]["namespace"] == "alice"])
    controller.stop()


@needs_stand_in("it taints nodes")
def test_a_new_node_is_open_once_its_plugin_has_registered(cluster):
    for name in ("new", "ready"):
        cluster.post("/api/v1/nodes", {"metadata": {"name": name}, "spec": {"taints": [
            {"key": "millrace.dev/not-ready", "effect": "NoSchedule"}]}})
    csi_nodes = "/apis/storage.k8s.io/v1/csinodes"
    cluster.post(csi_nodes, {"metadata": {"name": "ready"}, "spec": {"drivers": [{"name": "s3.csi.millrace.dev", "nodeID": "r"}]}})
    cluster.post(csi_nodes, {"metadata": {"name": "new"}, "spec": {"drivers": []}})
    taints = lambda name: cluster.get(f"/api/v1/nodes/{name}")["spec"].get("taints", [])
    controller = cluster.controller("--no-leader-election", "--no-probes", "--startup-taint", "millrace.dev/not-ready")
    wait_for("the one is open", lambda: not taints("ready"))
    assert taints("new")
    cluster.patch(f"{csi_nodes}/new", {"spec": {"drivers": [{"name": "s3.csi.millrace.dev", "nodeID": "n"}]}})
    wait_for("the other is open", lambda: not taints("new"))
    controller.stop()


@needs_stand_in("it takes the stand-in's port")
def test_metrics_and_health(cluster):
    controller = cluster.controller("--no-leader-election", "--no-probes", "--metrics", "127.0.0.1:0")
    controller.stop()  # A free port isn't told; what counts is that it starts and ends.
    busy = cluster.url.rsplit(":", 1)[1]
    refused = cluster.controller("--metrics", f"127.0.0.1:{busy}")
    assert refused.child.wait(30) == 1 and "Address already in use" in refused.output()
    refused.child.stdout.close()
