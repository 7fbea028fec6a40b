import Testing

@testable import NodeProtocol

/// What an engine of version 0.1.0 had left in its keeper, byte by byte: today's reads it, and writes no other, so that
/// this version's sessions can be taken back by that one.
@Suite struct HandOverFormatTests {
    private static let record = bytes(
        """
        01000800000001000000000000000200b8000000010004000000646174610200040000007365742f03001600000068747470
        3a2f2f3132372e302e302e313a3338373433050001000000010600010000000007000800000080ee36000000000008000800
        00000000100000000000090008000000e8030000000000000a000800000000000000000000000b0008000000240100000000
        00000c00080000006d010000000000000f002000000065396134643730326562323764383733376436633065366538616636
        6236363603000800000027000000000000000400040000000a0b0c0d050005000000302e312e30
        """)
    private static let secrets = bytes(
        "010008000000010000000000000002000b000000414b49444558414d504c450300160000006e6f64652d7365637265742d3031323334"
            + "3536373839")
    private static let spec = SessionSpec(
        bucket: "data", prefix: "set/", endpoint: "http://127.0.0.1:38743", pathStyle: true,
        metadataTTLMs: 3_600_000, readAheadBytes: 1 << 20, uid: 1000, gid: 0, fileMode: 0o444, directoryMode: 0o555,
        scope: "e9a4d702eb27d8737d6c0e6e8af6b666")

    private static func bytes(_ hex: String) -> [UInt8] {
        let digits = hex.filter { !$0.isWhitespace }.compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    private func kept(_ payload: [UInt8], roles: [String] = ["device", "secrets", "journal", "requests"]) throws
        -> KeptItem
    {
        KeptItem(name: "s", payload: payload, descriptors: try roles.map { ($0, try .sealed($0, Array($0.utf8))) })
    }

    @Test func aRecordIsReadAndWrittenAsEver() throws {
        let record = try SessionRecord(kept(Self.record))
        #expect(record.spec == Self.spec)
        #expect(record.connection == 39 && record.initExchange == [10, 11, 12, 13] && record.writtenBy == "0.1.0")
        #expect(try record.journal.contents(limit: 10) == Array("journal".utf8))
        #expect(record.item.payload == Self.record)
        #expect(record.item.descriptors.map(\.role) == ["device", "secrets", "journal", "requests"])
    }

    @Test func secretsAreReadAndWrittenAsEver() throws {
        let credentials = try SessionCredentials(sealed: .sealed("s", Self.secrets))
        let expected = SessionCredentials.keys(
            accessKeyID: "AKIDEXAMPLE", secretAccessKey: Secret("node-secret-0123456789"), sessionToken: nil)
        #expect(credentials == expected)
        #expect(try expected.sealed().contents(limit: 1000) == Self.secrets)
    }

    @Test func whatALaterVersionAddsIsSkipped() throws {
        var fields = try Fields(decoding: Self.record)
        fields.add(900, "of a later version")
        let item = try kept(fields.encoded, roles: ["ring", "device", "secrets", "journal"])
        let record = try SessionRecord(item)
        #expect(record.spec == Self.spec && record.requests == nil)
    }

    @Test(arguments: [(3, "cannot read"), (0x7fff, "cannot read"), (-1, nil)] as [(Int, String?)])
    func aFormatThatWouldBeMisreadIsRefused(format: Int, message: String?) throws {
        var fields = Fields()
        fields.add(1, format)
        let rest = try Fields(decoding: Self.record)
        for tag: UInt16 in 2...5 { fields.add(tag, rest.bytes(tag)) }
        let item = try kept(fields.encoded)
        guard let message else {
            #expect(try SessionRecord(item).spec == Self.spec)
            return
        }
        let error = #expect(throws: NodeError.self) { try SessionRecord(item) }
        #expect(error?.description.contains(message) == true)
    }

    @Test func everyTruncationOfARecordIsRefused() throws {
        for count in 0..<Self.record.count {
            let item = try kept(Array(Self.record.prefix(count)))
            // Its last two fields may be missing.
            if let record = try? SessionRecord(item) { #expect(record.spec == Self.spec) }
        }
        #expect(throws: NodeError.self) { try SessionRecord(kept(Array(Self.record.prefix(100)))) }
    }

    @Test(arguments: ["device", "secrets", "journal"])
    func aRecordWithoutADescriptorIsRefusedByItsRole(role: String) throws {
        let item = try kept(Self.record, roles: ["device", "secrets", "journal", "requests"].filter { $0 != role })
        let error = #expect(throws: NodeError.self) { try SessionRecord(item) }
        #expect(error?.description.contains(role) == true)
    }
}
