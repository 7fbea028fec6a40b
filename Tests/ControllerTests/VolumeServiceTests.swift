import Testing

@testable import Controller

@Suite struct VolumeServiceTests {
    let ids = VolumeIDs(key: Array("a key for tests only".utf8))
    let parameters = ["bucket": "b", "prefix": "p", "endpoint": "http://127.0.0.1:9000"]

    @Test func idsDescribeAndAuthenticateThemselves() throws {
        let id = ids.id(name: "pvc-1", showing: "ds:courses/iris")
        #expect(ids.read(id)?.what == "ds:courses/iris")
        #expect(id == ids.id(name: "pvc-1", showing: "ds:courses/iris"))
        #expect(id != ids.id(name: "pvc-2", showing: "ds:courses/iris"))
        #expect(VolumeIDs(key: Array("another secret key".utf8)).read(id) == nil)
        for i in id.indices {
            var forged = id
            forged.replaceSubrange(i...i, with: id[i] == "a" ? "b" : "a")
            #expect(ids.read(forged) == nil)
        }
    }

    @Test func idsNeverGetTooLong() {
        for length in [0, 1, 50, 70, 80, 128, 1000] {
            let id = ids.id(
                name: String(repeating: "n", count: 128), showing: "s3:" + String(repeating: "é-", count: length))
            #expect(id.utf8.count <= 128)
            #expect(ids.read(id) != nil)
        }
        #expect(
            ids.read("") == nil && ids.read("m1---") == nil && ids.read(String(repeating: "m1-", count: 1000)) == nil)
    }

    @Test func theSameCallGivesTheSameVolume() throws {
        let service = VolumeService(ids: ids)
        let first = try service.create(name: "v", requiredBytes: 1 << 30, limitBytes: 0, parameters: parameters)
        let again = try service.create(name: "v", requiredBytes: 1 << 30, limitBytes: 0, parameters: parameters)
        #expect(first == again)
        // Another process with the same key: no database was needed.
        let other = try VolumeService(ids: ids).create(
            name: "v", requiredBytes: 1 << 30, limitBytes: 0, parameters: parameters)
        #expect(other.id == first.id)
        #expect(first.context["prefix"] == "p/" && first.context["millrace.dev/allowedNamespaces"] == "*")
        for (bytes, parameters) in [
            (Int64(2) << 30, parameters), (1 << 30, parameters.merging(["prefix": "q"]) { $1 }),
        ] {
            let error = #expect(throws: VolumeError.self) {
                try service.create(name: "v", requiredBytes: bytes, limitBytes: bytes, parameters: parameters)
            }
            #expect(error?.code == .alreadyExists)
        }
    }

    @Test func deletedVolumesAreGoneAndUnknownOnesAreNoError() throws {
        let service = VolumeService(ids: ids)
        let volume = try service.create(name: "v", requiredBytes: 0, limitBytes: 0, parameters: parameters)
        try service.delete("whatever")
        try service.delete(volume.id)
        try service.delete(volume.id)
        #expect(#expect(throws: VolumeError.self) { try service.find(volume.id) }?.code == .notFound)
        #expect(#expect(throws: VolumeError.self) { try service.delete("") }?.code == .invalidArgument)
        let again = try service.create(name: "v", requiredBytes: 0, limitBytes: 0, parameters: parameters)
        #expect(try service.find(again.id) == again)
    }

    @Test func pagesGoOnWhateverWasDeletedMeanwhile() throws {
        let service = VolumeService(ids: ids)
        for i in 0..<10 {
            _ = try service.create(name: "v\(i)", requiredBytes: 0, limitBytes: 0, parameters: parameters)
        }
        let first = try service.list(after: "", limit: 4)
        #expect(first.volumes.count == 4)
        try service.delete(first.volumes[3].id)
        let second = try service.list(after: first.next!, limit: 4)
        let third = try service.list(after: second.next!, limit: 4)
        #expect(third.next == nil)
        #expect(Set((first.volumes + second.volumes + third.volumes).map(\.id)).count == 10)
        #expect(#expect(throws: VolumeError.self) { try service.list(after: "bad", limit: 1) }?.code == .aborted)
    }

    @Test(
        arguments: [
            (["bucket": "b", "colour": "red"], "parameter colour isn't known"), ([:], "must say what to mount"),
            (["bucket": "b", "dataset": "a/b"], "only one of the parameters"),
            (["dataset": "a"], "must be namespace/name"),
            (["dataset": "a/b"], "needs Kubernetes"), (["bucket": "b", "pathStyle": "yes"], "must be true or false"),
            (["bucket": "b", "uid": "root"], "must be a number"),
            (["bucket": "b", "prefix": "../x"], "'.' and '..' aren't allowed"),
            (["bucket": "b", "endpoint": "minio"], "endpoint must be a URL"),
            (["bucket": ""], "it must be a bucket's name"),
            (["bucket": "b", "secretName": "x"], "must be set both"),
            (["datasetAnnotation": "true"], "own provisioner only"),
        ] as [([String: String], String)]) func badParametersAreNamed(
            _ parameters: [String: String], _ expected: String
        )
    {
        let error = #expect(throws: VolumeError.self) {
            try VolumeService(ids: ids).create(name: "v", requiredBytes: 0, limitBytes: 0, parameters: parameters)
        }
        #expect(error?.code == .invalidArgument)
        #expect(error?.message.contains(expected) == true, "\(error?.message ?? "")")
    }
}
