"""Warm-up of nodes: the controller, a real millrace-csi on each node, `millrace warm` in pods, and an S3 server that counts."""

import base64

import pytest

from controller import wait_for
from harness import Embedded, generated
from kube import Cluster, needs_stand_in
from warm_nodes import WarmNode, dump, read_all

pytestmark = needs_stand_in("its nodes are processes of the test's own")
LABEL = "warm.millrace.dev/courses.iris"
# As VCK's users have it.
SECRET = {"awsAccessKeyID": "AKIDEXAMPLE", "awsSecretAccessKey": "warm-secret-0123456789"}
FILES = {f"train/{n:02}": (20_000 + n, n) for n in range(12)} | {f"test/{n}": (300_000 + n, 50 + n) for n in range(4)}


@pytest.fixture
def store():
    environment = {"AWS_ACCESS_KEY_ID": SECRET["awsAccessKeyID"], "AWS_SECRET_ACCESS_KEY": SECRET["awsSecretAccessKey"]}
    with Embedded("--signed", environment=environment) as server:
        server.put_many([(f"set/{name}".encode(), size, seed) for name, (size, seed) in FILES.items()])
        yield server


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    for name in ("courses", "alice"):
        cluster.namespace(name)
    cluster.storage_class("millrace", datasetAnnotation="true")
    cluster.post("/api/v1/namespaces/courses/secrets", {
        "metadata": {"name": "keys"},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in SECRET.items()}})
    cluster.controller("--no-leader-election", "--no-probes")
    yield cluster
    cluster.stop()


@pytest.fixture
def nodes(cluster):
    with WarmNode(cluster, "n1", 11, {"disk": "nvme"}) as one, WarmNode(cluster, "n2", 12, {"disk": "nvme"}) as two:
        yield {"n1": one, "n2": two}


def dataset(cluster, store, warm=None, **spec):
    if warm:
        spec["warm"] = warm
    return cluster.dataset(
        "courses", "iris", secretRef={"name": "keys"}, allowedNamespaces={"from": "All"},
        source={"s3": {"bucket": store.bucket, "prefix": "set/", "endpoint": store.endpoint, "pathStyle": True}}, **spec)


DATASET = "/apis/millrace.dev/v1alpha1/namespaces/courses/datasets/iris"


def warm(cluster):
    found = cluster.get(DATASET)
    return (found or {}).get("status", {}).get("warm", {})


def condition(cluster):
    conditions = (cluster.get(DATASET) or {}).get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == "Warm"), None)


def wait_warm(cluster, ready, phase="Completed"):
    try:
        wait_for(f"{ready} nodes are warm", lambda: (s := warm(cluster)).get("phase") == phase
                 and s.get("readyReplicas") == ready, 90)
    except AssertionError:
        print(dump(cluster), cluster.controllers[0].output()[-3000:])
        raise
    return warm(cluster)


def gets(store):
    return sum(entry["operation"] == "get" for entry in store.log())


def check(files, names=None):
    assert set(files) == set(FILES)
    for name in names or FILES:
        assert files[name] == generated(*FILES[name]), name


