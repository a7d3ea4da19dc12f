// SPDX-License-Identifier: Apache-2.0
//
// The table of verbs: every command attribute user.chainfs.VERB, its keys and their meaning. The
// daemon's parser and error texts, chainctl's options and help, the completion and the manual come
// from it, or are compared with it by a test.
//
// A new verb is a row here and a function of the daemon that carries it out.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "ctl/verbs/key.h"

namespace chainfs::verbs {

// On what a verb may be given.
enum class Scope : uint8_t { kDisk, kMount, kBoth };

enum class DryRun : uint8_t {
  kChecks,     // nothing but the checks that come before any verb
  kEstimates,  // the verb itself says what it would do, and whether it can
};

// Who may give a verb.
enum class Caller : uint8_t {
  kController,  // root, the daemon's user, the group of -o control_gid
  kRoot,
};

struct Verb {
  std::string_view name;
  std::string_view help;     // one line for people, without a full stop
  std::string_view example;  // a value for the attribute; may be empty
  Scope scope = Scope::kDisk;
  DryRun dry_run = DryRun::kChecks;
  Caller caller = Caller::kController;
  bool on_job = false;  // acts on a job that is there: `id` names it
  std::span<const Key> keys;
};

// All of them, in the order in which people read of them.
std::span<const Verb> Verbs();
// Null: no verb is called so.
const Verb* FindVerb(std::span<const Verb> verbs, std::string_view name);
// "stream, snapshot, ...": for error texts.
std::string VerbNames(std::span<const Verb> verbs);

// The options of a new image's format: `-o` of `chainctl create`. `snapshot` takes some of them.
std::span<const Key> FormatKeys();

}  // namespace chainfs::verbs
