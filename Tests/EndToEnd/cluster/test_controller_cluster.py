"""The controller's program against the API server stand-in's: what an admin and a user would see."""

import pytest
import yaml

from chart import kinds, render
from controller import ROOT, wait_for
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


def test_static_volumes_are_bound_and_left_alone(cluster):
    """A volume that an admin wrote by hand, and its claim."""
    controller = cluster.controller("--no-leader-election", "--no-probes")
    cluster.apply("/api/v1/persistentvolumes", {"metadata": {"name": "by-hand"}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany"], "storageClassName": "",
        "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "alice", "name": "static"},
        "csi": {"driver": "s3.csi.millrace.dev", "volumeHandle": "by-hand", "readOnly": True, "volumeAttributes": {
            "bucket": "data", "anonymous": "true", "millrace.dev/allowedNamespaces": "alice"}}}})
    cluster.claim("alice", "static", "")
    assert cluster.bound("alice", "static")["metadata"]["name"] == "by-hand"
    cluster.delete("/api/v1/namespaces/alice/persistentvolumeclaims/static")
    wait_for("Released", lambda: cluster.get("/api/v1/persistentvolumes/by-hand")["status"]["phase"] == "Released")
    # What is done for a claim of our own meanwhile shows that the controller has looked.
    cluster.dataset("alice", "own")
    cluster.claim("alice", "own", "millrace", **{"millrace.dev/dataset": "own"})
    cluster.bound("alice", "own")
    assert cluster.get("/api/v1/persistentvolumes/by-hand")
    controller.stop()


def test_the_definition_for_kubernetes_own_tests_holds(cluster):
    """What the provisioning test of Kubernetes' external storage suite does with it."""
    directory = ROOT / "Tests/EndToEnd/cluster/external-storage"
    driver, kind = (yaml.safe_load((directory / f"{name}.yaml").read_text()) for name in ("driver", "class"))
    info = driver["DriverInfo"]
    assert kind["metadata"]["name"] == driver["StorageClass"]["FromExistingClassName"]
    assert info["Name"] == kind["provisioner"] == kinds(render({}), "CSIDriver")[0]["metadata"]["name"]
    controller = cluster.controller("--no-leader-election", "--no-probes")
    cluster.apply("/apis/storage.k8s.io/v1/storageclasses", {**kind, "metadata": {"name": "e2e-sc"}})
    size = info["SupportedSizeRange"]["Min"]
    claims = "/api/v1/namespaces/bob/persistentvolumeclaims"
    cluster.post(claims, {"metadata": {"name": "pvc"}, "spec": {
        "storageClassName": "e2e-sc", "accessModes": info["RequiredAccessModes"],
        "resources": {"requests": {"storage": size}}}})
    volume = cluster.bound("bob", "pvc")
    spec = volume["spec"]
    assert spec["capacity"]["storage"] == size and spec["accessModes"] == info["RequiredAccessModes"]
    assert spec["persistentVolumeReclaimPolicy"] == "Delete" and not spec.get("mountOptions")
    assert (spec["claimRef"]["namespace"], spec["claimRef"]["name"]) == ("bob", "pvc")
    cluster.delete(f"{claims}/pvc")
    wait_for("the volume is deleted", lambda: cluster.get(f"/api/v1/persistentvolumes/{volume['metadata']['name']}") is None)
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


def test_without_a_controller_claims_and_datasets_can_go(cluster):
    """What every installation has has no finalizer of ours."""
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


def test_an_uninstall_leaves_no_namespace_stuck(cluster):
    """What has finalizers of ours goes as well: the chart's hook takes them off before the controller goes."""
    hook = next(m for m in kinds(render({}), "Job") if m["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete")
    arguments = hook["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--let-go" in arguments
    objects = {
        "datasets/pinned": {
            "source": {"s3": {"bucket": "data", "endpoint": "http://127.0.0.1:1"}}, "secretRef": {"name": "keys"},
            "revision": {"policy": "Pinned"}},
        "datasetimports/import": {"source": {"http": {"urls": ["http://127.0.0.1:1/a"]}}, "claimName": "target"},
        "credentialgrants/grant": {"dataset": "pinned"},
    }
    path = lambda name: f"/apis/millrace.dev/v1alpha1/namespaces/courses/{name}"
    cluster.secret("courses", "keys", {"accessKeyID": "id", "secretAccessKey": "secret"})
    for name, spec in objects.items():
        cluster.post(path(name.split("/")[0]), {"metadata": {"name": name.split("/")[1]}, "spec": spec})
    leader = cluster.controller("--no-probes", "--import-image", "none")
    held = lambda name: [f for f in cluster.get(path(name))["metadata"].get("finalizers", []) if f.startswith("millrace.dev/")]
    for name in objects:
        wait_for(f"{name} is held", lambda name=name: held(name))
    names = ("--lease-name", "--lease-namespace")
    end = cluster.controller(*(a for a in arguments if not a.startswith(names)))
    assert end.child.wait(60) == 0, end.output()
    # The leader has ended, and would find the lease taken if it were started anew, as its pod is.
    assert leader.child.wait(30) == 1 and "leadership" in leader.output()
    again = cluster.controller("--no-probes", "--import-image", "none")
    for name in objects:
        assert not held(name)
    cluster.delete("/api/v1/namespaces/courses")
    wait_for("the namespace is gone", lambda: cluster.get("/api/v1/namespaces/courses") is None, 120)
    assert again.child.poll() is None and "leading" not in again.output()


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
