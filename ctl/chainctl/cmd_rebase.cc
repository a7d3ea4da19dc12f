// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_rebase.h"

#include <CLI/CLI.hpp>

#include "ctl/chainctl/job_verb.h"
#include "ctl/chainctl/key_options.h"

namespace chainfs::chainctl {

VerbRow RebaseVerb() {
  return {.name = "rebase",
          .help = CommandOf("rebase").help,
          .examples =
              "chainctl rebase vm1.raw --base /images/new/base.qcow2\n"
              "chainctl rebase vm1.raw --base other.qcow2 --unsafe\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) { return DeclareJobVerb(verb, "rebase"); }};
}

}  // namespace chainfs::chainctl
