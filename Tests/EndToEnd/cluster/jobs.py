"""A Job controller, a provisioner and a kubelet for imports: Jobs' containers run as processes of this machine.

Volumes are directories; a pod's address is one of its own in 127.0.0.0/8, where its progress is served.
"""

import base64
import os
import pathlib
import re
import shutil
import subprocess
import threading

from controller import program

ADDRESSES = iter(f"127.{77 + n // 60000}.{n // 250 % 240}.{n % 250 + 1}" for n in range(100000))


def millrace():
    return os.environ.get("MILLRACE_BIN") or program("millrace")


class Jobs:
    """Runs until `stop`. `volumes`: where the directories of volumes are made."""

    def __init__(self, cluster, volumes):
        self.cluster = cluster
        self.volumes = pathlib.Path(volumes)
        self.processes = {}
        self.failed = {}
        self.started = 0
        self.error = None
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stop(self):
        self.is_over.set()
        self.thread.join(30)
        for pod in self.processes.values():
            pod["child"].kill()
            pod["child"].wait(10)
        if self.error:
            raise self.error

    def directory(self, namespace, claim):
        """Of the volume that a claim is bound to."""
        found = self.cluster.found_claim(namespace, claim)
        volume = self.cluster.get(f"/api/v1/persistentvolumes/{found['spec']['volumeName']}")
        return pathlib.Path(volume["spec"]["hostPath"]["path"])

    def children(self):
        return [pod["child"] for pod in list(self.processes.values()) if pod["child"].poll() is None]

    def _run(self):
        try:
            while not self.is_over.wait(0.05):
                self._provision()
                jobs = self.cluster.get("/apis/batch/v1/jobs")["items"]
                for job in jobs:
                    self._look(job)
                self._end_orphans({job["metadata"]["uid"] for job in jobs})
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def _provision(self):
        classes = {c["metadata"]["name"]: c for c in self.cluster.get("/apis/storage.k8s.io/v1/storageclasses")["items"]}
        for claim in self.cluster.get("/api/v1/persistentvolumeclaims")["items"]:
            spec, metadata = claim["spec"], claim["metadata"]
            storage_class = classes.get(spec.get("storageClassName"))
            if spec.get("volumeName") or spec.get("dataSourceRef") or not storage_class:
                continue
            if storage_class["provisioner"] != "disk.example":
                continue
            node = metadata.get("annotations", {}).get("volume.kubernetes.io/selected-node")
            if storage_class["volumeBindingMode"] == "WaitForFirstConsumer" and not node:
                continue
            name = f"pv-{metadata['uid']}"
            if self.cluster.get(f"/api/v1/persistentvolumes/{name}"):
                continue
            path = self.volumes / name
            original = spec.get("dataSource", {})
            if original.get("kind") == "PersistentVolumeClaim":
                # As a driver that can clone does it.
                shutil.copytree(self.directory(metadata["namespace"], original["name"]), path)
            else:
                path.mkdir()
            self.cluster.post("/api/v1/persistentvolumes", {
                "metadata": {"name": name},
                "spec": {"capacity": spec["resources"]["requests"], "accessModes": spec["accessModes"],
                         "storageClassName": spec["storageClassName"], "hostPath": {"path": str(path)},
                         "persistentVolumeReclaimPolicy": "Delete",
                         "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": metadata["name"],
                                      "namespace": metadata["namespace"], "uid": metadata["uid"]}}})

    def _look(self, job):
        metadata, status = job["metadata"], job.get("status", {})
        if metadata.get("deletionTimestamp") or any(c["status"] == "True" for c in status.get("conditions", [])):
            return
        pod = self.processes.get(metadata["uid"])
        if pod is None:
            self._start(job)
        elif pod["child"].poll() is not None:
            self._ended(job, pod)

    def _secret(self, namespace, name):
        found = self.cluster.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
        return {key: base64.b64decode(value) for key, value in found.get("data", {}).items()}

    def _start(self, job):
        metadata, template = job["metadata"], job["spec"]["template"]
        namespace, spec = metadata["namespace"], job["spec"]["template"]["spec"]
        container = spec["containers"][0]
        places = {}
        for volume in spec["volumes"]:
            mount = next(m for m in container["volumeMounts"] if m["name"] == volume["name"])["mountPath"]
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                found = self.cluster.found_claim(namespace, claim)
                if not found or not found["spec"].get("volumeName"):
                    # The pod is the first consumer: its node is chosen, and the volume made for it.
                    if found and not found["metadata"].get("annotations", {}).get("volume.kubernetes.io/selected-node"):
                        self.cluster.patch(
                            f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}",
                            {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node1"}}})
                    return
                places[mount] = self.directory(namespace, claim)
                continue
            if "secret" in volume:
                files = self._secret(namespace, volume["secret"]["secretName"])
            else:
                config = self.cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/{volume['configMap']['name']}")
                files = {key: value.encode() for key, value in config["data"].items()}
            places[mount] = self.volumes / f"files-{metadata['uid']}-{volume['name']}"
            places[mount].mkdir(exist_ok=True)
            for key, data in files.items():
                (places[mount] / key).write_bytes(data)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "IMPORTER_"))}
        for variable in container["env"]:
            if "value" in variable:
                environment[variable["name"]] = variable["value"]
                continue
            reference = variable["valueFrom"]["secretKeyRef"]
            value = self._secret(namespace, reference["name"]).get(reference["key"])
            assert value is not None or reference.get("optional"), reference
            if value is not None:
                environment[variable["name"]] = value.decode()
        self.started += 1
        address, name = next(ADDRESSES), f"{metadata['name']}-{self.started}"
        result = self.volumes / f"result-{name}"

        def here(argument):
            for mount, place in places.items():
                # At the beginning, or as an option's value: a bucket may be called data as well.
                argument = re.sub(rf"(^|=){re.escape(mount)}(?=/|$)", lambda found: found[1] + str(place), argument)
            return argument.replace("0.0.0.0", address).replace("/dev/termination-log", str(result))

        arguments = [millrace(), *container["command"][1:], *map(here, container["args"])]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
        self.cluster.post(f"/api/v1/namespaces/{namespace}/pods", {
            "metadata": {"name": name, "labels": template["metadata"]["labels"], "ownerReferences": [owner]},
            "spec": spec, "status": {"phase": "Running", "podIP": address}})
        log = open(self.volumes / f"log-{name}", "wb")
        child = subprocess.Popen(arguments, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes[metadata["uid"]] = {"child": child, "name": name, "namespace": namespace, "result": result}

    def _ended(self, job, pod):
        metadata, spec = job["metadata"], job["spec"]
        code = pod["child"].returncode
        message = pod["result"].read_text() if pod["result"].exists() else ""
        base = f"/api/v1/namespaces/{pod['namespace']}/pods/{pod['name']}"
        self.cluster.patch(f"{base}/status", {"status": {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": "copy", "state": {"terminated": {"exitCode": code, "message": message}}}]}})
        failed = self.failed.get(metadata["uid"], 0) + bool(code)
        self.failed[metadata["uid"]] = failed
        status = {"failed": failed}
        final = code in spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"]
        if code == 0:
            status["conditions"] = [{"type": "Complete", "status": "True"}]
        elif final or failed > spec["backoffLimit"]:
            reason = "PodFailurePolicy" if final else "BackoffLimitExceeded"
            status["conditions"] = [{"type": "Failed", "status": "True", "reason": reason}]
        del self.processes[metadata["uid"]]
        self.cluster.patch(f"/apis/batch/v1/namespaces/{pod['namespace']}/jobs/{metadata['name']}/status", {"status": status})

    def _end_orphans(self, uids):
        for uid in [uid for uid in self.processes if uid not in uids]:
            pod = self.processes.pop(uid)
            pod["child"].kill()
            pod["child"].wait(10)
