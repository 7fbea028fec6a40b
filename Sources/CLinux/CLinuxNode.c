#define _GNU_SOURCE
#include "CLinuxNode.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAX_DESCRIPTORS = 32 };

ssize_t clinux_send_descriptors(int socket, const void *bytes, size_t count, const int *descriptors, int descriptor_count) {
    if (descriptor_count > MAX_DESCRIPTORS) {
        errno = EINVAL;
        return -1;
    }
    struct iovec part = {(void *)bytes, count};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * MAX_DESCRIPTORS)];
        struct cmsghdr align;
    } control;
    if (descriptor_count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)descriptor_count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)descriptor_count);
        memcpy(CMSG_DATA(header), descriptors, sizeof(int) * (size_t)descriptor_count);
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

ssize_t clinux_receive_descriptors(
    int socket, void *bytes, size_t count, int *descriptors, int capacity, int *descriptor_count) {
    struct iovec part = {bytes, count};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * MAX_DESCRIPTORS)];
        struct cmsghdr align;
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    *descriptor_count = 0;
    ssize_t received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (received < 0) return -1;
    int too_many = (message.msg_flags & MSG_CTRUNC) != 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        int n = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < n; i++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(header) + sizeof(int) * (size_t)i, sizeof descriptor);
            if (*descriptor_count < capacity) {
                descriptors[(*descriptor_count)++] = descriptor;
            } else {
                close(descriptor);
                too_many = 1;
            }
        }
    }
    if (too_many) {
        for (int i = 0; i < *descriptor_count; i++) close(descriptors[i]);
        *descriptor_count = 0;
        errno = EMSGSIZE;
        return -1;
    }
    return received;
}

int clinux_accept(int socket) { return accept4(socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK); }

int clinux_peer(int socket, int32_t *pid, uint32_t *uid) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return -1;
    *pid = peer.pid;
    *uid = peer.uid;
    return 0;
}

int clinux_memory_file(const char *name) { return memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING); }

int clinux_seal(int memory_file) {
    return fcntl(memory_file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
}

int clinux_duplicate(int descriptor) { return fcntl(descriptor, F_DUPFD_CLOEXEC, 3); }

int clinux_pidfd_open(int32_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }
int clinux_pidfd_kill(int pidfd, int signal) { return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0); }

int clinux_open_beneath_no_links(int directory, const char *path, int flags) {
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC), .resolve = RESOLVE_NO_SYMLINKS};
    return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
}

int clinux_mount_stat(int directory, const char *name, struct clinux_mount_stat *result) {
    struct statx status;
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC | AT_EMPTY_PATH;
    if (statx(directory, name, flags, STATX_TYPE | STATX_MODE | STATX_INO | STATX_MNT_ID, &status) < 0) return -1;
    result->mode = status.stx_mode;
    result->device_major = status.stx_dev_major;
    result->device_minor = status.stx_dev_minor;
    result->inode = status.stx_ino;
    result->mount_id = status.stx_mnt_id;
    result->is_mount_root = (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
    return 0;
}

int clinux_mount_fuse(int fuse, const char *source, const char *subtype) {
    int context = fsopen("fuse", FSOPEN_CLOEXEC);
    if (context < 0) return -1;
    char number[16];
    snprintf(number, sizeof number, "%d", fuse);
    const char *options[][2] = {
        {"source", source}, {"subtype", subtype}, {"fd", number},           {"rootmode", "40000"},
        {"user_id", "0"},   {"group_id", "0"},    {"max_read", "1048576"},
    };
    const char *flags[] = {"ro", "allow_other", "default_permissions"};
    int failed = 0, mount = -1;
    for (size_t i = 0; !failed && i < sizeof options / sizeof options[0]; i++)
        failed = fsconfig(context, FSCONFIG_SET_STRING, options[i][0], options[i][1], 0) < 0;
    for (size_t i = 0; !failed && i < sizeof flags / sizeof flags[0]; i++)
        failed = fsconfig(context, FSCONFIG_SET_FLAG, flags[i], NULL, 0) < 0;
    if (!failed) failed = fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0;
    if (!failed)
        mount = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    int error = errno;
    close(context);
    errno = error;
    return mount;
}

int clinux_clone_mount(int mount, uint64_t attributes) {
    int copy = open_tree(mount, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (copy < 0) return -1;
    struct mount_attr change = {
        .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | attributes,
        // Setting an access time mode needs the old one cleared; see mount_setattr(2).
        .attr_clr = (attributes & MOUNT_ATTR_NOATIME) ? MOUNT_ATTR__ATIME : 0,
    };
    if (mount_setattr(copy, "", AT_EMPTY_PATH, &change, sizeof change) < 0) {
        int error = errno;
        close(copy);
        errno = error;
        return -1;
    }
    return copy;
}

int clinux_attach_mount(int mount, int target) {
    return move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

int clinux_detach_mount(const char *path, int force) {
    return umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW | (force ? MNT_FORCE : 0));
}

const int clinux_open_path = O_PATH;
const uint64_t clinux_mount_noexec = MOUNT_ATTR_NOEXEC;
const uint64_t clinux_mount_noatime = MOUNT_ATTR_NOATIME;
const uint64_t clinux_mount_nodiratime = MOUNT_ATTR_NODIRATIME;

int clinux_forbid_dumps(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

int clinux_become(uint32_t uid, uint32_t gid) {
    if (setgroups(0, NULL) < 0 && errno != EPERM) return -1;
    if (setresgid(gid, gid, gid) < 0) return -1;
    return setresuid(uid, uid, uid);
}
