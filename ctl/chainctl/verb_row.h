// SPDX-License-Identifier: Apache-2.0
//
// VerbRow: one verb of the command line. Each has a pair of files of its own, cmd_VERB, which
// declares its options and runs it, and a line in verb_rows.cc.
#pragma once

#include <functional>
#include <string_view>

#include "blocklayer/base/result.h"
#include "ctl/chainctl/exit_code.h"

namespace CLI {
class App;
}

namespace chainfs::chainctl {

// What all verbs take that can make use of it.
struct CommonOptions {
  bool json = false;     // machine-readable result
  bool verbose = false;  // print the equivalent setfattr lines
  bool quiet = false;    // no progress, no remarks
};

// Prints its result (stdout; people's notes go to stderr) and says how it ended; an Error is
// printed by the caller as "chainctl: VERB: message".
using Action = std::function<Result<ExitCode>(const CommonOptions&)>;

struct VerbRow {
  std::string_view name;
  std::string_view help;      // one line, without a full stop
  std::string_view examples;  // lines, each of them a command line
  bool sends = false;         // it gives a command, so that there is a setfattr line to print (-v)
  bool remarks = true;        // it says more than its result (-q)
  // Declares the options of the verb. What it returns owns them, and runs the verb after the parse.
  Action (*declare)(CLI::App& verb) = nullptr;
};

}  // namespace chainfs::chainctl
