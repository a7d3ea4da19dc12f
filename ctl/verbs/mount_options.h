// SPDX-License-Identifier: Apache-2.0
//
// The table of mount options: every word that `chainfs -o` takes, ours with a line for people. The
// daemon's parser and help come from it; the manual is compared with it by a test.
//
// A new option is a row here and a setter in fusefs/options.cc.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace chainfs::verbs {

// Who makes use of an option.
enum class OptionFor : uint8_t {
  kDaemon,  // chainfs itself
  kKernel,  // passed on to mount(2)
  kNobody,  // what mount(8), fstab and systemd write, and what holds anyway or means nothing here
};

enum class OptionValue : uint8_t { kNone, kRequired, kOptional };

struct MountOption {
  std::string_view name;
  OptionFor meant_for = OptionFor::kDaemon;
  OptionValue value = OptionValue::kNone;
  std::string_view value_name = {};  // "SIZE"
  std::string_view help = {};        // one line, without a full stop; of kDaemon only
  std::string_view otherwise = {};   // what holds without it; empty: `help` says it
  bool repeated = false;             // may be given more than once, and all count
};

// Ours first, in the order in which people read of them. Words that begin with x- or X- are taken,
// too, and mean nothing here.
std::span<const MountOption> MountOptions();
// Null: no option is called so.
const MountOption* FindMountOption(std::string_view name);
// "  index_memory=SIZE            Memory for ...", a line each, for --help.
std::string MountOptionsHelp();

}  // namespace chainfs::verbs
