#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// CRC32C (Castagnoli) of `count` bytes, going on from `crc` (0 at the start). Uses the CPU's instruction where there
/// is one.
uint32_t clinux_crc32c(uint32_t crc, const void *bytes, size_t count);

/// The same, by tables alone: for CPUs without the instruction, and to test against.
uint32_t clinux_crc32c_portable(uint32_t crc, const void *bytes, size_t count);

/// pread of what the page cache holds: -1 and EAGAIN where a disk would be waited for.
ssize_t clinux_pread_nowait(int file, void *buffer, size_t count, off_t offset);

/// Another descriptor of an open file, to write past the page cache (O_DIRECT); -1 where its file system can't.
int clinux_open_direct(int file);

/// Where a sparse file has data next, from `offset` on: -1 and ENXIO where there is none.
off_t clinux_next_data(int file, off_t offset);

/// Writes all of the file system that the descriptor is on to its disk.
int clinux_syncfs(int file);
