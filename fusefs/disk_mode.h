// SPDX-License-Identifier: Apache-2.0
//
// The mode that a disk is shown with: what is usual (0644, 0444), narrowed to what its images
// permit, so that no user reads or writes through the mount what the images keep from that user.
//
// Invariants: FS-15 to FS-18 (README.md).
//
// Threads: any; looks at the images' attributes and at directories, no lock.
#pragma once

#include <sys/types.h>

#include <vector>

#include "blocklayer/chain/disk.h"

namespace chainfs::fusefs {

struct ShownOwner {
  uid_t uid = 0;
  gid_t gid = 0;
  bool uid_given = false;  // by uid= or by chown
  bool gid_given = false;  // by gid=
  uid_t daemon_uid = 0;
  bool allow_other = false;
};

// What somebody who is shown as `shown` has of a file or directory, bits of 0777.
mode_t BitsFor(const ShownOwner& shown, const FileStat& file);
// What group and others have of what lies beyond these directories, bits of 0077.
mode_t BitsBeyond(const ShownOwner& shown, const std::vector<FileStat>& way);
// The most that the images of `disk` permit, bits of 0666.
mode_t PermittedBits(const ShownOwner& shown, const Disk& disk);

}  // namespace chainfs::fusefs
