"""Identity, registration, and what the node says of itself."""

import grpc
import pytest

from node_plugin import NodePlugin, csi, csi_grpc, registration, registration_grpc


def test_the_driver_says_its_name_and_that_it_is_ready(plugin):
    info = plugin.identity.GetPluginInfo(csi.GetPluginInfoRequest(), timeout=10)
    assert info.name == "s3.csi.millrace.dev"
    assert info.vendor_version
    assert plugin.identity.Probe(csi.ProbeRequest(), timeout=10).ready.value
    services = plugin.identity.GetPluginCapabilities(csi.GetPluginCapabilitiesRequest(), timeout=10).capabilities
    assert [s.service.type for s in services] == [csi.PluginCapability.Service.CONTROLLER_SERVICE]


def test_a_plugin_that_runs_alone_says_so():
    """Nomad would wait for a controller."""
    with NodePlugin("--node-only") as plugin:
        assert not plugin.identity.GetPluginCapabilities(csi.GetPluginCapabilitiesRequest(), timeout=10).capabilities
        with pytest.raises(grpc.RpcError) as caught:
            controller_capabilities(plugin)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_the_node_has_the_two_capabilities(plugin):
    answer = plugin.node.NodeGetCapabilities(csi.NodeGetCapabilitiesRequest(), timeout=10)
    kinds = csi.NodeServiceCapability.RPC
    assert {c.rpc.type for c in answer.capabilities} == {kinds.GET_VOLUME_STATS, kinds.SINGLE_NODE_MULTI_WRITER}
    assert plugin.node.NodeGetInfo(csi.NodeGetInfoRequest(), timeout=10).node_id == "node-1"


@pytest.mark.parametrize("call, request_type", [
    ("NodeStageVolume", csi.NodeStageVolumeRequest), ("NodeUnstageVolume", csi.NodeUnstageVolumeRequest),
    ("NodeExpandVolume", csi.NodeExpandVolumeRequest)])
def test_what_the_node_cannot_do_is_unimplemented(plugin, call, request_type):
    with pytest.raises(grpc.RpcError) as caught:
        getattr(plugin.node, call)(request_type(volume_id="v"), timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def controller_capabilities(plugin):
    answer = csi_grpc.ControllerStub(plugin.channel).ControllerGetCapabilities(
        csi.ControllerGetCapabilitiesRequest(), timeout=10)
    return {c.rpc.type for c in answer.capabilities}


def test_there_is_no_controller_on_a_kubelets_node(plugin):
    with pytest.raises(grpc.RpcError) as caught:
        controller_capabilities(plugin)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_plugin_without_a_kubelet_has_a_controller(own_plugin):
    kinds = csi.ControllerServiceCapability.RPC
    assert controller_capabilities(own_plugin) == {
        kinds.CREATE_DELETE_VOLUME, kinds.LIST_VOLUMES, kinds.GET_VOLUME, kinds.GET_CAPACITY, kinds.SINGLE_NODE_MULTI_WRITER}


def test_a_kubelet_registers_the_driver_without_a_sidecar(plugin):
    with grpc.insecure_channel(f"unix://{plugin.registration}") as channel:
        stub = registration_grpc.RegistrationStub(channel)
        info = stub.GetInfo(registration.InfoRequest(), timeout=10)
        assert (info.type, info.name) == ("CSIPlugin", "s3.csi.millrace.dev")
        assert info.endpoint == str(plugin.endpoint)
        assert list(info.supported_versions) == ["1.0.0"]
        stub.NotifyRegistrationStatus(registration.RegistrationStatus(plugin_registered=True), timeout=10)
        stub.NotifyRegistrationStatus(
            registration.RegistrationStatus(plugin_registered=False, error="try again"), timeout=10)
