// SPDX-License-Identifier: Apache-2.0
//
// Capabilities (capabilities(7)) of this process.
#pragma once

#include "blocklayer/base/result.h"

namespace chainfs::sandbox {

// Of what we have, keeps what files of other users need: opening them (DAC_OVERRIDE,
// DAC_READ_SEARCH), and giving a new file the owner and mode of the old one (CHOWN, FOWNER). None
// of them can come back, by exec neither. Of the calling thread, and of threads that it starts.
Status DropCapabilities();

}  // namespace chainfs::sandbox
