"""The CSI Controller service, as csi-sanity, external-provisioner and Nomad see it."""

import stat

import grpc
import pytest

from controller import CSIController, Process, program, stubs, wait_for

pb, _ = stubs()
BUCKET = {"bucket": "b", "prefix": "p", "endpoint": "http://127.0.0.1:9000"}
GiB = 1 << 30


def capability(mode="MULTI_NODE_READER_ONLY", block=False):
    result = pb.VolumeCapability(access_mode=pb.VolumeCapability.AccessMode(mode=mode))
    (result.block if block else result.mount).SetInParent()
    return result


@pytest.fixture(scope="module")
def csi(tmp_path_factory):
    server = CSIController(tmp_path_factory.mktemp("csi"))
    yield server
    server.stop()


def create(csi, name="v", parameters=BUCKET, size=GiB, limit=0, **more):
    more.setdefault("volume_capabilities", [capability()])
    return csi.controller.CreateVolume(
        pb.CreateVolumeRequest(
            name=name, parameters=parameters, capacity_range=pb.CapacityRange(required_bytes=size, limit_bytes=limit),
            **more),
        timeout=10).volume


def refused(code, call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() == code, caught.value.details()
    return caught.value.details()


INVALID = grpc.StatusCode.INVALID_ARGUMENT


def test_identity(csi):
    info = csi.identity.GetPluginInfo(pb.GetPluginInfoRequest(), timeout=10)
    assert info.name == "s3.csi.millrace.dev" and info.vendor_version
    capabilities = csi.identity.GetPluginCapabilities(pb.GetPluginCapabilitiesRequest(), timeout=10).capabilities
    assert [c.service.type for c in capabilities] == [1]
    assert csi.identity.Probe(pb.ProbeRequest(), timeout=10).ready.value


def test_capabilities(csi):
    answer = csi.controller.ControllerGetCapabilities(pb.ControllerGetCapabilitiesRequest(), timeout=10)
    types = {pb.ControllerServiceCapability.RPC.Type.Name(c.rpc.type) for c in answer.capabilities}
    assert types == {"CREATE_DELETE_VOLUME", "LIST_VOLUMES", "GET_CAPACITY", "GET_VOLUME", "SINGLE_NODE_MULTI_WRITER"}


def test_create_needs_a_name_and_capabilities(csi):
    refused(INVALID, lambda: create(csi, name=""))
    refused(INVALID, lambda: create(csi, volume_capabilities=[]))
    refused(INVALID, lambda: create(csi, volume_capabilities=[pb.VolumeCapability()]))


def test_create_is_idempotent_and_contradictions_are_refused(csi):
    first = create(csi, "same")
    assert create(csi, "same").volume_id == first.volume_id
    assert first.capacity_bytes == GiB
    assert first.volume_context["bucket"] == "b" and first.volume_context["prefix"] == "p/"
    refused(grpc.StatusCode.ALREADY_EXISTS, lambda: create(csi, "same", size=2 * GiB, limit=2 * GiB))
    refused(grpc.StatusCode.ALREADY_EXISTS, lambda: create(csi, "same", parameters={"bucket": "other"}))


def test_ids_and_contexts_keep_csis_limits(csi):
    long = dict(BUCKET, bucket="b" * 63, prefix="x/" * 200, endpoint="https://" + "h" * 200)
    volume = create(csi, "n" * 128, parameters=long)
    assert 0 < len(volume.volume_id.encode()) <= 128
    assert sum(len(k) + len(v) for k, v in volume.volume_context.items()) <= 4096


@pytest.mark.parametrize("mode", [
    "SINGLE_NODE_WRITER", "SINGLE_NODE_READER_ONLY", "MULTI_NODE_READER_ONLY", "MULTI_NODE_SINGLE_WRITER",
    "MULTI_NODE_MULTI_WRITER", "SINGLE_NODE_SINGLE_WRITER", "SINGLE_NODE_MULTI_WRITER"])
def test_every_access_mode_is_taken(csi, mode):
    assert create(csi, f"mode-{mode}", volume_capabilities=[capability(mode)]).volume_id


def test_blocks_and_sources_are_refused(csi):
    assert "block" in refused(INVALID, lambda: create(csi, "block", volume_capabilities=[capability(block=True)]))
    source = pb.VolumeContentSource(volume=pb.VolumeContentSource.VolumeSource(volume_id="x"))
    refused(INVALID, lambda: create(csi, "clone", volume_content_source=source))
    refused(grpc.StatusCode.OUT_OF_RANGE, lambda: create(csi, "range", size=2 * GiB, limit=GiB))


@pytest.mark.parametrize("parameters, word", [
    ({}, "bucket"), ({"bucket": "b", "colour": "red"}, "colour"), ({"bucket": "b", "prefix": "../x"}, "prefix"),
    ({"bucket": "b", "endpoint": "ftp://x"}, "endpoint"), ({"dataset": "a/b"}, "Kubernetes"),
    ({"bucket": "b", "secretName": "${pvc.name}", "secretNamespace": "x"}, "templates")])
def test_bad_parameters_are_named(csi, parameters, word):
    assert word in refused(INVALID, lambda: create(csi, "bad", parameters=parameters))


def test_delete(csi):
    refused(INVALID, lambda: csi.controller.DeleteVolume(pb.DeleteVolumeRequest(), timeout=10))
    csi.controller.DeleteVolume(pb.DeleteVolumeRequest(volume_id="unknown"), timeout=10)
    csi.controller.DeleteVolume(pb.DeleteVolumeRequest(volume_id="\n" * 4000), timeout=10)
    volume = create(csi, "gone")
    for _ in range(2):
        csi.controller.DeleteVolume(pb.DeleteVolumeRequest(volume_id=volume.volume_id), timeout=10)
    ask = pb.ControllerGetVolumeRequest(volume_id=volume.volume_id)
    refused(grpc.StatusCode.NOT_FOUND, lambda: csi.controller.ControllerGetVolume(ask, timeout=10))


def test_validate(csi):
    def validate(volume_id, capabilities):
        return csi.controller.ValidateVolumeCapabilities(
            pb.ValidateVolumeCapabilitiesRequest(
                volume_id=volume_id, volume_capabilities=capabilities, volume_context={"a": "b"}), timeout=10)

    volume = create(csi, "validated")
    refused(INVALID, lambda: validate("", [capability()]))
    refused(INVALID, lambda: validate(volume.volume_id, []))
    refused(grpc.StatusCode.NOT_FOUND, lambda: validate("unknown", [capability()]))
    forged = volume.volume_id[:-1] + ("x" if volume.volume_id[-1] != "x" else "y")
    refused(grpc.StatusCode.NOT_FOUND, lambda: validate(forged, [capability()]))
    answer = validate(volume.volume_id, [capability("SINGLE_NODE_WRITER")])
    assert len(answer.confirmed.volume_capabilities) == 1 and answer.confirmed.volume_context == {"a": "b"}
    unsupported = validate(volume.volume_id, [capability(block=True)])
    assert not unsupported.HasField("confirmed") and "block" in unsupported.message


def test_listing_pages(csi):
    made = {create(csi, f"page-{i}").volume_id for i in range(5)}

    def page(token="", entries=2):
        return csi.controller.ListVolumes(
            pb.ListVolumesRequest(max_entries=entries, starting_token=token), timeout=10)

    seen, token, pages = set(), "", 0
    while True:
        answer = page(token)
        assert len(answer.entries) <= 2
        ids = [entry.volume.volume_id for entry in answer.entries]
        seen.update(ids)
        token, pages = answer.next_token, pages + 1
        if not token:
            break
        if pages == 1:
            # The last one of a page goes: the next page goes on all the same.
            csi.controller.DeleteVolume(pb.DeleteVolumeRequest(volume_id=ids[-1]), timeout=10)
    assert made <= seen
    refused(grpc.StatusCode.ABORTED, lambda: page("invalid-token"))
    everything = {entry.volume.volume_id for entry in page(entries=0).entries}
    added = create(csi, "listed").volume_id
    assert {entry.volume.volume_id for entry in page(entries=0).entries} == everything | {added}
    csi.controller.DeleteVolume(pb.DeleteVolumeRequest(volume_id=added), timeout=10)
    assert added not in {entry.volume.volume_id for entry in page(entries=0).entries}


def test_get_volume_and_capacity(csi):
    volume = create(csi, "got")
    answer = csi.controller.ControllerGetVolume(pb.ControllerGetVolumeRequest(volume_id=volume.volume_id), timeout=10)
    assert answer.volume == volume and answer.HasField("status")
    refused(INVALID, lambda: csi.controller.ControllerGetVolume(pb.ControllerGetVolumeRequest(), timeout=10))
    assert csi.controller.GetCapacity(pb.GetCapacityRequest(), timeout=10).available_capacity > 1 << 50


def test_what_is_not_offered_says_so(csi):
    calls = {
        "ControllerPublishVolume": pb.ControllerPublishVolumeRequest, "CreateSnapshot": pb.CreateSnapshotRequest,
        "ControllerExpandVolume": pb.ControllerExpandVolumeRequest, "ListSnapshots": pb.ListSnapshotsRequest}
    for name, request in calls.items():
        refused(grpc.StatusCode.UNIMPLEMENTED, lambda: getattr(csi.controller, name)(request(), timeout=10))


def test_ids_outlive_the_process(tmp_path):
    csi = CSIController(tmp_path)
    volume = create(csi, "kept")
    csi.channel.close()
    # Killed: the socket's file stays, and the next one replaces it.
    csi.process.kill()
    csi.start()
    assert create(csi, "kept").volume_id == volume.volume_id
    csi.controller.ControllerGetVolume(pb.ControllerGetVolumeRequest(volume_id=volume.volume_id), timeout=10)
    key = tmp_path / "millrace-volume.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    csi.stop()
    assert not csi.socket.exists()


def test_fifty_at_a_time(csi):
    futures = [
        csi.controller.CreateVolume.future(
            pb.CreateVolumeRequest(name=f"many-{i % 100}", parameters=BUCKET, volume_capabilities=[capability()]), timeout=30)
        for i in range(500)]
    assert len({future.result(30).volume.volume_id for future in futures}) == 100


@pytest.mark.parametrize("arguments, words", [
    (["--no-kubernetes"], "nothing to do without --csi-endpoint"),
    (["--no-kubernetes", "--csi-endpoint", "relative.sock"], "must be unix:///absolute/path"),
    (["--no-kubernetes", "--csi-endpoint", "unix:///" + "x" * 120], "shorter than 108 bytes"),
    (["--csi-endpoint", "unix:///tmp/x.sock", "--kubeconfig", "/nowhere/config"], "/nowhere/config can't be read"),
    (["--workers", "0"], "--workers"), (["--log-level", "loud"], "--log-level loud"),
])
def test_bad_options_are_told(arguments, words):
    process = Process([program("millrace-controller"), *arguments])
    assert process.child.wait(30) != 0
    output = process.output() + process.child.stdout.read()
    process.child.stdout.close()
    assert words in output, output


def test_a_file_in_the_sockets_place_is_not_removed(tmp_path):
    (tmp_path / "csi.sock").write_text("precious")
    process = Process(
        [program("millrace-controller"), "--no-kubernetes", "--csi-endpoint", f"unix://{tmp_path}/csi.sock"])
    wait_for("it ends", lambda: process.child.poll() is not None)
    assert process.child.returncode != 0 and "isn't a socket" in process.output()
    process.child.stdout.close()
    assert (tmp_path / "csi.sock").read_text() == "precious"
