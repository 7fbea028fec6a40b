"""From a Dataset to bytes in pods: API server, controller, PVC, kubelet, node plugin, FUSE mount, S3 server."""

import json
import os
import re
import urllib.request

import pytest

from chart import kinds, render, rules
from controller import ROOT, wait_for
from harness import Embedded, within
from harness import servers
from kube import DATASETS, Cluster, needs_stand_in
from kubelet import Kubelet
from node_plugin import KEYS, NodePlugin

pytestmark = needs_stand_in("its own kubelet mounts; this node isn't one of the cluster's")


@pytest.fixture
def cluster(tmp_path):
    """With the objects that the chart installs, and a namespace of the data's owner."""
    cluster = Cluster(tmp_path)
    manifests = render({})
    cluster.apply("/apis/storage.k8s.io/v1/csidrivers", kinds(manifests, "CSIDriver")[0])
    cluster.apply("/apis/storage.k8s.io/v1/storageclasses", kinds(manifests, "StorageClass")[0])
    cluster.namespace("courses")
    yield cluster
    cluster.stop()


@pytest.fixture
def node(cluster):
    with NodePlugin() as plugin:
        yield Kubelet(cluster, plugin)


@pytest.fixture
def s3():
    """Takes signed requests only."""
    environment = {"AWS_ACCESS_KEY_ID": KEYS["accessKeyID"], "AWS_SECRET_ACCESS_KEY": KEYS["secretAccessKey"]}
    with Embedded("--signed", environment=environment) as server:
        for number in range(20):
            server.put(f"iris/{number:02}.csv", f"row {number}\n".encode())
        server.put("private/grades", b"nobody's business")
        yield server


def source(endpoint, bucket="data", **more):
    return {"s3": {"bucket": bucket, "prefix": "iris", "endpoint": endpoint, "pathStyle": True, **more}}


def devices(plugin):
    return {mount[0]: mount[2] for mount in plugin.mounts()}


def reads_of(server, key):
    return sum(1 for request in server.log() if request["method"] == "GET" and key in str(request))


