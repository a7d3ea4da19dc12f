// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_backup.h"

#include <CLI/CLI.hpp>

#include "ctl/chainctl/job_verb.h"
#include "ctl/chainctl/key_options.h"

namespace chainfs::chainctl {

VerbRow BackupVerb() {
  return {.name = "backup",
          .help = CommandOf("backup").help,
          .examples =
              "chainctl backup vm1.raw --target /backup/vm1.qcow2 --compress zstd\n"
              "chainctl backup vm1.raw --target /backup/monday.qcow2 --since vm1.qcow2\n"
              "chainctl backup vm1.raw --then hold -b\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) {
            return DeclareJobVerb(verb, "backup", {"cluster_size", "extended_l2"});
          }};
}

}  // namespace chainfs::chainctl
