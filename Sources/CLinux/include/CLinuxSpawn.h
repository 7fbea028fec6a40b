#pragma once

// What starting a child needs beyond Glibc's module.

#include <spawn.h>

/// Both ends close-on-exec. -1 and errno where there is none.
int clinux_pipe(int ends[2]);

/// The child closes every descriptor from `first` on. 0 or an errno.
int clinux_spawn_close_from(posix_spawn_file_actions_t *actions, int first);
