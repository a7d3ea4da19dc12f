// SPDX-License-Identifier: Apache-2.0
//
// The table of commands, by QEMU's names.
#pragma once

#include <string_view>

#include "ctl/qmp/client.h"
#include "ctl/qmp/parameters.h"

namespace chainfs::qmp {

struct Command {
  std::string_view name;
  Answer (*run)(Client& client, Parameters& parameters);
  std::string_view verb = {};  // that it orders and without which there is no such command
};

// Null: none is called so.
const Command* FindCommand(std::string_view name);

}  // namespace chainfs::qmp
