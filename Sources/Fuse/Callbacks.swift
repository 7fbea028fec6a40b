import CFuse
import Glibc

/// libfuse's table of operations: each finds its session's `Operations` and calls it.
enum Callbacks {
    static var table: fuse_lowlevel_ops {
        var ops = fuse_lowlevel_ops()
        files(&ops)
        directories(&ops)
        attributes(&ops)
        writes(&ops)
        return ops
    }

    private static func files(_ ops: inout fuse_lowlevel_ops) {
        ops.lookup = { raw, parent, name in
            let bytes = UnsafeRawBufferPointer(start: name, count: strlen(name!))
            operations(raw!).lookup(Request(raw!, .lookup, inode: parent), name: bytes)
        }
        ops.forget = { raw, inode, lookups in
            operations(raw!).forget(inode: inode, lookups: lookups)
            fuse_reply_none(raw)
        }
        ops.forget_multi = { raw, count, items in
            let operations = operations(raw!)
            for i in 0..<count { operations.forget(inode: items![i].ino, lookups: items![i].nlookup) }
            fuse_reply_none(raw)
        }
        ops.open = { raw, inode, info in
            operations(raw!).open(Request(raw!, .open, inode: inode), flags: info!.pointee.flags)
        }
        ops.release = { raw, inode, info in
            operations(raw!).release(Request(raw!, .release, inode: inode), handle: info!.pointee.fh)
        }
    }

    private static func directories(_ ops: inout fuse_lowlevel_ops) {
        ops.opendir = { raw, inode, _ in operations(raw!).openDirectory(Request(raw!, .opendir, inode: inode)) }
        ops.readdir = { raw, inode, count, cookie, info in
            operations(raw!).readDirectory(
                Request(raw!, .readdir, inode: inode), handle: info!.pointee.fh,
                cookie: UInt64(bitPattern: Int64(cookie)),
                count: count, plus: false)
        }
        ops.readdirplus = { raw, inode, count, cookie, info in
            operations(raw!).readDirectory(
                Request(raw!, .readdirplus, inode: inode), handle: info!.pointee.fh,
                cookie: UInt64(bitPattern: Int64(cookie)), count: count, plus: true)
        }
        ops.releasedir = { raw, inode, info in
            operations(raw!).releaseDirectory(Request(raw!, .releasedir, inode: inode), handle: info!.pointee.fh)
        }
    }

    private static func attributes(_ ops: inout fuse_lowlevel_ops) {
        ops.getattr = { raw, inode, info in
            operations(raw!).attributes(Request(raw!, .getattr, inode: inode), handle: info?.pointee.fh)
        }
        ops.statfs = { raw, inode in operations(raw!).fileSystemStatistics(Request(raw!, .statfs, inode: inode)) }
        ops.getxattr = { raw, inode, name, count in
            operations(raw!).extendedAttribute(
                Request(raw!, .getxattr, inode: inode), name: String(cString: name!), count: count)
        }
        ops.listxattr = { raw, inode, count in
            operations(raw!).extendedAttributeNames(Request(raw!, .listxattr, inode: inode), count: count)
        }
    }

    /// The superblock is read-only, so hardly any of these comes; whatever does gets the same answer.
    private static func writes(_ ops: inout fuse_lowlevel_ops) {
        ops.setattr = { raw, inode, _, _, _ in refuse(raw, inode) }
        ops.mknod = { raw, inode, _, _, _ in refuse(raw, inode) }
        ops.mkdir = { raw, inode, _, _ in refuse(raw, inode) }
        ops.unlink = { raw, inode, _ in refuse(raw, inode) }
        ops.rmdir = { raw, inode, _ in refuse(raw, inode) }
        ops.symlink = { raw, _, inode, _ in refuse(raw, inode) }
        ops.rename = { raw, inode, _, _, _, _ in refuse(raw, inode) }
        ops.link = { raw, inode, _, _ in refuse(raw, inode) }
        ops.write = { raw, inode, _, _, _, _ in refuse(raw, inode) }
        ops.create = { raw, inode, _, _, _ in refuse(raw, inode) }
        ops.setxattr = { raw, inode, _, _, _, _ in refuse(raw, inode) }
        ops.removexattr = { raw, inode, _ in refuse(raw, inode) }
        ops.fallocate = { raw, inode, _, _, _, _ in refuse(raw, inode) }
    }
}

// Not members: a C function can capture nothing, not even the type.

private func operations(_ raw: fuse_req_t) -> any Operations {
    Unmanaged<Session>.fromOpaque(fuse_req_userdata(raw)!)._withUnsafeGuaranteedRef { $0.operations }
}

private func refuse(_ raw: fuse_req_t?, _ inode: UInt64) {
    Request(raw!, .write, inode: inode).fail(.readOnlyFileSystem)
}
