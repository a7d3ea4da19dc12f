// SPDX-License-Identifier: Apache-2.0
//
// libfuse, at the version of its interface that chainfs is written against. Newer abilities are
// used where the headers have them, guarded by FUSE_VERSION.
#pragma once

#define FUSE_USE_VERSION 314
// The order matters: fuse_lowlevel.h reads the macro.
#include <fuse_lowlevel.h>
