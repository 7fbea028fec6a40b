"""Python stubs of csi/*.proto, generated when the tests begin."""

import functools
import importlib
import sys
import tempfile
from pathlib import Path

PROTOS = Path(__file__).parents[3] / "csi"


@functools.cache
def load():
    """The modules (csi_pb2, csi_pb2_grpc, pluginregistration_pb2, pluginregistration_pb2_grpc)."""
    import grpc_tools
    from grpc_tools import protoc

    out = tempfile.mkdtemp(prefix="millrace-csi-stubs-")
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    files = [str(PROTOS / name) for name in ("csi.proto", "pluginregistration.proto")]
    status = protoc.main(
        ["protoc", f"-I{PROTOS}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}", *files])
    assert status == 0, "protoc failed"
    sys.path.insert(0, out)
    names = ("csi_pb2", "csi_pb2_grpc", "pluginregistration_pb2", "pluginregistration_pb2_grpc")
    return tuple(importlib.import_module(name) for name in names)
