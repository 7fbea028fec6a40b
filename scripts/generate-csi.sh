#!/bin/sh
# Writes the Swift of csi/*.proto to Sources/CSIProtocol: messages by swift-protobuf, services by grpc-swift.
# Needs protoc (Debian: protobuf-compiler). The plugins are built from the versions that the package resolves to;
# the first time takes some minutes.
set -eu
cd "$(dirname "$0")/.."
scratch=${SCRATCH_PATH:-.build}
export MILLRACE_TARGETS=CSIProtocol

for plugin in protoc-gen-swift protoc-gen-grpc-swift-2; do
    swift build --scratch-path "$scratch" --product "$plugin"
done
binaries=$(swift build --scratch-path "$scratch" --show-bin-path)
well_known=$scratch/checkouts/swift-protobuf/Sources/protobuf/include

protoc -I csi -I "$well_known" csi/csi.proto csi/pluginregistration.proto \
    --plugin="$binaries/protoc-gen-swift" --swift_out=Sources/CSIProtocol --swift_opt=Visibility=Public \
    --plugin="$binaries/protoc-gen-grpc-swift-2" --grpc-swift-2_out=Sources/CSIProtocol \
    --grpc-swift-2_opt=Visibility=Public,Client=false
