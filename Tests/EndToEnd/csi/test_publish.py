"""Publish, republish, stats and unpublish, as a kubelet or another orchestrator calls them."""

import contextlib
import errno
import os

import grpc
import pytest

from harness import eventually, within
from node_plugin import KEYS, capability, context_of, csi

MODES = csi.VolumeCapability.AccessMode


def refused(code, call, *arguments, **fields):
    """The message of a call that fails with this code, which says nothing beyond it."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **fields)
    assert caught.value.code() == code, caught.value.details()
    assert not any(key == "grpc-status-details-bin" for key, _ in caught.value.trailing_metadata() or ())
    assert KEYS["secretAccessKey"] not in caught.value.details()
    return caught.value.details()


INVALID = grpc.StatusCode.INVALID_ARGUMENT


def test_a_pods_life(plugin, server):
    target = plugin.target()
    context = context_of(server, "set/")
    plugin.publish("pv-life", target, context, KEYS)
    assert sorted(within(20, os.listdir, target)) == [f"file-{n:03}" for n in range(50)]
    assert within(20, (target / "file-007").read_bytes) == b"content of 7\n"
    # A republish every 20 s, the same or with the pod's readOnly.
    plugin.publish("pv-life", target, context, KEYS)
    plugin.publish("pv-life", target, context, KEYS, readonly=True)
    assert len([m for m in plugin.mounts() if m[0] == str(target)]) == 1
    usage = plugin.stats("pv-life", target).usage
    assert {u.unit for u in usage} == {csi.VolumeUsage.BYTES, csi.VolumeUsage.INODES}
    plugin.unpublish("pv-life", target)
    assert not target.exists()
    plugin.unpublish("pv-life", target)
    assert not plugin.mounts()
    assert not list((plugin.state / "sessions").iterdir()) and not list((plugin.state / "targets").iterdir())


def test_read_only_thrice(plugin, server):
    target = plugin.target()
    plugin.publish("pv-ro", target, context_of(server, "set/"), KEYS, readonly=False,
                   volume_capability=capability(mode=MODES.SINGLE_NODE_WRITER))
    try:
        options = [m[3].split(",") for m in plugin.mounts()]
        assert len(options) == 2 and all({"ro", "nosuid", "nodev"} <= set(o) for o in options)
        for attempt in (lambda: (target / "new").write_bytes(b"x"), lambda: (target / "file-001").unlink(),
                        lambda: (target / "dir").mkdir(), lambda: open(target / "file-001", "r+b")):
            with pytest.raises(OSError) as caught:
                within(20, attempt)
            assert caught.value.errno == errno.EROFS
    finally:
        plugin.unpublish("pv-ro", target)


def test_volumes_of_one_view_share_a_session_and_others_do_not(plugin, server):
    shared = [plugin.target() for _ in range(3)]
    for number, target in enumerate(shared):
        plugin.publish(f"pv-shared-{number}", target, context_of(server, "set"), KEYS)
    other = plugin.target()
    plugin.publish("pv-other", other, context_of(server, "other/"), KEYS)
    devices = {m[0]: m[2] for m in plugin.mounts()}
    assert len({devices[str(t)] for t in shared}) == 1
    assert devices[str(other)] != devices[str(shared[0])]
    assert within(20, os.listdir, other) == ["secret"]
    for number, target in enumerate(shared[:2]):
        plugin.unpublish(f"pv-shared-{number}", target)
    assert within(20, (shared[2] / "file-001").read_bytes) == b"content of 1\n"
    plugin.unpublish("pv-shared-2", shared[2])
    plugin.unpublish("pv-other", other)
    assert not plugin.mounts()


@pytest.mark.parametrize("mode", [
    MODES.SINGLE_NODE_WRITER, MODES.SINGLE_NODE_READER_ONLY, MODES.MULTI_NODE_READER_ONLY, MODES.MULTI_NODE_SINGLE_WRITER,
    MODES.MULTI_NODE_MULTI_WRITER, MODES.SINGLE_NODE_SINGLE_WRITER, MODES.SINGLE_NODE_MULTI_WRITER])
def test_every_access_mode_is_mounted_read_only(plugin, server, mode):
    target = plugin.target()
    plugin.publish("pv-mode", target, context_of(server, "set/"), KEYS, volume_capability=capability(mode=mode))
    plugin.unpublish("pv-mode", target)


@pytest.mark.parametrize("spelling", [
    ("accessKeyId", "secretKey"), ("awsAccessKeyID", "awsSecretAccessKey"), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("key_id", "access_key")])
def test_secrets_of_other_systems_are_understood(plugin, server, spelling):
    target = plugin.target()
    # With the newline of an `echo | base64`.
    secrets = {spelling[0]: KEYS["accessKeyID"] + "\n", spelling[1]: KEYS["secretAccessKey"] + "\n"}
    plugin.publish("pv-spelling", target, context_of(server, "set/"), secrets)
    assert within(20, (target / "file-001").read_bytes) == b"content of 1\n"
    plugin.unpublish("pv-spelling", target)


# Bad input

@pytest.mark.parametrize("fields, words", [
    (dict(volume=""), "volume_id"), (dict(volume="v" * 129), "128"), (dict(volume="a\nb"), "control"),
    (dict(target=""), "target_path"), (dict(target="relative/path"), "absolute"), (dict(target="/tmp/../etc"), ".."),
    (dict(target="/tmp/a\nb"), "control"), (dict(target="/"), "root"), (dict(target="/" + "a" * 5000), "4096"),
    (dict(volume_capability=None), "volume_capability"),
    (dict(volume_capability=csi.VolumeCapability(mount={})), "access_mode"),
    (dict(volume_capability=csi.VolumeCapability(block={}, access_mode={"mode": 1})), "block"),
    (dict(volume_capability=capability(["rw"])), "rw"), (dict(volume_capability=capability(["allow-other"])), "allow-other"),
    (dict(context={"bucket": None}), "bucket"), (dict(context={"bucket": "../etc"}), "bucket"),
    (dict(context={"bukket": "x"}), "bukket"), (dict(context={"endpoint": "ftp://x"}), "endpoint"),
    (dict(context={"endpoint": "http://user:pass@x"}), "endpoint"), (dict(context={"fileMode": "999"}), "fileMode"),
    (dict(context={"uid": "-1"}), "uid"), (dict(context={"metadataTTL": "soon"}), "metadataTTL"),
    (dict(context={"readAhead": "9Ti"}), "readAhead"), (dict(context={"pathStyle": "yes"}), "pathStyle"),
    (dict(context={"caBundle": "not PEM"}), "caBundle"), (dict(context={"prefix": "a\nb"}), "prefix"),
    (dict(context={"prefix": "x" * 70_000}), "limit"), (dict(secrets={}), "accessKeyID"),
    (dict(secrets={"accessKeyID": "x"}), "secretAccessKey"), (dict(secrets={**KEYS, "passwort": "x"}), "passwort"),
    (dict(secrets={**KEYS, "accessKeyId": "another"}), "another spelling"),
    (dict(context={"anonymous": "true"}), "anonymous"), (dict(context={"roleARN": "arn:aws:iam::1:role/x"}), "tokenRequests"),
])
def test_bad_input_is_named_and_leaves_nothing(plugin, server, fields, words):
    target = fields.get("target", plugin.target())
    call = dict(volume_capability=fields.get("volume_capability", capability()))
    if call["volume_capability"] is None:
        del call["volume_capability"]
        message = refused(INVALID, plugin.node.NodePublishVolume, csi.NodePublishVolumeRequest(
            volume_id="v", target_path=str(target), volume_context=context_of(server), secrets=KEYS), timeout=20)
    else:
        message = refused(
            INVALID, plugin.publish, fields.get("volume", "pv-bad"), target,
            context_of(server, **{"prefix": "set/", **fields.get("context", {})}), fields.get("secrets", KEYS), **call)
    assert words in message
    assert not plugin.mounts()
    if len(str(target)) < 255 and str(target).startswith(str(plugin.directory)):
        assert not target.exists()


@pytest.mark.parametrize("arguments", [("", "/tmp/x"), ("v", ""), ("v", "x"), ("v", "/a/../b"), ("v" * 129, "/tmp/x")])
def test_unpublish_and_stats_want_an_id_and_a_path(plugin, arguments):
    refused(INVALID, plugin.unpublish, *arguments)
    # Nothing is published at a path that can't be one.
    is_odd_path = arguments[0] == "v" and arguments[1]
    refused(grpc.StatusCode.NOT_FOUND if is_odd_path else INVALID, plugin.stats, *arguments)


def test_a_volume_of_a_single_writer_has_one_target(plugin, server):
    """Also after a restart, and however the second one asks; as soon as the first is gone, the second may."""
    one, other = plugin.target(), plugin.target()
    single, many = (capability(mode=mode) for mode in (MODES.SINGLE_NODE_SINGLE_WRITER, MODES.SINGLE_NODE_MULTI_WRITER))
    failed = grpc.StatusCode.FAILED_PRECONDITION
    plugin.publish("pv-single", one, context_of(server, "set/"), KEYS, volume_capability=single)
    for asked in (single, many):
        assert str(one) in refused(
            failed, plugin.publish, "pv-single", other, context_of(server, "set/"), KEYS, volume_capability=asked)
        assert not other.exists()
    plugin.restart()
    refused(failed, plugin.publish, "pv-single", other, context_of(server, "set/"), KEYS, volume_capability=many)
    plugin.publish("pv-single", one, context_of(server, "set/"), KEYS, volume_capability=single)
    plugin.unpublish("pv-single", one)
    plugin.publish("pv-single", other, context_of(server, "set/"), KEYS, volume_capability=many)
    refused(failed, plugin.publish, "pv-single", one, context_of(server, "set/"), KEYS, volume_capability=single)
    plugin.publish("pv-single", one, context_of(server, "set/"), KEYS, volume_capability=many)
    for target in (one, other):
        plugin.unpublish("pv-single", target)
    assert not plugin.mounts()


def test_what_is_not_there(plugin, server):
    target = plugin.target()
    plugin.unpublish("pv-unknown", target)
    plugin.unpublish("pv-unknown", "/tmp/millrace-no-such-directory/mount")
    refused(grpc.StatusCode.NOT_FOUND, plugin.stats, "pv-unknown", target)
    message = refused(grpc.StatusCode.NOT_FOUND, plugin.publish, "pv-x", target,
                      context_of(server, bucket="no-such-bucket"), KEYS)
    assert "no-such-bucket" in message
    message = refused(grpc.StatusCode.PERMISSION_DENIED, plugin.publish, "pv-x", target, context_of(server),
                      {**KEYS, "secretAccessKey": "wrong"})
    assert server.bucket in message
    message = refused(grpc.StatusCode.UNAVAILABLE, plugin.publish, "pv-x", target,
                      context_of(server, endpoint="http://127.0.0.1:9"), KEYS)
    assert "127.0.0.1:9" in message
    assert not plugin.mounts() and not target.exists()
    assert not list((plugin.state / "sessions").iterdir()) and not list((plugin.state / "targets").iterdir())


def test_a_grant_is_checked_again_on_the_node(plugin, server):
    target = plugin.target()
    granted = {"millrace.dev/allowedNamespaces": "team-a, team-b"}
    denied = grpc.StatusCode.PERMISSION_DENIED
    message = refused(denied, plugin.publish, "pv-grant", target, context_of(server, "set/", **granted), KEYS)
    assert "default" in message
    refused(denied, plugin.publish, "pv-grant", target,
            context_of(server, "set/", **granted, **{"csi.storage.k8s.io/pod.namespace": None}), KEYS)
    assert not plugin.mounts() and not target.exists()
    for grant, namespace in ((granted, "team-b"), ({"millrace.dev/allowedNamespaces": "*"}, "any")):
        plugin.publish("pv-grant", target, context_of(
            server, "set/", **grant, **{"csi.storage.k8s.io/pod.namespace": namespace}), KEYS)
        plugin.unpublish("pv-grant", target)


# Targets that are something else

def test_a_target_that_is_a_file_a_link_or_full(plugin, server):
    failed = grpc.StatusCode.FAILED_PRECONDITION
    context = context_of(server, "set/")
    file = plugin.target()
    file.write_text("mine")
    refused(failed, plugin.publish, "pv-odd", file, context, KEYS)
    refused(failed, plugin.unpublish, "pv-odd", file)
    assert file.read_text() == "mine"

    link = plugin.target()
    host = plugin.pods / "host"
    host.mkdir(exist_ok=True)
    link.symlink_to(host)
    refused(INVALID, plugin.publish, "pv-odd", link, context, KEYS)
    refused(failed, plugin.unpublish, "pv-odd", link)
    through = plugin.pods / "linked"
    through.symlink_to(host)
    refused(INVALID, plugin.publish, "pv-odd", through / "mount", context, KEYS)
    assert host.is_dir() and not list(host.iterdir())

    full = plugin.target()
    full.mkdir()
    (full / "precious").write_text("data")
    refused(failed, plugin.publish, "pv-odd", full, context, KEYS)
    refused(failed, plugin.unpublish, "pv-odd", full)
    assert (full / "precious").read_text() == "data"
    assert not plugin.mounts()


def test_a_foreign_mount_is_neither_covered_nor_taken_off(plugin, server):
    import subprocess
    target = plugin.target()
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", target], check=True)
    try:
        failed = grpc.StatusCode.FAILED_PRECONDITION
        refused(failed, plugin.publish, "pv-foreign", target, context_of(server, "set/"), KEYS)
        refused(failed, plugin.unpublish, "pv-foreign", target)
        assert [m[1] for m in plugin.mounts()] == ["tmpfs"]
    finally:
        subprocess.run(["umount", target], check=True)


def test_another_volume_or_view_at_a_live_target(plugin, server):
    target = plugin.target()
    plugin.publish("pv-first", target, context_of(server, "set/"), KEYS)
    exists = grpc.StatusCode.ALREADY_EXISTS
    refused(exists, plugin.publish, "pv-second", target, context_of(server, "set/"), KEYS)
    refused(exists, plugin.publish, "pv-first", target, context_of(server, "other/"), KEYS)
    refused(grpc.StatusCode.NOT_FOUND, plugin.unpublish, "pv-second", target)
    refused(grpc.StatusCode.NOT_FOUND, plugin.stats, "pv-second", target)
    assert within(20, (target / "file-001").read_bytes) == b"content of 1\n"
    plugin.unpublish("pv-first", target)


def test_an_unmount_while_files_are_open(plugin, server):
    target = plugin.target()
    plugin.publish("pv-busy", target, context_of(server, "set/"), KEYS)
    file = within(20, open, target / "file-001", "rb")
    plugin.unpublish("pv-busy", target)
    assert not target.exists() and not plugin.mounts()
    # Whoever still has it open gets an error, at once.
    with pytest.raises(OSError) as caught:
        within(20, os.pread, file.fileno(), 10, 0)
    assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    with contextlib.suppress(OSError):
        within(20, file.close)


# Credentials

def test_rotated_keys_reach_the_live_session(plugin):
    from harness import Embedded
    old, new = ("OLDKEY", "old-secret-000000"), ("NEWKEY", "new-secret-000000")
    with Embedded("--signed", environment={"AWS_ACCESS_KEY_ID": old[0], "AWS_SECRET_ACCESS_KEY": old[1]}) as server:
        for number in range(20):
            server.put(f"file-{number}", b"%d" % number)
        context = context_of(server, metadataTTL="0ms")
        target = plugin.target()
        plugin.publish("pv-rotate", target, context, {"accessKeyID": old[0], "secretAccessKey": old[1]})
        assert within(20, (target / "file-1").read_bytes) == b"1"
        server.credentials(*new)
        plugin.publish("pv-rotate", target, context, {"accessKeyID": new[0], "secretAccessKey": new[1]})
        for number in range(20):
            assert within(20, (target / f"file-{number}").read_bytes) == b"%d" % number
        # What is wrong with a republish never costs a live mount.
        plugin.publish("pv-rotate", target, context, {})
        plugin.publish("pv-rotate", target, {**context, "typo": "x"}, {"accessKeyID": new[0], "secretAccessKey": new[1]})
        assert within(20, (target / "file-2").read_bytes) == b"2"
        plugin.unpublish("pv-rotate", target)


def test_different_keys_never_share_a_session(plugin):
    from harness import Embedded
    with Embedded() as server:
        server.put("file", b"x")
        targets = [plugin.target() for _ in range(3)]
        for number, (target, key) in enumerate(zip(targets, ("a", "b", "a"))):
            plugin.publish(f"pv-{number}", target, context_of(server), {"accessKeyID": key, "secretAccessKey": "s" + key})
        devices = {m[0]: m[2] for m in plugin.mounts()}
        assert devices[str(targets[0])] == devices[str(targets[2])] != devices[str(targets[1])]
        for number, target in enumerate(targets):
            plugin.unpublish(f"pv-{number}", target)
        assert not plugin.mounts()


def test_secrets_are_in_no_log_and_no_process_list(plugin, server):
    target = plugin.target()
    plugin.publish("pv-secret", target, context_of(server, "set/"), KEYS)
    secret = KEYS["secretAccessKey"].encode()
    for child in ("engine", "keeper"):
        pid = eventually(lambda child=child: plugin.pid_of(child), 20, child)
        for name in ("cmdline", "environ"):
            assert secret not in open(f"/proc/{pid}/{name}", "rb").read()
    plugin.unpublish("pv-secret", target)
    assert secret.decode() not in plugin.logs()
    for path in plugin.state.rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes(), path
