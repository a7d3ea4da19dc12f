// SPDX-License-Identifier: Apache-2.0
//
// The life of the daemon: open the sources, mount, serve, and leave in an order that loses nothing.
//
// Leaving on SIGTERM or SIGINT: jobs come to a consistent point, event readers get end of file, the
// kernel writes back and unmounts (or, where files are still open, detaches), requests being served
// are finished, images are flushed and closed. When somebody else unmounts, the same from
// "requests" on.
#pragma once

#include "fusefs/daemonize.h"
#include "fusefs/options.h"

namespace chainfs::fusefs {

// Returns once the mount is gone and everything is closed. An error is what to print; after
// Announce it goes to the log.
Status RunDaemon(const Options& options, Background& background);

}  // namespace chainfs::fusefs
