// Opening what has to be a regular file. Apart from files.cpp, which needs another header for
// struct stat's successor than this one does for struct stat.
#pragma once

#include <cstdint>

namespace riolog {

// openat(2), always with O_CLOEXEC and O_NOFOLLOW: a descriptor, or -1 with errno set. EISDIR for a
// directory, ENXIO for a pipe or a device; never waits for who has the other end of a pipe.
int openRegular(int directory, const char* name, int flags, uint32_t mode) noexcept;

}  // namespace riolog
