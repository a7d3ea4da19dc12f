// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_stream.h"

#include <CLI/CLI.hpp>

#include "ctl/chainctl/job_verb.h"
#include "ctl/chainctl/key_options.h"

namespace chainfs::chainctl {

VerbRow StreamVerb() {
  return {.name = "stream",
          .help = CommandOf("stream").help,
          .examples =
              "chainctl stream vm1.raw --base base.qcow2\n"
              "chainctl stream vm1.raw --speed 50M -b\n"
              "chainctl stream vm1.raw --dry-run\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) { return DeclareJobVerb(verb, "stream", {}); }};
}

}  // namespace chainfs::chainctl
