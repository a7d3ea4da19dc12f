// SPDX-License-Identifier: Apache-2.0
//
// The names of what can be read: status attributes user.chainfs.NAME, the files of
// MOUNTPOINT/.chainfs, and the events. The manual is compared with these tables by a test.
#pragma once

#include <span>
#include <string_view>

#include "ctl/verbs/verb_table.h"

namespace chainfs::verbs {

struct StatusAttribute {
  std::string_view name;
  Scope scope;
  std::string_view help;  // one line, without a full stop
};

struct StatusFile {
  std::string_view name;  // beneath MOUNTPOINT/.chainfs
  std::string_view help;
};

struct Event {
  std::string_view name;
  std::string_view help;  // when it comes, and what it tells besides
};

// `job.ID` is an attribute of a disk for every job of it, and has no row of its own.
std::span<const StatusAttribute> StatusAttributes();
// Null: no attribute is called so.
const StatusAttribute* FindStatusAttribute(std::string_view name);
std::span<const StatusFile> StatusFiles();
std::span<const Event> Events();

}  // namespace chainfs::verbs
