// SPDX-License-Identifier: Apache-2.0
//
// Which version this is, down to the commit. The definition is written by the build
// (write_version.cmake), so that a new commit compiles that file alone.
#pragma once

namespace chainfs {

// Of this build: "0.1.0 (commit 0123456789ab)", with "-dirty" after a commit whose files were
// changed since; "0.1.0" when it was not built from a git work tree. Never null.
const char* Version();

}  // namespace chainfs
