#pragma once

// What Glibc's module leaves out: GNU extensions, macros and variadic calls.

/// Names the calling thread; at most 15 bytes. Answers 0 or an errno.
int clinux_set_thread_name(const char *name);

#include "CLinuxDisk.h"
#include "CLinuxNode.h"
