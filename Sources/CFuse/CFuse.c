#define _GNU_SOURCE
#include "CFuse.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/syscall.h>
#include <unistd.h>

// Requests are read by Fuse.Server, not by libfuse, but libfuse insists on a reader.
static ssize_t never_read(int fd, void *bytes, size_t length, void *userdata) {
    (void)fd, (void)bytes, (void)length, (void)userdata;
    errno = ENOSYS;
    return -1;
}

struct fuse_session *cfuse_session(const struct fuse_lowlevel_ops *ops, void *userdata, int fd,
                                   ssize_t (*writev)(int, struct iovec *, int, void *)) {
    char *argv[] = {"millrace", NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, argv);
    struct fuse_session *session = fuse_session_new(&args, ops, sizeof *ops, userdata);
    fuse_opt_free_args(&args);
    if (session == NULL) return NULL;
    struct fuse_custom_io io = {.writev = writev, .read = never_read};
    if (fuse_session_custom_io(session, &io, fd) != 0) {
        fuse_session_destroy(session);
        return NULL;
    }
    return session;
}

static _Thread_local uint64_t current_unique;

void cfuse_process(struct fuse_session *session, void *bytes, size_t length) {
    struct fuse_buf buffer = {.size = length, .mem = bytes};
    memcpy(&current_unique, (char *)bytes + 8, sizeof current_unique);
    fuse_session_process_buf(session, &buffer);
}

uint64_t cfuse_current_unique(void) { return current_unique; }

// Newer than the headers of Debian 12.
struct backing_map {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};
#define BACKING_OPEN _IOW(229, 1, struct backing_map)
#define BACKING_CLOSE _IOW(229, 2, uint32_t)

int cfuse_backing_open(int fuse_fd, int file_fd) {
    struct backing_map map = {.fd = file_fd};
    int id = ioctl(fuse_fd, BACKING_OPEN, &map);
    return id < 0 ? -errno : id;
}

int cfuse_backing_close(int fuse_fd, int backing_id) {
    uint32_t id = (uint32_t)backing_id;
    return ioctl(fuse_fd, BACKING_CLOSE, &id) < 0 ? -errno : 0;
}

int cfuse_receive_descriptor(int socket) {
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;
    do n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0) return -errno;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (n == 0 || header == NULL || header->cmsg_type != SCM_RIGHTS) return -ENOTCONN;
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

// The parent has many threads: between fork and _exit only async-signal-safe calls are allowed.
int cfuse_child_umount(const char *path, int flags) {
    pid_t pid = fork();
    if (pid == 0) _exit(umount2(path, flags) == 0 ? 0 : errno);
    return pid < 0 ? -errno : pid;
}

int cfuse_child_statfs(const char *path) {
    pid_t pid = fork();
    if (pid == 0) {
        struct statfs status;
        _exit(statfs(path, &status) == 0 ? 0 : errno);
    }
    return pid < 0 ? -errno : pid;
}

int cfuse_pidfd_open(int pid) {
    long fd = syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : (int)fd;
}
