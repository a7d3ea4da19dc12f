// SPDX-License-Identifier: Apache-2.0
//
// chainctl without its main, so that tests can link it: the rows of the verbs become a command
// line, and an ending an exit code and one line.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

// The whole program: arguments in, exit code out.
int RunChainctl(int argc, char** argv);
// The same with these verbs.
int RunVerbs(std::span<const VerbRow> rows, int argc, char** argv);

// What people may type after a verb: for the manual and the completion.
struct DescribedVerb {
  std::string name;
  std::vector<std::string> options;   // "--json", "-o"; of those with two names both
  std::vector<std::string> operands;  // "DISK"
};
std::vector<DescribedVerb> DescribeVerbs(std::span<const VerbRow> rows);

}  // namespace chainfs::chainctl
