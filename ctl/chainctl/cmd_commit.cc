// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_commit.h"

#include <CLI/CLI.hpp>

#include "ctl/chainctl/job_verb.h"
#include "ctl/chainctl/key_options.h"

namespace chainfs::chainctl {

VerbRow CommitVerb() {
  return {.name = "commit",
          .help = CommandOf("commit").help,
          .examples =
              "chainctl commit vm1.raw --top mid.qcow2 --base base.qcow2\n"
              "chainctl commit vm1.raw --base base.qcow2 --delete yes\n"
              "chainctl commit vm1.raw --base base.qcow2 --dry-run\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) { return DeclareJobVerb(verb, "commit"); }};
}

}  // namespace chainfs::chainctl
