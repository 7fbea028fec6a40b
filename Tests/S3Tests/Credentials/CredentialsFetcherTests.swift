import Curl
import Glibc
import Testing
import Threads

@testable import S3

/// Fetching from endpoints that a small server plays.
@Suite(.serialized) struct CredentialsFetcherTests {
    private let engine = TransferEngine(threads: 1)
    private let directory = TemporaryDirectory()

    private func fetch(_ plan: CredentialsPlan, sts: String? = nil) throws -> Result<Credentials, S3Error> {
        var options = CredentialsFetcher.Options()
        options.stsEndpointURL = sts
        let promise = Promise<Result<Credentials, S3Error>>()
        CredentialsFetcher(engine, options: options).fetch(plan) { promise.fulfil($0) }
        return try promise.value()
    }

    private static let json =
        #"{"Code": "Success", "AccessKeyId": "ASIA", "SecretAccessKey": "hidden", "Token": "hidden=", "Expiration": "2030-01-01T00:00:00Z"}"#
    private static let expected = Credentials(
        accessKeyID: "ASIA", secretAccessKey: Secret("hidden"), sessionToken: Secret("hidden="), expires: 1_893_456_000)
    private static func stsAnswer(_ action: String) -> String {
        """
        <\(action)Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><\(action)Result><Credentials>
        <AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>hidden</SecretAccessKey><SessionToken>hidden=</SessionToken>
        <Expiration>2030-01-01T00:00:00Z</Expiration></Credentials></\(action)Result></\(action)Response>
        """
    }

