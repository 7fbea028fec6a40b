"""Kubeconfigs against an API server behind TLS that asks for client certificates."""

import pytest

from controller import wait_for
from harness.servers import certificate_authority
from kube import Cluster, needs_stand_in
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


def test_a_cluster_of_a_kubeconfig_is_left_as_it_was(cluster, front, tmp_path):
    """What these tests do where MILLRACE_TEST_KUBECONFIG is set."""
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