def calls(port):
    """What a controller has asked the API server for, as RBAC calls it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line.startswith("millrace_kubernetes_requests_total{")]
    found = [dict(re.findall(r'(\w+)="([^"]*)"', line)) for line in lines]
    verbs = {"apply": "patch"}
    # A Dataset's status is all of it that the controller writes.
    return {("datasets/status" if (call["resource"], call["verb"]) == ("datasets", "patch") else call["resource"],
             verbs.get(call["verb"], call["verb"])) for call in found}


def test_from_a_dataset_to_bytes_in_two_namespaces_and_back(cluster, node, s3):
    port = servers.free_port()
    # With what the chart leaves off by default left off.
    controller = cluster.controller(
        "--probe-seconds", "1", "--metrics", f"127.0.0.1:{port}", "--no-warming", "--no-broker")
    cluster.secret("courses", "keys", KEYS)
    cluster.dataset(
        "courses", "iris", source=source(s3.endpoint), secretRef={"name": "keys"},
        allowedNamespaces={"from": "Selector", "selector": {"matchLabels": {"team": "b"}}},
        publish={"namespaceSelector": {"matchLabels": {"role": "student"}}, "claimName": "course-data"})
    wait_for("Ready", lambda: cluster.conditions("courses", "iris").get("Ready", {}).get("reason") == "Ready")
    reachable = wait_for("asked", lambda: (c := cluster.conditions("courses", "iris")["SourceReachable"]) and c["status"] == "True" and c)
    assert reachable["reason"] == "Answered"
    assert wait_for("counted", lambda: cluster.get(DATASETS.format("courses") + "/iris")["status"].get("objects")) == 20

    # One namespace gets its claim by itself, the other one asks for it.
    cluster.namespace("alice", role="student")
    cluster.namespace("bob", team="b")
    cluster.claim("bob", "mine", "millrace", **{"millrace.dev/dataset": "courses/iris"})
    volumes = [cluster.bound("alice", "course-data"), cluster.bound("bob", "mine")]
    assert len({v["spec"]["csi"]["volumeHandle"] for v in volumes}) == 2
    for volume in volumes:
        assert KEYS["secretAccessKey"] not in str(volume)

    alice = node.start("alice", "a", "course-data")
    assert sorted(within(20, os.listdir, alice.target)) == [f"{n:02}.csv" for n in range(20)]
    assert within(20, alice.path("07.csv").read_bytes) == b"row 7\n"
    before = reads_of(s3, "07.csv")
    bob = node.start("bob", "b", "mine", read_only=True)
    # The other namespace's pod reads from the same session: nothing is fetched again.
    assert within(20, bob.path("07.csv").read_bytes) == b"row 7\n"
    assert before >= 1 and reads_of(s3, "07.csv") == before
    mounted = devices(node.plugin)
    assert mounted[str(alice.target)] == mounted[str(bob.target)]
    with pytest.raises(OSError):
        within(20, alice.path("new").write_bytes, b"x")

    # Nobody else, and nobody with another's volume.
    cluster.namespace("eve")
    cluster.claim("eve", "mine", "millrace", **{"millrace.dev/dataset": "courses/iris"})
    wait_for("eve is told", lambda: [e for e in cluster.events("eve", "mine") if e["reason"] == "NotAllowed"])
    assert "PVC mine is Pending" in node.refusal("eve", "e", "mine")
    thief = node.start("alice", "thief", "course-data")
    node.stop(thief)
    thief.namespace = "eve"
    with pytest.raises(Exception, match="eve"):
        node.publish_volume(thief, volumes[0])

    # Rotated keys reach live mounts with the next republish.
    cluster.patch("/api/v1/namespaces/courses/secrets/keys", {
        "data": {"accessKeyID": "TkVXS0VZ", "secretAccessKey": "bmV3LXNlY3JldC0wMDAwMDA="}})
    s3.credentials("NEWKEY", "new-secret-000000")
    for pod in (alice, bob):
        node.publish(pod)
    assert within(20, alice.path("11.csv").read_bytes) == b"row 11\n"

    # The grant is taken back: no new pod, while the one that runs drains.
    cluster.patch(DATASETS.format("courses") + "/iris", {"spec": {"allowedNamespaces": {"from": "Same", "selector": None}}})
    wait_for("bob's claim is Lost", lambda: cluster.phase("bob", "mine") == "Lost")
    assert "PVC mine is Lost" in node.refusal("bob", "late", "mine")
    assert within(20, bob.path("12.csv").read_bytes) == b"row 12\n"
    node.stop(bob)
    assert within(20, alice.path("13.csv").read_bytes) == b"row 13\n"
    cluster.delete("/api/v1/namespaces/bob/persistentvolumeclaims/mine")

    # The Dataset goes: the published claim goes once its pod has gone, and no object is touched.
    cluster.delete(DATASETS.format("courses") + "/iris")
    wait_for("it is going", lambda: "deletionTimestamp" in (cluster.found_claim("alice", "course-data") or {}).get("metadata", {}))
    assert within(20, alice.path("14.csv").read_bytes) == b"row 14\n"
    node.stop(alice)
    wait_for("no claim and no volume is left", lambda: not cluster.volumes() and cluster.found_claim("alice", "course-data") is None)
    wait_for("no session is left", lambda: not node.plugin.mounts())
    assert not {request["method"] for request in s3.log()} - {"GET", "HEAD"}
    # All of it was done with the rights that the chart gives.
    asked, granted = calls(port), {(resource, verb) for _, resource, verb in rules(render({}))}
    assert len(asked) >= 12 and asked <= granted, asked - granted
    controller.stop()
    text = controller.output() + node.plugin.logs()
    assert KEYS["secretAccessKey"] not in text and "new-secret-000000" not in text


def test_a_pod_waits_for_its_claim_and_a_sub_path(cluster, node, s3):
    cluster.controller("--no-leader-election", "--no-probes")
    cluster.secret("courses", "keys", KEYS)
    cluster.storage_class("late", "WaitForFirstConsumer", dataset="courses/all", subPathAnnotation="true")
    cluster.dataset(
        "courses", "all", source={"s3": {"bucket": "data", "endpoint": s3.endpoint, "pathStyle": True}},
        secretRef={"name": "keys"}, allowedNamespaces={"from": "All"})
    cluster.namespace("alice")
    cluster.claim("alice", "c", "late", "ReadWriteOnce", **{"millrace.dev/sub-path": "iris"})
    assert "Pending" in node.refusal("alice", "first", "c")
    # That pod was the first consumer.
    cluster.bound("alice", "c")
    pod = node.start("alice", "second", "c")
    assert within(20, pod.path("03.csv").read_bytes) == b"row 3\n"
    assert "grades" not in within(20, os.listdir, pod.target)
    node.stop(pod)


def test_immediate_revocation_ends_pods(cluster, node, s3):
    cluster.controller("--no-leader-election", "--no-probes", "--allow-eviction")
    cluster.secret("courses", "keys", KEYS)
    cluster.dataset(
        "courses", "iris", source=source(s3.endpoint), secretRef={"name": "keys"},
        allowedNamespaces={"from": "All"}, revocation="Immediate")
    cluster.namespace("alice")
    cluster.claim("alice", "c", "millrace", **{"millrace.dev/dataset": "courses/iris"})
    cluster.bound("alice", "c")
    pod = node.start("alice", "p", "c")
    cluster.patch(DATASETS.format("courses") + "/iris", {"spec": {"allowedNamespaces": {"from": "Same"}}})
    wait_for("the pod is deleted", lambda: cluster.get("/api/v1/namespaces/alice/pods/p") is None)
    node.plugin.unpublish(pod.volume_id, pod.target)
    assert not node.plugin.mounts()


def series(port):
    """What is exported there: names, each with its labels' names."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line and not line.startswith("#")]
    found = {}
    for line in lines:
        name, labels = re.match(r"(\w+)(?:\{(.*)\})? ", line).groups()
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels or ""))
    return found


