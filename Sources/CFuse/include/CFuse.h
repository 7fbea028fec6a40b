#pragma once

// libfuse's low-level API and what Swift cannot call of it or of the kernel: macros, variadics, fork.
// _FILE_OFFSET_BITS stays undefined: it clashes with Swift's Glibc module.

#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/xattr.h>

/// A session without a mount. `writev` takes everything libfuse sends, with `userdata`. `fd` is closed by
/// fuse_session_destroy. NULL where libfuse refuses; then `fd` stays the caller's.
struct fuse_session *cfuse_session(const struct fuse_lowlevel_ops *ops, void *userdata, int fd,
                                   ssize_t (*writev)(int fd, struct iovec *iov, int count, void *userdata));

/// Has libfuse parse one request of `length` bytes and call its operation on this thread.
void cfuse_process(struct fuse_session *session, void *bytes, size_t length);

/// The `unique` of the request that this thread is processing.
uint64_t cfuse_current_unique(void);

/// Passes an open file to the kernel: a backing id above 0, or a negated errno.
int cfuse_backing_open(int fuse_fd, int file_fd);
/// 0 or a negated errno.
int cfuse_backing_close(int fuse_fd, int backing_id);

/// Receives one descriptor sent with SCM_RIGHTS (close-on-exec), or a negated errno.
int cfuse_receive_descriptor(int socket);

/// Calls that may hang on a dead mount, done in a child whose exit status is the errno. Answers the child's pid or a
/// negated errno.
int cfuse_child_umount(const char *path, int flags);
int cfuse_child_statfs(const char *path);
int cfuse_pidfd_open(int pid);
