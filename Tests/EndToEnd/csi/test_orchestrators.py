"""The calls of those who drive a node plugin, in their order: a kubelet, its sidecars, Nomad, Swarm, csi-sanity."""

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from harness import eventually, within
from node_plugin import KEYS, NodePlugin, capability, context_of, csi, csi_grpc
from test_publish import refused

sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))
MODES = csi.VolumeCapability.AccessMode


def one_call(plugin, method, request):
    """On a connection of its own, as sidecars do it."""
    with grpc.insecure_channel(f"unix://{plugin.endpoint}") as channel:
        service = csi_grpc.NodeStub if method.startswith("Node") else csi_grpc.IdentityStub
        return getattr(service(channel), method)(request, timeout=10)


def test_it_works_alone_with_nothing_around_it(server):
    """No kubelet, no environment, no programs on the path: it starts an engine and a keeper itself."""
    with NodePlugin(environment={}) as plugin:
        target = plugin.target()
        plugin.publish("pv", target, context_of(server, "set/"), KEYS)
        assert within(20, (target / "file-007").read_bytes) == b"content of 7\n"
        for child in ("engine", "keeper"):
            assert plugin.pid_of(child)
        plugin.unpublish("pv", target)
        assert not plugin.mounts()


def test_a_kubelets_day(plugin, server):
    """Capabilities several times, a publish, republishes by others' rhythm, stats, the pod's end."""
    target = plugin.target()
    context = context_of(server, "set/", **{
        "csi.storage.k8s.io/serviceAccount.tokens": '{"sts.amazonaws.com": {"token": "t", "expirationTimestamp": "x"}}'})
    for _ in range(4):
        plugin.node.NodeGetCapabilities(csi.NodeGetCapabilitiesRequest(), timeout=10)
    plugin.publish("pv-day", target, context, KEYS)
    assert within(20, (target / "file-001").read_bytes) == b"content of 1\n"
    for number in range(5):
        plugin.node.NodeGetCapabilities(csi.NodeGetCapabilitiesRequest(), timeout=10)
        plugin.publish("pv-day", target, {**context, "csi.storage.k8s.io/pod.uid": "uid"}, KEYS, readonly=number % 2 == 0)
        plugin.stats("pv-day", target)
    assert len([m for m in plugin.mounts() if m[0] == str(target)]) == 1
    plugin.unpublish("pv-day", target)
    assert not target.exists() and not plugin.mounts()


def test_the_registrar_and_livenessprobe_sidecars(own_plugin):
    """Without a registration socket of ours: the registrar asks for the name and serves the kubelet itself, which then
    calls NodeGetInfo; livenessprobe asks for the name once and Probe again and again."""
    assert not own_plugin.registration.exists()
    assert one_call(own_plugin, "GetPluginInfo", csi.GetPluginInfoRequest()).name == "s3.csi.millrace.dev"
    assert one_call(own_plugin, "NodeGetInfo", csi.NodeGetInfoRequest()).node_id == "node-1"
    for _ in range(20):
        assert one_call(own_plugin, "Probe", csi.ProbeRequest()).ready.value
    own_plugin.kill("engine")
    eventually(lambda: one_call(own_plugin, "Probe", csi.ProbeRequest()).ready.value, 60, "Probe says ready again")


def test_nomads_order(server):
    with NodePlugin("--node-only") as plugin:
        nomad(plugin, server)


