// SPDX-License-Identifier: Apache-2.0
//
// chainctl without its main, so that tests can link it.
#pragma once

namespace chainfs::chainctl {

// The whole program: arguments in, exit code out.
int RunChainctl(int argc, char** argv);

}  // namespace chainfs::chainctl