def test_dashboard_rules_and_documents_ask_for_what_is_exported(cluster, s3):
    controller_port = servers.free_port()
    cluster.controller("--no-leader-election", "--no-probes", "--metrics", f"127.0.0.1:{controller_port}")
    cluster.secret("courses", "keys", KEYS)
    cluster.dataset("courses", "iris", source=source(s3.endpoint), secretRef={"name": "keys"})
    cluster.claim("courses", "c", "millrace", **{"millrace.dev/dataset": "iris"})
    cluster.bound("courses", "c")
    node_port = servers.free_port()
    with NodePlugin("--metrics", f"127.0.0.1:{node_port}") as plugin:
        pod = Kubelet(cluster, plugin).start("courses", "p", "c")
        assert within(20, pod.path("03.csv").read_bytes) == b"row 3\n"
        exported = series(controller_port) | series(node_port)
    rules = kinds(render({"metrics": {"prometheusRule": {"enabled": True}}}), "PrometheusRule")[0]["spec"]["groups"][0]["rules"]
    panels = json.loads((ROOT / "charts/millrace/files/dashboard.json").read_text())["panels"]
    expressions = [rule["expr"] for rule in rules] + [t["expr"] for panel in panels for t in panel["targets"]]
    assert len(expressions) >= 15
    for expression in expressions:
        names = re.findall(r"millrace_\w+", expression)
        assert names and not set(names) - exported.keys(), expression
        # Those that Prometheus adds itself are left out.
        labels = {l.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for l in group.split(",")} - {"instance", "pod"}
        assert all(labels <= exported[name] for name in names), expression
    documented = set(re.findall(r"`(millrace_\w+)`", (ROOT / "docs/how-to/monitoring.md").read_text()))
    assert len(documented) >= 10 and not documented - exported.keys() - {
        name.rsplit("_", 1)[0] for name in exported if name.endswith("_count")}, documented - exported.keys()


def test_on_a_production_s3_server(cluster, node):
    """Ceph's gateway, with its own checks of signatures."""
    if not os.path.exists("/usr/bin/radosgw"):
        pytest.skip("Ceph's radosgw isn't installed: scripts/setup test")
    server = servers.ceph()
    try:
        for number in range(5):
            server.put(f"iris/{number}.bin", os.urandom(64) * 40_000 if number == 0 else b"%d" % number)
        cluster.controller("--no-leader-election")
        cluster.secret("courses", "keys", {"AWS_ACCESS_KEY_ID": servers.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": servers.SECRET_KEY})
        cluster.dataset("courses", "iris", source=source(server.endpoint, region=server.region), secretRef={"name": "keys"},
                        publish={"namespaceSelector": {"matchLabels": {"role": "student"}}})
        pods = []
        for name in ("alice", "bob"):
            cluster.namespace(name, role="student")
            cluster.bound(name, "iris")
            pods.append(node.start(name, "p", "iris"))
        expected = server.client().get_object(Bucket="data", Key="iris/0.bin")["Body"].read()
        for pod in pods:
            assert within(30, pod.path("0.bin").read_bytes) == expected
        assert len({devices(node.plugin)[str(pod.target)] for pod in pods}) == 1
        wait_for("it is Ready", lambda: cluster.conditions("courses", "iris").get("CredentialsValid", {}).get("status") == "True")
        for pod in pods:
            node.stop(pod)
    finally:
        server.stop()