def test_V5_V3_V13_data_is_on_N_nodes_and_nothing_is_left(cluster, store, nodes):
    affinity = {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["nvme"]}]}]}}
    cluster.post("/api/v1/nodes", {"metadata": {"name": "hdd"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    dataset(cluster, store, {"replicas": 2, "nodeAffinity": affinity, "timeoutSeconds": 600})
    status = wait_warm(cluster, 2)
    size = sum(size for size, _ in FILES.values())
    assert {node["name"]: (node["phase"], node["objects"], node["bytes"]) for node in status["nodes"]} == {
        name: ("Warm", len(FILES), size) for name in nodes}
    assert condition(cluster)["status"] == "True"
    # To be pasted into a pod, it selects exactly these nodes.
    terms = status["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [{"matchExpressions": [{"key": LABEL, "operator": "Exists"}]}]
    wait_for("labels", lambda: all(node.labels_now() == {LABEL: "warm"} for node in nodes.values()))
    assert LABEL not in cluster.get("/api/v1/nodes/hdd")["metadata"].get("labels", {})

    # A pod on such a node, in another namespace, reads all of it without a GET.
    cluster.claim("alice", "data", "millrace", **{"millrace.dev/dataset": "courses/iris"})
    wait_for("alice's claim is Bound", lambda: cluster.phase("alice", "data") == "Bound")
    store.clear_log()
    for node in nodes.values():
        target, volume = node.mount("alice", "data")
        check(read_all(target))
        node.plugin.unpublish(volume, target)
    assert gets(store) == 0

    wait_for("pods are deleted once they are done", lambda: not cluster.get("/api/v1/pods")["items"])
    cluster.call("DELETE", DATASET)
    wait_for("the Dataset is gone", lambda: cluster.get(DATASET) is None)
    assert all(node.labels_now() == {} for node in nodes.values())
    claims = cluster.get("/api/v1/namespaces/courses/persistentvolumeclaims")["items"]
    assert not [c for c in claims if "deletionTimestamp" not in c["metadata"]]
    left = lambda: [v for v in cluster.volumes() if v["metadata"]["name"].startswith("millrace-warm-")]
    try:
        wait_for("the volumes of warm-ups are gone", lambda: not left())
    except AssertionError:
        print(left(), cluster.get("/api/v1/namespaces/courses/persistentvolumeclaims"), cluster.controllers[0].output()[-3000:])
        raise


def test_V13_a_deletion_while_no_controller_runs_is_cleaned_up_later(cluster, store, nodes):
    dataset(cluster, store, {"replicas": 2})
    wait_warm(cluster, 2)
    cluster.controllers[0].kill()
    cluster.call("DELETE", DATASET)
    assert cluster.get(DATASET)["metadata"]["deletionTimestamp"]
    cluster.controller("--no-leader-election", "--no-probes")
    wait_for("the Dataset is gone", lambda: cluster.get(DATASET) is None)
    assert all(node.labels_now() == {} for node in nodes.values())


def test_V5_more_nodes_than_there_are_is_an_error(cluster, store, nodes):
    dataset(cluster, store, {"replicas": 3})
    status = wait_warm(cluster, 2, phase="Failed")
    assert condition(cluster)["reason"] == "TooFewNodes" and condition(cluster)["status"] == "False"
    assert "asks for 3 nodes, but only 2 match" in status["message"]
    cluster.patch(DATASET, {"spec": {"warm": {"replicas": 2}}})
    wait_warm(cluster, 2)


def test_V5_a_node_that_goes_is_replaced_and_is_not_needed_when_it_comes_back(cluster, store, nodes):
    dataset(cluster, store, {"replicas": 1})
    first = wait_warm(cluster, 1)["nodes"][0]["name"]
    nodes[first].leave()
    other = "n2" if first == "n1" else "n1"
    wait_for("the other takes its place", lambda: [n["name"] for n in warm(cluster).get("nodes", [])] == [other])
    wait_warm(cluster, 1)
    nodes[first].join()
    # Once the controller has seen the node, a change of the Dataset must not bring it back in.
    cluster.patch(DATASET, {"spec": {"warm": {"timeoutSeconds": 700}}})
    wait_warm(cluster, 1)
    assert nodes[first].labels_now() == {} and nodes[other].labels_now() == {LABEL: "warm"}


def test_V6_V4_patterns_are_on_as_many_nodes_as_they_say(cluster, store, nodes):
    dataset(cluster, store, {"distribution": {"train/*": 1, "test/*": 1}})
    status = wait_warm(cluster, 2)
    parts = {node["globs"][0]: (node["name"], node["objects"]) for node in status["nodes"]}
    assert parts["train/*"][1] == 12 and parts["test/*"][1] == 4 and parts["train/*"][0] != parts["test/*"][0]
    for share in status["shares"]:
        name = parts[share["glob"]][0]
        assert share["readyReplicas"] == 1 and nodes[name].labels_now() == {share["label"]: "warm"}
    # What is on a node is read there without S3; the rest streams.
    cluster.claim("alice", "data", "millrace", **{"millrace.dev/dataset": "courses/iris"})
    wait_for("alice's claim is Bound", lambda: cluster.phase("alice", "data") == "Bound")
    node = nodes[parts["test/*"][0]]
    target, volume = node.mount("alice", "data")
    store.clear_log()
    for name in [name for name in FILES if name.startswith("test/")]:
        assert (target / name).read_bytes() == generated(*FILES[name])
    assert gets(store) == 0
    check(read_all(target))
    assert gets(store) > 0
    node.plugin.unpublish(volume, target)


def test_V10_pods_start_before_the_data_is_there(cluster, store, nodes):
    store.options(latencyMs=1500)
    dataset(cluster, store, {"replicas": 1})
    node = wait_for("a node is chosen and labelled", lambda: next(
        (n for n in nodes.values() if n.labels_now() == {LABEL: "warming"}), None))
    assert warm(cluster)["phase"] != "Completed"
    cluster.claim("alice", "data", "millrace", **{"millrace.dev/dataset": "courses/iris"})
    wait_for("alice's claim is Bound", lambda: cluster.phase("alice", "data") == "Bound")
    target, volume = node.mount("alice", "data")
    assert (target / "test/0").read_bytes() == generated(*FILES["test/0"])
    store.options(latencyMs=0)
    wait_warm(cluster, 1)
    node.plugin.unpublish(volume, target)


def test_V2_a_failure_is_told_and_mended(cluster, store, nodes):
    store.fault(key="set/train/03", status=403, code="AccessDenied", count=-1)
    dataset(cluster, store, {"replicas": 1})
    status = wait_warm(cluster, 0, phase="Failed")
    assert "train/03" in status["nodes"][0]["message"]
    assert condition(cluster)["reason"] == "Failed"


def test_a_dataset_that_is_not_to_be_warm_any_more(cluster, store, nodes):
    dataset(cluster, store, {"replicas": 2})
    wait_warm(cluster, 2)
    cluster.patch(DATASET, {"spec": {"warm": None}})
    wait_for("nothing is left", lambda: not warm(cluster) and condition(cluster) is None)
    assert all(node.labels_now() == {} for node in nodes.values())
    wait_for("no finalizer", lambda: not cluster.get(DATASET)["metadata"].get("finalizers"))


def test_a_load_is_done_once(cluster, store, nodes):
    dataset(cluster, store)
    path = "/apis/millrace.dev/v1alpha1/namespaces/courses/datasetloads"
    cluster.post(path, {"metadata": {"name": "once"}, "spec": {
        "dataset": "iris", "globs": ["test/*"], "replicas": 2, "ttlSecondsAfterFinished": 3600}})
    done = wait_for("it is done", lambda: (load := cluster.get(f"{path}/once")).get("status", {}).get("phase") == "Completed"
                    and load, 90)
    assert [(node["phase"], node["objects"]) for node in done["status"]["nodes"]] == [("Warm", 4)] * 2
    assert all(node.labels_now() == {} for node in nodes.values())
    wait_for("its pods are deleted", lambda: not cluster.get("/api/v1/pods")["items"])
    cluster.call("DELETE", f"{path}/once")
    wait_for("its claim is deleted", lambda: not [
        c for c in cluster.get("/api/v1/namespaces/courses/persistentvolumeclaims")["items"]])
