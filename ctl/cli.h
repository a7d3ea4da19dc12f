// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace chainfs {

// The whole program: arguments in, exit code out.
int RunChainctl(int argc, char** argv);

}  // namespace chainfs
