"""A hub of workbenches: each user has a namespace, and all read the course's data without anyone copying it for them."""

import os

import grpc
import pytest

from chart import kinds, render
from controller import wait_for
from harness import within
from kube import needs_stand_in
from node_plugin import KEYS
from test_chain import cluster, devices, node, s3, source  # noqa: F401  pylint: disable=unused-import

pytestmark = needs_stand_in("its own kubelet mounts; this node isn't one of the cluster's")
CLAIM = "workbench-shared-data"


@pytest.fixture
def hub(cluster, s3):  # noqa: F811
    """A course whose data every namespace of a user gets."""
    cluster.controller("--no-leader-election", "--no-probes")
    cluster.secret("courses", "keys", KEYS)
    cluster.dataset("courses", "shared", source=source(s3.endpoint), secretRef={"name": "keys"}, publish={
        "namespaceSelector": {"matchLabels": {"hub": "user"}}, "claimName": CLAIM})
    return cluster


def test_W1_a_node_that_joins_needs_nothing_by_hand():
    for daemon in kinds(render({}), "DaemonSet"):
        spec = daemon["spec"]["template"]["spec"]
        assert {"operator": "Exists"} in spec["tolerations"] and "nodeSelector" not in spec


def test_W1_no_volume_is_tied_to_a_node_or_its_disk(hub):
    hub.namespace("alice", hub="user")
    spec = hub.bound("alice", CLAIM)["spec"]
    assert not {"hostPath", "local", "nfs", "nodeAffinity"} & set(spec) and spec["csi"]["driver"] == "s3.csi.millrace.dev"


def test_W2_W6_all_users_read_the_same_data_on_one_machine(hub, node, s3):  # noqa: F811
    users = ("alice", "bob", "carol")
    pods = []
    for name in users:
        hub.namespace(name, hub="user")
        hub.bound(name, CLAIM)
        pods.append(node.start(name, "workbench", CLAIM))
    for pod in pods:
        assert within(20, pod.path("05.csv").read_bytes) == b"row 5\n"
        assert len(within(20, os.listdir, pod.target)) == 20
    assert len({devices(node.plugin)[str(pod.target)] for pod in pods}) == 1
    for pod in pods:
        node.stop(pod)


def test_W3_a_users_namespace_gets_its_bound_claim_as_it_appears(hub):
    hub.namespace("staff")
    for number in range(20):
        hub.namespace(f"user-{number}", hub="user")
    for number in range(20):
        volume = hub.bound(f"user-{number}", CLAIM)
        assert volume["spec"]["claimRef"]["namespace"] == f"user-{number}"
    assert hub.found_claim("staff", CLAIM) is None
    # A claim that the hub itself made under that name is the hub's.
    hub.namespace("own")
    made = hub.claim("own", CLAIM, "standard")
    hub.patch("/api/v1/namespaces/own", {"metadata": {"labels": {"hub": "user"}}})
    wait_for("it is told", lambda: hub.conditions("courses", "shared").get("Published", {}).get("reason") == "NameTaken")
    assert hub.found_claim("own", CLAIM)["metadata"]["uid"] == made["metadata"]["uid"]


def test_W4_shared_data_cannot_be_written_by_users(hub, node):  # noqa: F811
    hub.namespace("alice", hub="user")
    hub.bound("alice", CLAIM)
    pod = node.start("alice", "workbench", CLAIM)
    with pytest.raises(OSError, match="Read-only file system"):
        within(20, pod.path("mine").write_bytes, b"x")
    node.stop(pod)


def test_W5_users_stay_apart(hub, node):  # noqa: F811
    for name in ("alice", "bob"):
        hub.namespace(name, hub="user")
        hub.bound(name, CLAIM)
        # Nothing but the claim comes into a user's namespace: no keys, no rights, no pod.
        for kind in ("secrets", "configmaps", "pods", "services"):
            assert not hub.get(f"/api/v1/namespaces/{name}/{kind}")["items"]
    alice, bob = (node.start(name, "workbench", CLAIM) for name in ("alice", "bob"))
    # A volume of Alice's serves no pod of another namespace, whoever asks for it.
    volume = hub.bound("alice", CLAIM)
    node.stop(alice)
    alice.namespace = "bob"
    with pytest.raises(grpc.RpcError) as caught:
        node.publish_volume(alice, volume)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    # One user's namespace goes; nobody else notices.
    hub.delete("/api/v1/namespaces/alice")
    wait_for("Alice is gone", lambda: hub.get("/api/v1/namespaces/alice") is None and len(hub.volumes()) == 1)
    assert within(20, bob.path("06.csv").read_bytes) == b"row 6\n"
    node.stop(bob)
