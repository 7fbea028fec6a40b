#pragma once

// What a node's processes need: descriptors over unix sockets, sealed memory, process handles, the mount API by
// descriptor. Every function answers -1 and sets errno, unless it says otherwise.

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// Sends bytes with descriptors attached to the first of them; never raises SIGPIPE.
ssize_t clinux_send_descriptors(int socket, const void *bytes, size_t count, const int *descriptors, int descriptor_count);

/// Receives bytes and the descriptors that came with them (close-on-exec). EMSGSIZE: more than `capacity` came; all
/// of them are closed.
ssize_t clinux_receive_descriptors(
    int socket, void *bytes, size_t count, int *descriptors, int capacity, int *descriptor_count);

/// accept4(2) with close-on-exec and non-blocking.
int clinux_accept(int socket);

/// The process at the other end of a unix socket, as it was when it connected.
int clinux_peer(int socket, int32_t *pid, uint32_t *uid);

/// Memory behind a descriptor; close-on-exec, sealable.
int clinux_memory_file(const char *name);
/// Forbids every further change of it.
int clinux_seal(int memory_file);

/// Another close-on-exec descriptor of the same open file.
int clinux_duplicate(int descriptor);

int clinux_pidfd_open(int32_t pid);
int clinux_pidfd_kill(int pidfd, int signal);

/// Opens a path without following any symbolic link. `flags` as of open(2).
int clinux_open_beneath_no_links(int directory, const char *path, int flags);

/// What is at a name, asked of the kernel alone: no file system's daemon is called, so it cannot hang.
struct clinux_mount_stat {
    uint32_t mode;
    uint32_t device_major;
    uint32_t device_minor;
    uint64_t inode;
    uint64_t mount_id;
    int is_mount_root;
};
/// `name` "" is the directory itself. The last component is not followed where it is a link.
int clinux_mount_stat(int directory, const char *name, struct clinux_mount_stat *result);

/// A new FUSE file system over an open /dev/fuse, mounted nowhere yet: read-only, nosuid, nodev, allow_other. Answers
/// the descriptor of the mount.
int clinux_mount_fuse(int fuse, const char *source, const char *subtype);
/// A copy of the mount at `mount`, attached nowhere yet and read-only, with MOUNT_ATTR_* bits on top.
int clinux_clone_mount(int mount, uint64_t attributes);
/// Attaches a mount from one of the two above at the directory `target`.
int clinux_attach_mount(int mount, int target);
/// Detaches what is mounted at `path`, lazily; a link is not followed. `force` ends a FUSE connection with it: every
/// request of it fails.
int clinux_detach_mount(const char *path, int force);

/// O_PATH.
extern const int clinux_open_path;
extern const uint64_t clinux_mount_noexec;
extern const uint64_t clinux_mount_noatime;
extern const uint64_t clinux_mount_nodiratime;

/// No core dumps and no ptrace by others: the process holds secrets. 0 or -1.
int clinux_forbid_dumps(void);
/// Gives up root for good: groups, group, user. 0 or -1.
int clinux_become(uint32_t uid, uint32_t gid);
