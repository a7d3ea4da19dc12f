// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cli.h"

int main(int argc, char** argv) { return chainfs::chainctl::RunChainctl(argc, argv); }
