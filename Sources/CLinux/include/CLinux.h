#pragma once

// What Glibc's module leaves out: GNU extensions, macros and variadic calls.

#include <sys/xattr.h>

/// Names the calling thread; at most 15 bytes. Answers 0 or an errno.
int clinux_set_thread_name(const char *name);

/// Gives back a file's memory or blocks in a range, whose bytes read as zero from then on. Answers 0 or an errno.
int clinux_punch_hole(int fd, long offset, long length);

#include "CLinuxDisk.h"
#include "CLinuxNode.h"
#include "CLinuxSpawn.h"
