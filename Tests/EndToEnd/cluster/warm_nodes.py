"""Nodes of a cluster of kube-embedded: each has a real millrace-csi and runs the pods of warm-ups as local processes."""

import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "csi"))
from node_plugin import NodePlugin, context_of  # noqa: E402,F401

from controller import program  # noqa: E402


class WarmNode:
    """One node; use as a context manager. Pods that name it in their affinity are run here."""

    def __init__(self, cluster, name, number, labels=None, cache=True):
        self.cluster = cluster
        self.name = name
        self.address = f"127.0.1.{number}"
        self.labels = labels or {}
        self.cache = tempfile.mkdtemp(prefix=f"warm-node-{number}-")
        options = ["--cache-dir", self.cache, "--cache-size", "512M"] if cache else []
        self.plugin = NodePlugin(*options)
        self.running = {}
        self.problems = []
        self.stopping = threading.Event()

    def __enter__(self):
        self.plugin.start()
        self.join()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def join(self):
        """Says that the node is there."""
        self.cluster.post("/api/v1/nodes", {
            "metadata": {"name": self.name, "labels": self.labels},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"bootID": self.name}}})

    def leave(self):
        """The Node goes, and its pods with it; what is in its cache stays."""
        self.cluster.call("DELETE", f"/api/v1/nodes/{self.name}")
        for pod in self._mine():
            self.cluster.call("DELETE", self._path(pod))

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(60)
        for process, target, volume in self.running.values():
            process.kill()
            process.wait(30)
        self.plugin.tear_down()
        subprocess.run(["rm", "-rf", self.cache], check=False)
        assert not self.problems, self.problems

    def labels_now(self):
        node = self.cluster.get(f"/api/v1/nodes/{self.name}") or {"metadata": {}}
        return {k: v for k, v in node["metadata"].get("labels", {}).items() if k.startswith("warm.")}

    # Volumes

    def mount(self, namespace, claim, pod="reader"):
        """Publishes a claim's volume as for a pod; answers (target, volume)."""
        volume_name = self.cluster.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}")["spec"]["volumeName"]
        volume = self.cluster.get(f"/api/v1/persistentvolumes/{volume_name}")["spec"]
        csi = volume["csi"]
        secrets = {}
        if reference := csi.get("nodePublishSecretRef"):
            data = self.cluster.get(f"/api/v1/namespaces/{reference['namespace']}/secrets/{reference['name']}")["data"]
            secrets = {key: base64.b64decode(value).decode() for key, value in data.items()}
        target = self.plugin.target()
        self.plugin.publish(csi["volumeHandle"], target, {
            **csi["volumeAttributes"], "csi.storage.k8s.io/pod.name": pod, "csi.storage.k8s.io/pod.namespace": namespace,
            "csi.storage.k8s.io/pod.uid": "uid", "csi.storage.k8s.io/serviceAccount.name": "default"}, secrets)
        return target, csi["volumeHandle"]

    # Pods

    def _mine(self):
        pods = self.cluster.get("/api/v1/pods")["items"]
        return [pod for pod in pods if self._node(pod) == self.name]

    @staticmethod
    def _node(pod):
        try:
            affinity = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            return affinity["nodeSelectorTerms"][0]["matchFields"][0]["values"][0]
        except KeyError:
            return None

    @staticmethod
    def _path(pod):
        return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"

    def _run(self):
        while not self.stopping.is_set():
            try:
                self._look()
            except Exception as error:  # noqa: BLE001: told by the test that waits for what never comes
                self.problems.append(repr(error))
                time.sleep(0.5)
            self.stopping.wait(0.1)

    def _look(self):
        pods = {pod["metadata"]["uid"]: pod for pod in self._mine()}
        for uid, pod in pods.items():
            if uid not in self.running and pod["status"]["phase"] == "Pending":
                self._start(uid, pod)
        for uid in list(self.running):
            process, target, volume = self.running[uid]
            if uid not in pods:
                process.kill()
            if process.poll() is None:
                continue
            del self.running[uid]
            self.plugin.unpublish(volume, target)
            if uid in pods:
                self._ended(pods[uid], process)

    def _start(self, uid, pod):
        namespace = pod["metadata"]["namespace"]
        claim = pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
        if self.cluster.phase(namespace, claim) != "Bound":
            return
        target, volume = self.mount(namespace, claim, pod["metadata"]["name"])
        container = pod["spec"]["containers"][0]
        log = tempfile.NamedTemporaryFile(prefix="termination-")
        words = {"millrace": program("millrace"), "/data": str(target), "/dev/termination-log": log.name,
                 "0.0.0.0:8090": f"{self.address}:8090"}
        command = [words.get(word, word) for word in container["command"]]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process.log = log
        self.running[uid] = (process, target, volume)
        self._patch(pod, {"phase": "Running", "podIP": self.address, "containerStatuses": [
            {"name": container["name"], "restartCount": 0, "state": {"running": {}}}]})

    def _ended(self, pod, process):
        message = pathlib.Path(process.log.name).read_text()
        self._patch(pod, {
            "phase": "Failed" if process.returncode else "Succeeded",
            "containerStatuses": [{"name": "warm", "restartCount": 0, "state": {
                "terminated": {"exitCode": process.returncode, "message": message}}}]})

    def _patch(self, pod, status):
        self.cluster.patch(self._path(pod) + "/status", {"status": status})


def read_all(target):
    """Every file's bytes by its path, not from the kernel's caches."""
    found = {}
    for directory, _, names in os.walk(target):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                found[os.path.relpath(path, target)] = file.read()
    return found


def dump(cluster):
    """What a failed test wants to show."""
    return json.dumps([cluster.get("/api/v1/pods"), cluster.get("/apis/millrace.dev/v1alpha1/datasets")], indent=1)[-6000:]