def nomad(plugin, server):
    """Nomad's client: fingerprint (Probe, GetPluginInfo, GetPluginCapabilities, NodeGetInfo, NodeGetCapabilities), Probe
    every 30 s, then for a task NodePublish into a directory that it has made, without a pod's names, and NodeUnpublish,
    after which it removes what is left."""
    for _ in range(2):
        assert one_call(plugin, "Probe", csi.ProbeRequest()).ready.value
    one_call(plugin, "GetPluginInfo", csi.GetPluginInfoRequest())
    assert not one_call(plugin, "GetPluginCapabilities", csi.GetPluginCapabilitiesRequest()).capabilities
    assert one_call(plugin, "NodeGetInfo", csi.NodeGetInfoRequest()).max_volumes_per_node == 0
    kinds = csi.NodeServiceCapability.RPC
    answer = one_call(plugin, "NodeGetCapabilities", csi.NodeGetCapabilitiesRequest())
    assert kinds.STAGE_UNSTAGE_VOLUME not in {c.rpc.type for c in answer.capabilities}

    target = plugin.directory / "per-alloc" / "0f0c9e4e" / "corpus" / "ro-file-system-multi-node-reader-only"
    target.mkdir(parents=True, mode=0o700)
    context = {"endpoint": server.endpoint, "bucket": server.bucket, "prefix": "set", "pathStyle": "true"}
    plugin.publish("corpus", target, context, KEYS, readonly=True, publish_context={})
    assert within(20, (target / "file-003").read_bytes) == b"content of 3\n"
    granted = {**context, "millrace.dev/allowedNamespaces": "team-a"}
    refused(grpc.StatusCode.PERMISSION_DENIED, plugin.publish, "granted", plugin.target(), granted, KEYS)
    plugin.unpublish("corpus", target)
    shutil.rmtree(plugin.directory / "per-alloc")
    plugin.unpublish("corpus", target)
    assert not plugin.mounts()


def test_swarms_order(own_plugin, server):
    """Swarm has one plugin for all: its manager asks for the capabilities of both services and makes the volume; its agent
    calls NodeGetInfo at the plugin's start, NodeGetCapabilities (no staging), NodePublish below its own directory with the
    context that the controller gave, NodeUnpublish; then the manager deletes the volume."""
    plugin, controller = own_plugin, csi_grpc.ControllerStub(own_plugin.channel)
    one_call(plugin, "GetPluginInfo", csi.GetPluginInfoRequest())
    services = one_call(plugin, "GetPluginCapabilities", csi.GetPluginCapabilitiesRequest()).capabilities
    assert [s.service.type for s in services] == [csi.PluginCapability.Service.CONTROLLER_SERVICE]
    kinds = csi.ControllerServiceCapability.RPC
    offered = {c.rpc.type for c in controller.ControllerGetCapabilities(
        csi.ControllerGetCapabilitiesRequest(), timeout=10).capabilities}
    assert kinds.CREATE_DELETE_VOLUME in offered and kinds.PUBLISH_UNPUBLISH_VOLUME not in offered
    mode = capability(mode=MODES.MULTI_NODE_READER_ONLY)
    volume = controller.CreateVolume(
        csi.CreateVolumeRequest(
            name="corpus", volume_capabilities=[mode], secrets=KEYS,
            parameters={"endpoint": server.endpoint, "bucket": server.bucket, "prefix": "set/", "pathStyle": "true"}),
        timeout=10).volume
    assert plugin.node.NodeGetInfo(csi.NodeGetInfoRequest(), timeout=10).node_id
    plugin.node.NodeGetCapabilities(csi.NodeGetCapabilitiesRequest(), timeout=10)
    published = plugin.directory / "data" / "published"
    published.mkdir(parents=True, exist_ok=True)
    target = published / "mr5yl5sbs3"
    plugin.publish(volume.volume_id, target, dict(volume.volume_context), KEYS, volume_capability=mode)
    assert within(20, (target / "file-004").read_bytes) == b"content of 4\n"
    plugin.unpublish(volume.volume_id, target)
    assert list(published.iterdir()) == [] and not plugin.mounts()
    # Its id is known to the plugin after a restart, too.
    plugin.restart()
    controller = csi_grpc.ControllerStub(plugin.channel)
    controller.ValidateVolumeCapabilities(
        csi.ValidateVolumeCapabilitiesRequest(volume_id=volume.volume_id, volume_capabilities=[mode]), timeout=10)
    controller.DeleteVolume(csi.DeleteVolumeRequest(volume_id=volume.volume_id), timeout=10)