    @Test func theContainersEndpointGetsTheTokenOfItsFile() throws {
        let server = ScriptedServer { request, _, connection in
            request.headers["authorization"] == "Bearer x"
                ? connection.answer("200 OK", Self.json) : connection.answer("403 Forbidden")
        }
        let file = directory.write("token", "Bearer x\n")
        #expect(
            try fetch(.container(url: server.url + "/creds?a=b", token: nil, tokenFile: file)).get() == Self.expected)
        #expect(server.seen.first?.target == "/creds?a=b")
        directory.write("token", "Bearer old")
        #expect(try fetch(.container(url: server.url, token: nil, tokenFile: file)).message.contains("403"))
        directory.write("token", "a\r\nb: c")
        #expect(try fetch(.container(url: server.url, token: nil, tokenFile: file)).message.contains("no token"))
        #expect(try fetch(.container(url: server.url, token: nil, tokenFile: "/no")).message.contains("/no"))
    }

    @Test func theInstancesMetadataIsAskedWithAToken() throws {
        let server = ScriptedServer { request, number, connection in
            switch request.line.split(separator: " ").prefix(2).joined(separator: " ") {
            case "PUT /latest/api/token": connection.answer(number == 0 ? "503 Busy" : "200 OK", "tok")
            case "GET /latest/meta-data/iam/security-credentials/"
            where request.headers["x-aws-ec2-metadata-token"] == "tok":
                connection.answer("200 OK", "my role")
            case "GET /latest/meta-data/iam/security-credentials/my%20role"
            where request.headers["x-aws-ec2-metadata-token"] == "tok":
                connection.answer("200 OK", Self.json)
            default: connection.answer("404 Not Found")
            }
        }
        #expect(try fetch(.instanceMetadata(endpoint: server.url)).get() == Self.expected)
        let silent = ScriptedServer { _, _, connection in connection.waitForClient() }
        #expect(try fetch(.instanceMetadata(endpoint: silent.url)).message.contains("no answer in time"))
    }

    @Test func aWebIdentityIsTradedAtSTS() throws {
        let server = ScriptedServer { request, number, connection in
            // The first answer is a passing failure.
            number == 0
                ? connection.answer("500 Oops")
                : connection.answer("200 OK", Self.stsAnswer("AssumeRoleWithWebIdentity"))
        }
        let identity = CredentialsPlan.WebIdentity(
            roleARN: "arn:aws:iam::1:role/r", tokenFile: directory.write("jwt", "ey.j+t"), sessionName: "s")
        #expect(try fetch(.webIdentity(identity), sts: server.url).get() == Self.expected)
        let request = try #require(server.seen.last)
        #expect(
            String(decoding: request.body, as: UTF8.self)
                == "Action=AssumeRoleWithWebIdentity&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=s&Version=2011-06-15&WebIdentityToken=ey.j%2Bt"
        )
        #expect(request.headers["authorization"] == nil)
    }

    @Test func aRoleIsAssumedWithASignedRequest() throws {
        let server = ScriptedServer { _, _, connection in connection.answer("200 OK", Self.stsAnswer("AssumeRole")) }
        var role = CredentialsPlan.AssumedRole(roleARN: "arn:r")
        role.externalID = "ext"
        let source = Credentials(accessKeyID: "AKIA", secretAccessKey: Secret("hidden"))
        #expect(
            try fetch(.assumeRole(role, source: .fixed(source, origin: "x")), sts: server.url).get() == Self.expected)
        let request = try #require(server.seen.first)
        #expect(request.headers["authorization"]?.contains("Credential=AKIA/") == true)
        #expect(request.headers["authorization"]?.contains("/sts/aws4_request") == true)
    }

    @Test func refusalsSayWhatSTSSays() throws {
        let server = ScriptedServer { _, _, connection in
            connection.answer(
                "403 Forbidden",
                "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not yours</Message></Error></ErrorResponse>"
            )
        }
        let source = Credentials(accessKeyID: "AKIA", secretAccessKey: Secret("hidden"))
        let result = try fetch(
            .assumeRole(.init(roleARN: "arn:r"), source: .fixed(source, origin: "x")), sts: server.url)
        #expect(result.message.contains("AccessDenied: not yours"))
        #expect(server.seen.count == 1)
    }

    @Test func aProgramsOutputIsRead() throws {
        let script = directory.write(
            "credentials.json",
            #"{"Version": 1, "AccessKeyId": "ASIA", "SecretAccessKey": "hidden", "SessionToken": "hidden=", "Expiration": "2030-01-01T01:00:00+01:00"}"#
        )
        #expect(try fetch(.process(command: "cat '\(script)'", profile: "p")).get() == Self.expected)
        for (command, words) in [
            ("exit 3", "exit status 3"), ("kill -9 $$", "signal 9"), ("echo junk-secret", "no JSON"),
            ("echo '{}'", "without AccessKeyId"), ("/no/such/program", "exit status 127"),
            ("yes", "more than 65536 bytes"),
        ] {
            let message = try fetch(.process(command: command, profile: "p")).message
            #expect(message.contains(words) && !message.contains("junk-secret"), "\(message)")
        }
    }

    @Test func aProgramThatHangsIsKilledWithItsChildren() throws {
        let file = "\(directory.path)/pid"
        var process = CredentialsProcess(command: "sleep 600 & echo $! > '\(file)'; wait", profile: "p")
        process.deadlineMs = 300
        #expect(process.run().message.contains("killed"))
        let text = try #require(try SmallFile.readToken(file))
        let child = try #require(Int32(text))
        // The orphan is reaped by init in its own time.
        let deadline = Instant.now.advanced(byMs: 10_000)
        while kill(child, 0) == 0 && !isZombie(child) && Instant.now < deadline { usleep(1000) }
        #expect(kill(child, 0) != 0 || isZombie(child))
    }

    private func isZombie(_ pid: Int32) -> Bool {
        guard let stat = try? SmallFile.read("/proc/\(pid)/stat") else { return true }
        return String(decoding: stat, as: UTF8.self).contains(") Z ")
    }

    @Test func aProgramDoesNotInheritOurSecrets() throws {
        let environment = Environment(["AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "y", "KEPT": "z"])
        let file = "\(directory.path)/environment"
        _ = CredentialsProcess(command: "/usr/bin/env > '\(file)'", profile: "p").run(environment)
        let text = String(decoding: try SmallFile.read(file), as: UTF8.self)
        #expect(
            text.contains("KEPT=z") && !text.contains("AWS_SECRET_ACCESS_KEY") && !text.contains("AWS_SESSION_TOKEN"))
    }
}

extension Result where Success == Credentials, Failure == S3Error {
    var message: String { if case .failure(let error) = self { error.description } else { "" } }
}
