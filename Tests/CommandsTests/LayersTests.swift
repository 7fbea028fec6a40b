import Testing

@testable import Commands

struct LayersTests {
    @Test func whatIsTypedWins() throws {
        let layers = Layers(environment: ["MILLRACE_REGION": "env"], file: ["": ["region": "file"]])
        #expect(
            try layers.applied(to: ["s3://b", "--region", "typed"], command: "ls") == ["s3://b", "--region", "typed"])
        #expect(try layers.applied(to: ["--region=typed", "s3://b"], command: "ls") == ["--region=typed", "s3://b"])
    }

    @Test func theEnvironmentComesBeforeTheFileAndTheSectionBeforeTheRest() throws {
        let layers = Layers(
            environment: ["MILLRACE_REGION": "env"],
            file: ["": ["region": "file", "endpoint": "all"], "mount": ["endpoint": "section"]])
        #expect(try layers.applied(to: [], command: "mount") == ["--endpoint=section", "--region=env"])
        #expect(try layers.applied(to: [], command: "ls") == ["--endpoint=all", "--region=env"])
    }

    @Test func flagsAreSetByTrueAndLeftByFalse() throws {
        #expect(
            try Layers(environment: ["MILLRACE_ALLOW_OTHER": "yes"], file: [:]).applied(to: [], command: "mount") == [
                "--allow-other"
            ])
        #expect(
            try Layers(environment: ["MILLRACE_ALLOW_OTHER": "0"], file: [:]).applied(to: [], command: "mount") == [])
        #expect(throws: Failure.self) {
            try Layers(environment: ["MILLRACE_ALLOW_OTHER": "perhaps"], file: [:]).applied(to: [], command: "mount")
        }
    }

    @Test func aTypedOptionSilencesItsOpposite() throws {
        let layers = Layers(environment: ["MILLRACE_VIRTUAL_HOST_STYLE": "true"], file: [:])
        #expect(try layers.applied(to: ["--path-style"], command: "ls") == ["--path-style"])
    }

    @Test func optionsOfAnotherCommandAreLeftOut() throws {
        let layers = Layers(environment: ["MILLRACE_MEMORY": "1G"], file: ["": ["cache-dir": "/c"]])
        #expect(try layers.applied(to: [], command: "ls") == [])
    }

    @Test func theFileIsCheckedForNamesThatMeanNothing() {
        #expect(throws: Failure.self) {
            try Layers(environment: [:], file: ["": ["endpiont": "x"]]).applied(to: [], command: "ls")
        }
        #expect(throws: Failure.self) {
            try Layers(environment: [:], file: ["mouint": [:]]).applied(to: [], command: "ls")
        }
    }

    @Test func whatFollowsTwoDashesIsNoOption() throws {
        let layers = Layers(environment: ["MILLRACE_REGION": "env"], file: [:])
        #expect(try layers.applied(to: ["--", "--region"], command: "ls") == ["--region=env", "--", "--region"])
    }
}

struct MountHelperTests {
    @Test func aLineOfFstabBecomesAMount() throws {
        let arguments = try MountHelper.arguments([
            "s3://b/p", "/mnt", "-o",
            "ro,_netdev,nofail,x-systemd.automount,allow_other,endpoint=http://h:1,cache_size=5G",
        ])
        #expect(
            arguments == ["mount", "--allow-other", "--endpoint=http://h:1", "--cache-size=5G", "s3://b/p", "/mnt"])
    }

    @Test(arguments: [
        ["s3://b", "/mnt", "-o", "rw"], ["s3://b", "/mnt", "-o", "nonsense"], ["s3://b", "/mnt", "-o", "endpoint"],
        ["s3://b"], ["s3://b", "/mnt", "-o"],
    ])
    func whatCannotBeHonouredIsRefused(arguments: [String]) {
        #expect(throws: Failure.self) { try MountHelper.arguments(arguments) }
    }
}

struct MountRecordTests {
    @Test func aRecordTellsWhetherItsProcessLives() throws {
        let point = "/tmp/millrace test\n\\\(#line)-\(UInt64.random(in: 0 ..< .max))"
        let record = MountRecord(mountPoint: point, source: "s3://b/ü", pid: 7, started: 5, metrics: "")
        do {
            let keeper = try #require(record.keep())
            let read = try #require(MountRecord.read(point))
            #expect(read.record == record)
            #expect(read.isAlive)
            #expect(record.keep() == nil, "two can't hold it")
            withExtendedLifetime(keeper) {}
        }
        let read = try #require(MountRecord.read(point))
        #expect(!read.isAlive)
        MountRecord.remove(point)
        #expect(MountRecord.read(point) == nil)
    }
}
