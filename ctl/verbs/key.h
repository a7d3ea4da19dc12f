// SPDX-License-Identifier: Apache-2.0
//
// Key: one `key=value` that a verb takes: its type, what it means to people, and what holds without
// it. Rows of constant tables; nothing here allocates but error texts.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "blocklayer/base/result.h"

namespace chainfs::verbs {

enum class KeyType : uint8_t {
  kText,    // anything, also nothing
  kLayer,   // a layer as `chain` shows it, or its file name alone where that is unique
  kFile,    // a file name
  kDisk,    // a chain's name
  kNewId,   // the name of a job to come (job_id.h)
  kJobId,   // the name of a job that is there
  kNumber,  // decimal digits
  kSize,    // bytes: digits and an optional suffix k K M G T (powers of 1024)
  kRate,    // bytes per second, written like a size; 0: no limit
  kSwitch,  // yes, no and the like
  kWord,    // one of a few words
};

struct Key {
  std::string_view name;
  KeyType type = KeyType::kText;
  std::string_view help;                         // "Layer that stays below"
  std::string_view otherwise;                    // what holds without it; empty: `help` says it
  std::span<const std::string_view> words = {};  // of kWord
  bool required = false;
};

// Whether `text` can be a value of the key. kInvalidArgument, naming the key.
Status CheckValue(const Key& key, std::string_view text);
// How a value of the key is called in a synopsis: "LAYER", "yes|no", "report|ignore|stop|enospc".
std::string ValueName(const Key& key);
// "base, top, speed": for error texts.
std::string KeyNames(std::span<const Key> keys);
// Null: no key is called so.
const Key* FindKey(std::span<const Key> keys, std::string_view name);

}  // namespace chainfs::verbs
