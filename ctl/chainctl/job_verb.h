// SPDX-License-Identifier: Apache-2.0
//
// JobVerb: what the verbs have in common that start a job which shortens a chain: the command, its
// dry run, the wait, the chain before and after, and what became of the layers that were merged.
#pragma once

#include <initializer_list>
#include <string_view>

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

// Declares DISK, the keys of the command but for `without`, `-o` for those that say how an image is
// made (which `without` names), and those of the wait. `verb`: of the table of commands; lives for
// ever.
Action DeclareJobVerb(CLI::App& app, std::string_view verb,
                      std::initializer_list<std::string_view> without = {});

}  // namespace chainfs::chainctl
