// SPDX-License-Identifier: Apache-2.0
//
// The one place where an Error becomes the errno of a reply.
//
// Three numbers never come out, because the kernel gives them a meaning of its own: ENOSYS (it
// would never ask again for the life of the mount), EAGAIN (rewritten by setxattr) and ESTALE (the
// path is looked up again and a command would arrive twice).
#pragma once

#include <string>

#include "blocklayer/base/error.h"

namespace chainfs::control {

// > 0, < 512.
int ErrnoOf(const Error& error);
// "EBUSY"; "errno 300" for a number without a name.
std::string ErrnoName(int number);

}  // namespace chainfs::control
