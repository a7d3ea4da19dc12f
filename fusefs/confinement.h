// SPDX-License-Identifier: Apache-2.0
//
// What a daemon with these options needs of the host, made into a policy of the sandbox.
#pragma once

#include "blocklayer/base/result.h"
#include "fusefs/options.h"
#include "fusefs/sandbox/sandbox.h"

namespace chainfs::fusefs {

// Which directories: the sources (of an image its directory), `backing_dir`, `target_dir`, the
// state directory and that of the QMP socket. With `ro` the images' are only read.
sandbox::Policy PolicyOf(const Options& options);

// Confines this process for good, and logs what the kernel lacks for it. While there is one thread,
// with the state directory in `options`. Does nothing with -o sandbox=off.
Status ConfineDaemon(const Options& options);

}  // namespace chainfs::fusefs
