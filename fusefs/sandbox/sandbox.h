// SPDX-License-Identifier: Apache-2.0
//
// The sandbox: what this process may still do once it looks at images. Whoever takes it over by one
// of them reaches the directories of the policy, and nothing else of the host.
//
// Threads: Confine is called while there is one thread; all that are started later are confined,
// too.
#pragma once

#include <string>
#include <vector>

#include "blocklayer/base/result.h"

namespace chainfs::sandbox {

// Absolute paths. What does not exist is passed over.
struct Policy {
  std::vector<std::string> written;  // directories (or files) that are read and changed
  std::vector<std::string> read;     // directories and files that are only read
  std::vector<std::string> sockets;  // directories where sockets are made and removed
};

// No new privileges; no capability but those that kKept lists; the files of the policy by Landlock;
// the system calls of syscall_filter.cc by seccomp. A line for each part that this kernel lacks: it
// degrades. An error when a part is there and fails.
Result<std::vector<std::string>> Confine(const Policy& policy);

}  // namespace chainfs::sandbox
