// SPDX-License-Identifier: Apache-2.0
//
// Options of the command line that are keys of a command: declared from the table of verbs, and put
// together to what is sent.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"
#include "ctl/verbs/arguments.h"
#include "ctl/verbs/verb_table.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace chainfs::chainctl {

// The row of a verb that exists.
const verbs::Verb& CommandOf(std::string_view verb);

// The first operand of most verbs.
void AddDisk(CLI::App& verb, std::string& disk);
// `--KEY`, which sets the key in `arguments`; a switch is a flag. `names` such as "-y,--yes" take
// the place of "--KEY". `arguments` must live as long as the parse.
CLI::Option* AddKeyOption(CLI::App& verb, const verbs::Key& key, verbs::Arguments& arguments,
                          const std::string& names = "");
// The same for each key of the command but `without`.
void AddKeyOptions(CLI::App& verb, const verbs::Verb& command,
                   std::initializer_list<std::string_view> without, verbs::Arguments& arguments);
// `-o KEY=VALUE,...` with the names of `keys` in its help.
void AddFormatOptions(CLI::App& verb, std::span<const verbs::Key> keys,
                      std::vector<std::string>& lists);

// What was typed, as the daemon takes it: sizes and rates in bytes, everything checked against
// `keys`. kInvalidArgument.
Result<verbs::Arguments> AsSent(verbs::Arguments typed, std::span<const verbs::Key> keys);
// The same of `-o` lists.
Result<verbs::Arguments> FormatOptionsAsSent(const std::vector<std::string>& lists,
                                             std::span<const verbs::Key> keys);

}  // namespace chainfs::chainctl
