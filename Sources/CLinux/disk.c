#define _GNU_SOURCE
#include "CLinuxDisk.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t clinux_pread_nowait(int file, void *buffer, size_t count, off_t offset) {
    struct iovec part = {buffer, count};
    return preadv2(file, &part, 1, offset, RWF_NOWAIT);
}

int clinux_open_direct(int file) {
    char name[40];
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    return open(name, O_WRONLY | O_DIRECT | O_CLOEXEC);
}

off_t clinux_next_data(int file, off_t offset) { return lseek(file, offset, SEEK_DATA); }

int clinux_syncfs(int file) { return syncfs(file); }
