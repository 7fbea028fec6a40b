"""A cluster to test in: kube-embedded, or a real one.

The real one is named by MILLRACE_TEST_KUBECONFIG, or by KUBECONFIG where MILLRACE_TEST_REAL_CLUSTER=1 says that this is
meant: who happens to have a KUBECONFIG needn't want tests there. It must not run millrace's controller already. What a
test makes there, namespaces first, is deleted after it.
"""

import base64
import json
import os
import pathlib
import ssl
import tempfile
import urllib.error
import urllib.request

import pytest
import yaml

from controller import ROOT, Process, program, wait_for

DATASETS = "/apis/millrace.dev/v1alpha1/namespaces/{}/datasets"


def named_cluster(environment):
    """The kubeconfig of the real cluster to test in; None for a stand-in."""
    named = environment.get("MILLRACE_TEST_KUBECONFIG")
    if not named and environment.get("MILLRACE_TEST_REAL_CLUSTER") == "1":
        named = environment.get("KUBECONFIG")
        if not named:
            raise pytest.UsageError("MILLRACE_TEST_REAL_CLUSTER=1 needs KUBECONFIG to name the cluster")
    if named and not pathlib.Path(named).is_file():
        raise pytest.UsageError(f"kubeconfig {named} isn't there; a real cluster is named by one file")
    return named or None


REAL = named_cluster(os.environ)


def needs_stand_in(why):
    """Marks a test that can't run on a real cluster, with the reason that a run prints."""
    return pytest.mark.skipif(bool(REAL), reason=f"not on a real cluster: {why}")