def test_csi_sanitys_life_of_a_volume_with_the_controller(plugin, server, tmp_path):
    """Made by the controller, shown by the node with the context that the controller answered."""
    from controller import CSIController
    controller = CSIController(tmp_path)
    try:
        volume = controller.controller.CreateVolume(
            csi.CreateVolumeRequest(
                name="sanity-" + "n" * 121, volume_capabilities=[capability(mode=MODES.SINGLE_NODE_WRITER)],
                parameters={"endpoint": server.endpoint, "bucket": server.bucket, "prefix": "set", "pathStyle": "true"}),
            timeout=10).volume
        target = plugin.target()
        for _ in range(2):
            plugin.publish(volume.volume_id, target, dict(volume.volume_context), KEYS,
                           volume_capability=capability(mode=MODES.SINGLE_NODE_WRITER))
        assert within(20, (target / "file-005").read_bytes) == b"content of 5\n"
        assert plugin.stats(volume.volume_id, target).usage
        for path in ("/some/random/path", "some/path"):
            refused(grpc.StatusCode.NOT_FOUND, plugin.stats, volume.volume_id, path)
        refused(grpc.StatusCode.NOT_FOUND, plugin.stats, "some-random-id", target)
        for _ in range(2):
            plugin.unpublish(volume.volume_id, target)
        assert not target.exists()
        controller.controller.DeleteVolume(csi.DeleteVolumeRequest(volume_id=volume.volume_id), timeout=10)
    finally:
        controller.stop()


def test_an_id_of_128_bytes_is_taken(plugin, server):
    target = plugin.target()
    plugin.publish("ü" * 64, target, context_of(server, "set/"), KEYS)
    assert plugin.stats("ü" * 64, target).usage
    plugin.unpublish("ü" * 64, target)


def test_more_calls_at_a_time_than_a_connection_takes_by_default(plugin, server):
    """One client with 200 calls under way: the server says how many it takes, and the client waits with the others."""
    targets = [plugin.target() for _ in range(200)]
    server.fault(operation="list", delayMs=1500, count=1)

    def call(number):
        plugin.publish(f"pv-crowd-{number}", targets[number], context_of(server, "set/"), KEYS, timeout=120)
        plugin.unpublish(f"pv-crowd-{number}", targets[number], timeout=120)

    with ThreadPoolExecutor(200) as pool:
        for one in [pool.submit(call, number) for number in range(200)]:
            one.result(240)
    assert not plugin.mounts()


def test_stats_tell_what_is_known_and_how_the_volume_is(own_plugin, server):
    target = own_plugin.target()
    own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    assert len(within(20, os.listdir, target)) == 50
    answer = own_plugin.stats("pv", target)
    usage = {u.unit: u for u in answer.usage}
    contents = sum(len(f"content of {number}\n") for number in range(50))
    assert (usage[csi.VolumeUsage.INODES].used, usage[csi.VolumeUsage.BYTES].used) == (50, contents)
    assert all(u.used == u.total and u.available == 0 for u in answer.usage)
    assert not answer.volume_condition.abnormal and answer.volume_condition.message
    # Its connection ends: no call hangs, and the condition says what to do.
    subprocess.run(["umount", "-f", target], check=True)
    own_plugin.node.NodeGetCapabilities(csi.NodeGetCapabilitiesRequest(), timeout=10)
    refused(grpc.StatusCode.NOT_FOUND, own_plugin.stats, "pv", target)


def test_stats_of_a_volume_whose_session_is_lost(own_plugin, server):
    target = own_plugin.target()
    own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    engine, keeper = own_plugin.pid_of("engine"), own_plugin.pid_of("keeper")
    os.kill(keeper, signal.SIGSTOP)
    os.kill(engine, signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    condition = eventually(
        lambda: (c := own_plugin.stats_or_none("pv", target)) and c.volume_condition.abnormal and c.volume_condition,
        60, "an abnormal condition")
    assert "publish the volume again" in condition.message
    assert "a session is lost" in own_plugin.logs()
    own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    assert not own_plugin.stats("pv", target).volume_condition.abnormal
    own_plugin.unpublish("pv", target)
