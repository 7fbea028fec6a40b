"""What a kubelet does with a pod's claims, with the node plugin under test: a node without containers."""

import base64
import json
import pathlib

import grpc

from controller import wait_for
from node_plugin import csi

MODES = {
    "ReadOnlyMany": csi.VolumeCapability.AccessMode.MULTI_NODE_READER_ONLY,
    "ReadWriteOnce": csi.VolumeCapability.AccessMode.SINGLE_NODE_WRITER,
    "ReadWriteMany": csi.VolumeCapability.AccessMode.MULTI_NODE_MULTI_WRITER,
}


class NotMounted(Exception):
    """Why the kubelet itself doesn't even ask the plugin."""


class Pod:
    def __init__(self, namespace, name, uid, claim, read_only):
        self.namespace, self.name, self.uid, self.claim, self.read_only = namespace, name, uid, claim, read_only
        self.volume_id = None
        self.target = None

    def path(self, *parts) -> pathlib.Path:
        return self.target.joinpath(*parts)


class Kubelet:
    """One node's. Calls are made as a kubelet of 1.36 was seen to make them."""

    def __init__(self, cluster, plugin):
        self.cluster = cluster
        self.plugin = plugin

    def start(self, namespace, name, claim, read_only=False) -> Pod:
        """Makes a pod of one claim and mounts it."""
        made = self.cluster.post(f"/api/v1/namespaces/{namespace}/pods", {
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "none"}], "nodeName": "node-1", "volumes": [
                {"name": "v", "persistentVolumeClaim": {"claimName": claim, "readOnly": read_only}}]}})
        pod = Pod(namespace, name, made["metadata"]["uid"], claim, read_only)
        try:
            self.publish(pod)
        except Exception:
            self.forget(pod)
            raise
        return pod

    def publish(self, pod):
        """The first mount, or the one that is repeated every 20 s while the pod lives."""
        claim = self.cluster.found_claim(pod.namespace, pod.claim)
        if pod.target is None and claim["status"]["phase"] != "Bound":
            raise NotMounted(f"PVC {pod.claim} is {claim['status']['phase']}")
        volume = self.cluster.get(f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}")
        if volume is None or volume["spec"]["claimRef"]["uid"] != claim["metadata"]["uid"]:
            raise NotMounted("the volume isn't there or is another claim's")
        self.publish_volume(pod, volume)

    def publish_volume(self, pod, volume):
        """NodePublishVolume with what this volume says."""
        spec, source = volume["spec"], volume["spec"]["csi"]
        driver = self.cluster.get(f"/apis/storage.k8s.io/v1/csidrivers/{source['driver']}")["spec"]
        context = dict(source.get("volumeAttributes", {}))
        if driver["podInfoOnMount"]:
            context |= {
                "csi.storage.k8s.io/ephemeral": "false", "csi.storage.k8s.io/pod.name": pod.name,
                "csi.storage.k8s.io/pod.namespace": pod.namespace, "csi.storage.k8s.io/pod.uid": pod.uid,
                "csi.storage.k8s.io/serviceAccount.name": "default"}
        secrets = self._secrets(source.get("nodePublishSecretRef"))
        tokens = {request["audience"]: {"token": f"{pod.namespace}-token", "expirationTimestamp": "2100-01-01T00:00:00Z"}
                  for request in driver.get("tokenRequests", [])}
        if tokens:
            place = secrets if driver.get("serviceAccountTokenInSecrets") else context
            place["csi.storage.k8s.io/serviceAccount.tokens"] = json.dumps(tokens)
        target = self.plugin.pods / pod.uid / "volumes" / "kubernetes.io~csi" / volume["metadata"]["name"] / "mount"
        target.parent.mkdir(parents=True, exist_ok=True)
        capability = csi.VolumeCapability(
            mount=csi.VolumeCapability.MountVolume(mount_flags=spec.get("mountOptions", [])),
            access_mode=csi.VolumeCapability.AccessMode(mode=MODES[spec["accessModes"][0]]))
        self.plugin.publish(
            source["volumeHandle"], target, context, secrets, volume_capability=capability, readonly=pod.read_only)
        pod.volume_id, pod.target = source["volumeHandle"], target

    def _secrets(self, reference):
        if not reference:
            return {}
        secret = self.cluster.get(f"/api/v1/namespaces/{reference['namespace']}/secrets/{reference['name']}")
        if secret is None:
            raise NotMounted(f"secret {reference['name']} not found")
        return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}

    def stop(self, pod):
        """The pod ends: its mount goes first, then its object."""
        self.plugin.unpublish(pod.volume_id, pod.target)
        assert not pod.target.exists()
        self.forget(pod)

    def forget(self, pod):
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
        self.cluster.delete(path)
        wait_for("the pod is gone", lambda: self.cluster.get(path) is None)

    def refusal(self, *arguments, **options) -> str:
        """Why a pod can't start; fails where it can."""
        try:
            pod = self.start(*arguments, **options)
        except NotMounted as error:
            return str(error)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        self.stop(pod)
        raise AssertionError(f"the pod was started: {arguments}")
