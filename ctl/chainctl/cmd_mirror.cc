// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_mirror.h"

#include <CLI/CLI.hpp>

#include "ctl/chainctl/job_verb.h"
#include "ctl/chainctl/key_options.h"

namespace chainfs::chainctl {

VerbRow MirrorVerb() {
  return {.name = "mirror",
          .help = CommandOf("mirror").help,
          .examples =
              "chainctl mirror vm1.raw --target /fast/vm1.qcow2 --then pivot\n"
              "chainctl mirror vm1.raw --target /backup/vm1.raw --then keep\n"
              "chainctl mirror vm1.raw --target /fast/vm1.qcow2 -o cluster_size=128k\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) {
            return DeclareJobVerb(verb, "mirror",
                                  {"cluster_size", "lazy_refcounts", "extended_l2"});
          }};
}

}  // namespace chainfs::chainctl
