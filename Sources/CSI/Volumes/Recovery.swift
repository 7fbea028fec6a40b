import NodeProtocol

/// What is left after a restart of the plugin, worked out from the three that know something: the journal, the
/// engine, and the kernel, whose word counts most. No I/O.
struct Recovery {
    private(set) var table = SessionTable()
    /// Mounts of sessions that nobody serves: to be taken off.
    private(set) var staleMounts: [String] = []
    /// Sessions that are served but mounted nowhere: to be closed.
    private(set) var unmounted: [String] = []
    /// Targets in the journal with nothing of ours mounted: to be forgotten.
    private(set) var stalePublications: [String] = []
    /// Targets whose session is dead: left as they are, so that no pod sees the host's directory beneath, until
    /// their volume is published or unpublished again.
    private(set) var deadTargets: [String] = []

    init(publications: [Publication], served: [SessionReport], mounts: [MountInfo], sessionsDirectory: String) {
        let ours = mounts.filter { $0.fileSystem == Place.fileSystem }
        var own: [String: MountInfo] = [:]
        for mount in ours where mount.mountPoint.hasPrefix(sessionsDirectory + "/") {
            own[String(mount.mountPoint.dropFirst(sessionsDirectory.utf8.count + 1))] = mount
        }
        for report in served {
            guard let mount = own[report.id], mount.minor == report.connection, report.failure == nil else {
                unmounted.append(report.id)
                continue
            }
            table.add(
                SessionTable.Session(
                    id: report.id, spec: report.spec, device: Device(major: mount.major, minor: mount.minor),
                    connection: report.connection))
        }
        staleMounts = own.keys.filter { table.sessions[$0] == nil }.sorted()

        // The last line is the top one where mounts are stacked.
        var top: [String: MountInfo] = [:]
        for mount in mounts where own[mount.mountPoint] == nil { top[mount.mountPoint] = mount }
        var journaled: [String: Publication] = [:]
        for publication in publications { journaled[publication.target] = publication }

        for (target, publication) in journaled {
            guard let mount = top[target], mount.fileSystem == Place.fileSystem else {
                stalePublications.append(target)
                continue
            }
            guard let session = table.session(on: Device(major: mount.major, minor: mount.minor)) else {
                deadTargets.append(target)
                table.publish(publication)
                continue
            }
            var publication = publication
            publication.sessionID = session.id
            table.publish(publication)
        }
        for (target, mount) in top where mount.fileSystem == Place.fileSystem && journaled[target] == nil {
            guard !target.hasPrefix(sessionsDirectory + "/"),
                let session = table.session(on: Device(major: mount.major, minor: mount.minor))
            else { continue }
            table.publish(
                Publication(volumeID: nil, target: target, sessionID: session.id, scope: session.spec.scope))
        }
        stalePublications.sort()
        deadTargets.sort()
    }
}
