// SPDX-License-Identifier: Apache-2.0
//
// The table of commands, by QEMU's names.
#pragma once

#include <span>
#include <string_view>

#include "ctl/qmp/client.h"
#include "ctl/qmp/parameters.h"

namespace chainfs::qmp {

struct Command {
  std::string_view name;
  Answer (*run)(Client& client, Parameters& parameters);
};

// Sorted by idea.
std::span<const Command> Commands();
// Null: none is called so.
const Command* FindCommand(std::string_view name);

}  // namespace chainfs::qmp
