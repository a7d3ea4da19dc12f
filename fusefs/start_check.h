// SPDX-License-Identifier: Apache-2.0
//
// What must be right before a mount appears: who names an image wants that one. A bad image in a
// directory does no harm to the others, and is listed.
//
// Threads: the one that starts the daemon.
#pragma once

#include "blocklayer/catalog/catalog.h"

namespace chainfs::fusefs {

// Waits while another chainfs is about to let go of an image (10 seconds at most, so that mounting
// works right after unmounting), but for nobody else. Then fails, with the one line to print, when
// an image that the user named cannot be shown; one that is merely being checked appears later.
Status AwaitImages(Catalog& catalog);

}  // namespace chainfs::fusefs
