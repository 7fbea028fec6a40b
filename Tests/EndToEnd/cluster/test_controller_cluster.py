"""The controller's program against the API server stand-in's: what an admin and a user would see."""

import json
import urllib.error
import urllib.request

import pytest
import yaml

from controller import ROOT, Process, program, wait_for


class Cluster:
    """kube-embedded, and calls to it."""

    def __init__(self, directory):
        self.kubeconfig = str(directory / "kubeconfig")
        self.controllers = []
        self.process = Process([program("kube-embedded"), "--kubeconfig", self.kubeconfig])
        self.url = self.process.child.stdout.readline().strip()
        self.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                  yaml.safe_load((ROOT / "charts/millrace/files/datasets.yaml").read_text()))

    def call(self, method, path, body=None, content="application/json"):
        request = urllib.request.Request(
            self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": content})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def get(self, path):
        try:
            return self.call("GET", path)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def post(self, path, body):
        return self.call("POST", path, body)

    def patch(self, path, body):
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def namespace(self, name, **labels):
        self.post("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})

    def storage_class(self, name, **parameters):
        self.post("/apis/storage.k8s.io/v1/storageclasses", {
            "metadata": {"name": name}, "provisioner": "s3.csi.millrace.dev", "parameters": parameters})

    def dataset(self, namespace, name, **spec):
        spec.setdefault("source", {"s3": {"bucket": "data", "anonymous": True, "endpoint": "http://127.0.0.1:1"}})
        return self.post(f"/apis/millrace.dev/v1alpha1/namespaces/{namespace}/datasets", {
            "metadata": {"name": name}, "spec": spec})

    def claim(self, namespace, name, storage_class, **annotations):
        self.post(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", {
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"storageClassName": storage_class, "accessModes": ["ReadOnlyMany"],
                     "resources": {"requests": {"storage": "1Gi"}}}})

    def phase(self, namespace, name):
        claim = self.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")
        return claim and claim["status"]["phase"]

    def volumes(self):
        return self.get("/api/v1/persistentvolumes")["items"]

    def controller(self, *more):
        self.controllers.append(Process(
            [program("millrace-controller"), "--kubeconfig", self.kubeconfig, "--lease-namespace", "default", *more]))
        return self.controllers[-1]

    def stop(self):
        """Also what a failed test left running."""
        for process in [*self.controllers, self.process]:
            if process.child.poll() is None:
                process.kill()
            process.child.stdout.close()


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
    event = wait_for("bob is told why", lambda: cluster.get("/api/v1/namespaces/bob/events")["items"])[0]
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


def test_metrics_and_health(cluster):
    controller = cluster.controller("--no-leader-election", "--no-probes", "--metrics", "127.0.0.1:0")
    controller.stop()  # A free port isn't told; what counts is that it starts and ends.
    busy = cluster.url.rsplit(":", 1)[1]
    refused = cluster.controller("--metrics", f"127.0.0.1:{busy}")
    assert refused.child.wait(30) == 1 and "Address already in use" in refused.output()
    refused.child.stdout.close()
