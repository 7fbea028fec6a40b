#define _GNU_SOURCE
#include "CLinuxDisk.h"

#include <sys/uio.h>
#include <unistd.h>

ssize_t clinux_pread_nowait(int file, void *buffer, size_t count, off_t offset) {
    struct iovec part = {buffer, count};
    return preadv2(file, &part, 1, offset, RWF_NOWAIT);
}

off_t clinux_next_data(int file, off_t offset) { return lseek(file, offset, SEEK_DATA); }
