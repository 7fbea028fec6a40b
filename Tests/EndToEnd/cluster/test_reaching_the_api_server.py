"""Kubeconfigs against an API server behind TLS that asks for client certificates."""

import os

import pytest

from controller import Process, program, wait_for
from harness.servers import certificate_authority
from kube import Cluster, named_cluster, needs_stand_in
from tls_front import TLSFront

pytestmark = needs_stand_in("it needs an API server of its own, with certificates of its own")


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.namespace("alice")
    cluster.storage_class("public", bucket="data", anonymous="true")
    yield cluster
    cluster.stop()


@pytest.fixture
def front(cluster, tmp_path):
    (tmp_path / "tls").mkdir()
    front = TLSFront(cluster.url, tmp_path / "tls")
    yield front
    front.stop()


def start(cluster, kubeconfig):
    cluster.kubeconfig = kubeconfig
    return cluster.controller("--no-leader-election", "--no-probes")


@pytest.mark.parametrize("inline", [False, True])
def test_a_client_certificate_opens_the_door(cluster, front, inline):
    start(cluster, front.kubeconfig(inline=inline))
    cluster.claim("alice", "c", "public")
    cluster.bound("alice", "c")
    assert set(front.subjects) == {"controller"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can put a service account where a pod has it")
def test_in_a_pod_its_service_account_opens_the_door_also_after_its_token_rotated(cluster, tmp_path):
    (tmp_path / "tls").mkdir()
    account = tmp_path / "account"
    account.mkdir()
    front = TLSFront(cluster.url, tmp_path / "tls", tokens={"first-token"})
    (account / "ca.crt").write_bytes(front.ca.read_bytes())
    (account / "token").write_text("first-token")
    (account / "namespace").write_text("alice")
    place = "/run/secrets/kubernetes.io"
    host, port = front.url.removeprefix("https://").split(":")
    pod = Process(
        ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none /run && mkdir -p {place} && ln -s "$0" {place}/serviceaccount && exec "$@"',
         str(account), program("millrace-controller"), "--no-probes"],
        {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port})
    cluster.controllers.append(pod)
    cluster.claim("alice", "c", "public")
    cluster.bound("alice", "c")
    # Its Lease is in the pod's own namespace.
    assert cluster.get("/apis/coordination.k8s.io/v1/namespaces/alice/leases/millrace-controller")
    # The kubelet writes a new token, and the server stops taking the old one.
    (account / "token").write_text("second-token\n")
    front.tokens = {"second-token"}
    front.drop()
    cluster.claim("alice", "d", "public")
    cluster.bound("alice", "d")
    assert set(front.seen_tokens) == {"first-token", "second-token"} and pod.child.poll() is None
    assert "-token" not in pod.output()
    front.stop()


def test_without_a_certificate_it_says_so_and_goes_on_trying(cluster, front):
    controller = start(cluster, front.kubeconfig(token="not-a-certificate"))
    wait_for("it says why", lambda: "certificate required" in controller.output().lower())
    assert controller.child.poll() is None and not front.subjects
    assert "not-a-certificate" not in controller.output()


def test_a_server_of_another_authority_is_not_trusted(cluster, front, tmp_path):
    (tmp_path / "other").mkdir()
    other = certificate_authority(tmp_path / "other")[0]
    controller = start(cluster, front.kubeconfig(ca=other))
    wait_for("it says why", lambda: "certificate" in controller.output().lower())
    assert not front.subjects


@pytest.mark.parametrize("user, words", [
    ({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "aws"}}, "needs a plugin"),
    ({"auth-provider": {"name": "gcp"}}, "needs a plugin"),
    ({"client-certificate": "nowhere.pem", "client-key": "nowhere.key"}, "nowhere.pem can't be read"),
    ({"client-certificate-data": "%%%"}, "isn't base64")])
def test_what_cannot_be_used_is_refused_at_once(cluster, front, user, words):
    controller = start(cluster, front.kubeconfig(**user))
    assert controller.child.wait(30) == 1
    assert words in controller.output()


def test_a_real_cluster_is_used_only_where_that_is_meant(tmp_path):
    file = tmp_path / "config"
    file.write_text("{}")
    assert named_cluster({}) is None and named_cluster({"KUBECONFIG": str(file)}) is None
    assert named_cluster({"MILLRACE_TEST_KUBECONFIG": str(file)}) == str(file)
    assert named_cluster({"KUBECONFIG": str(file), "MILLRACE_TEST_REAL_CLUSTER": "1"}) == str(file)
    for wrong in ({"MILLRACE_TEST_REAL_CLUSTER": "1"}, {"MILLRACE_TEST_KUBECONFIG": "/nowhere"}):
        with pytest.raises(pytest.UsageError):
            named_cluster(wrong)


def test_a_cluster_of_a_kubeconfig_is_left_as_it_was(cluster, front, tmp_path):
    """What these tests do on a real cluster."""
    before = {kind: [o["metadata"]["name"] for o in cluster.get(kind)["items"]] for kind in (
        "/api/v1/namespaces", "/apis/storage.k8s.io/v1/storageclasses", "/api/v1/persistentvolumes")}
    given = Cluster(tmp_path, kubeconfig=front.kubeconfig(inline=True))
    assert given.is_real and given.process is None
    given.namespace("courses")
    given.namespace("bob")
    given.storage_class("millrace", datasetAnnotation="true")
    given.dataset("courses", "iris", allowedNamespaces={"from": "All"})
    given.claim("bob", "data", "millrace", **{"millrace.dev/dataset": "courses/iris"})
    controller = given.controller("--no-leader-election", "--no-probes")
    given.bound("bob", "data")
    controller.kill()
    given.stop()
    assert before == {kind: [o["metadata"]["name"] for o in cluster.get(kind)["items"]] for kind in before}