class Connection:
    """How to reach the API server of a kubeconfig's current context."""

    def __init__(self, path):
        self.directory = pathlib.Path(path).resolve().parent
        config = yaml.safe_load(pathlib.Path(path).read_text())
        named = lambda kind, name: next(e[kind] for e in config[f"{kind}s"] if e["name"] == name)
        context = named("context", config["current-context"])
        cluster = named("cluster", context["cluster"])
        user = named("user", context["user"]) if context.get("user") else {}
        self.url = cluster["server"].rstrip("/")
        self.headers = {}
        self.tls = None
        if "token" in user:
            self.headers["Authorization"] = f"Bearer {user['token']}"
        if self.url.startswith("https"):
            self.tls = ssl.create_default_context(cadata=self._pem(cluster, "certificate-authority"))
            if cluster.get("insecure-skip-tls-verify"):
                self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
            certificate, key = self._pem(user, "client-certificate"), self._pem(user, "client-key")
            if certificate:
                with tempfile.NamedTemporaryFile("w") as file:
                    file.write(certificate + "\n" + key)
                    file.flush()
                    self.tls.load_cert_chain(file.name)

    def _pem(self, holder, name):
        if f"{name}-data" in holder:
            return base64.b64decode(holder[f"{name}-data"]).decode()
        return (self.directory / holder[name]).read_text() if name in holder else None

    def open(self, method, path, body=None, content="application/json", seconds=30):
        """The open answer; raises HTTPError for what the server refuses."""
        request = urllib.request.Request(
            self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": content, **self.headers})
        return urllib.request.urlopen(request, timeout=seconds, context=self.tls)

    def call(self, *request):
        with self.open(*request) as answer:
            return json.load(answer)

    def ask(self, *request):
        """The status and the answer, also of a refusal."""
        try:
            with self.open(*request) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


class Cluster:
    """A cluster with the chart's CRDs, and calls to it. `kubeconfig`: of one that runs; else kube-embedded is started."""

    def __init__(self, directory, kubeconfig=REAL):
        self.controllers = []
        self.made = []
        self.is_real = bool(kubeconfig)
        self.process = None
        self.kubeconfig = kubeconfig or str(directory / "kubeconfig")
        if not self.is_real:
            self.process = Process([program("kube-embedded"), "--kubeconfig", self.kubeconfig])
            self.process.child.stdout.readline()
        self.connection = Connection(self.kubeconfig)
        self.url = self.connection.url
        for file in sorted((ROOT / "charts/millrace/files").glob("*.yaml")):
            for crd in yaml.safe_load_all(file.read_text()):
                self.define(crd)

    def define(self, crd):
        """Installs a CRD, or the newer state of one that is there."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        if self.get(f"{path}/{crd['metadata']['name']}") is None:
            self.post(path, crd)
        else:
            self.patch(f"{path}/{crd['metadata']['name']}", crd)
        established = lambda: any(
            c["type"] == "Established" and c["status"] == "True"
            for c in self.get(f"{path}/{crd['metadata']['name']}")["status"].get("conditions") or [])
        wait_for(f"CRD {crd['metadata']['name']} is established", established)

    # Calls

    def call(self, method, path, body=None, content="application/json"):
        return self.connection.call(method, path, body, content)

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

    def delete(self, path):
        return self.call("DELETE", path)

    # Objects

    def _keep_in_mind(self, path, name):
        self.made.append(f"{path}/{name}")

    def namespace(self, name, **labels):
        self.post("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        self._keep_in_mind("/api/v1/namespaces", name)

    def storage_class(self, name, binding="Immediate", **parameters):
        path = "/apis/storage.k8s.io/v1/storageclasses"
        self.post(path, {
            "metadata": {"name": name}, "provisioner": "s3.csi.millrace.dev", "parameters": parameters,
            "volumeBindingMode": binding})
        self._keep_in_mind(path, name)

    def apply(self, path, manifest):
        """A cluster-wide object of the chart."""
        self.post(path, manifest)
        self._keep_in_mind(path, manifest["metadata"]["name"])

    def dataset(self, namespace, name, **spec):
        spec.setdefault("source", {"s3": {"bucket": "data", "anonymous": True, "endpoint": "http://127.0.0.1:1"}})
        return self.post(DATASETS.format(namespace), {
            "apiVersion": "millrace.dev/v1alpha1", "kind": "Dataset", "metadata": {"name": name}, "spec": spec})

    def conditions(self, namespace, name):
        """A Dataset's conditions by type."""
        dataset = self.get(f"{DATASETS.format(namespace)}/{name}")
        return {c["type"]: c for c in (dataset or {}).get("status", {}).get("conditions", [])}

    def secret(self, namespace, name, data):
        self.post(f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": name}, "stringData": data})

    def claim(self, namespace, name, storage_class, mode="ReadOnlyMany", **annotations):
        return self.post(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", {
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"storageClassName": storage_class, "accessModes": [mode],
                     "resources": {"requests": {"storage": "1Gi"}}}})

    def found_claim(self, namespace, name):
        return self.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")

    def phase(self, namespace, name):
        claim = self.found_claim(namespace, name)
        return claim and claim["status"]["phase"]

    def bound(self, namespace, name):
        wait_for(f"claim {namespace}/{name} is Bound", lambda: self.phase(namespace, name) == "Bound")
        return self.get(f"/api/v1/persistentvolumes/{self.found_claim(namespace, name)['spec']['volumeName']}")

    def volumes(self):
        """The volumes of our driver."""
        items = self.get("/api/v1/persistentvolumes")["items"]
        return [v for v in items if v["spec"].get("csi", {}).get("driver") == "s3.csi.millrace.dev"]

    def events(self, namespace, name):
        items = self.get(f"/api/v1/namespaces/{namespace}/events")["items"]
        return [e for e in items if e["involvedObject"].get("name") == name and e["reason"] != "ExternalProvisioning"]

    # Processes

    def controller(self, *more, environment=None):
        self.controllers.append(Process(
            [program("millrace-controller"), "--kubeconfig", self.kubeconfig, "--lease-namespace", "default", *more],
            environment))
        return self.controllers[-1]

    def stop(self):
        """Also what a failed test left running. On a real cluster what was made is deleted while a controller runs, as
        volumes are its to delete."""
        if self.is_real and self.made:
            sweeper = self.controller("--no-leader-election", "--no-probes")
            for path in reversed(self.made):
                if self.get(path):
                    self.delete(path)
            wait_for("all that was made is gone", lambda: not any(self.get(path) for path in self.made), 180)
            wait_for("no volume is left", lambda: not self.volumes(), 60)
            sweeper.kill()
        for process in [*self.controllers, *([self.process] if self.process else [])]:
            if process.child.poll() is None:
                process.kill()
            process.child.stdout.close()
