// SPDX-License-Identifier: Apache-2.0
//
// umount: unmount, then wait until the daemon has ended. The kernel's umount returns while the
// daemon still writes metadata; whoever copies or moves the images then gets half of it. The daemon
// is held by a pidfd taken before the unmount, so that a reused pid cannot be mistaken for it.
//
// Readers of the events are no users of a disk: they are asked to let go. Who else holds the mount,
// or keeps the daemon from ending afterwards, is named.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow UmountVerb();

}  // namespace chainfs::chainctl
