// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli.h"

int main(int argc, char** argv) { return chainfs::RunChainctl(argc, argv); }
