// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/left_out.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "blocklayer/catalog/chain_record.h"

namespace chainfs {
namespace {

constexpr std::string_view kInodeKey = "inode";
constexpr std::string_view kStateKey = "state";  // without it, merged: all that older daemons knew
constexpr std::string_view kJobKey = "job";
constexpr std::string_view kBuiltOnKey = "built-on";  // its backing name, after a blank
constexpr std::array<std::string_view, 4> kStates = {"", "changing", "changed", "target"};

}  // namespace

std::string LeftOutName(const LeftOut& mark) {
  const std::string name = mark.path.substr(mark.path.rfind('/') + 1);
  return fmt::format("{}{}-{}", kLeftOutPrefix, name.substr(0, kMaxNameInFileName), mark.inode);
}

std::optional<FileInName> FileOfLeftOutName(std::string_view record) {
  const size_t dash = record.rfind('-');
  if (!record.starts_with(kLeftOutPrefix) || dash < kLeftOutPrefix.size()) return std::nullopt;
  FileInName file;
  file.name = record.substr(kLeftOutPrefix.size(), dash - kLeftOutPrefix.size());
  const std::string_view digits = record.substr(dash + 1);
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), file.inode);
  const bool whole = error == std::errc() && end == digits.data() + digits.size();
  return whole && file.inode != 0 ? std::optional(file) : std::nullopt;
}

// The record of a chain that consists of this file, with some keys more.
std::string FormatLeftOut(const LeftOut& mark, std::string_view source) {
  const ChainRecord record{.name = "merged",
                           .active = mark.path,
                           .format = ImageFormat::kQcow2,
                           .origin = {},
                           .backing = mark.into,
                           .next = {},
                           .roots = {}};
  RecordFields fields = FieldsOf(record, source);
  fields.push_back({.key = std::string(kInodeKey), .value = fmt::format("{}", mark.inode)});
  const std::string_view state = kStates[static_cast<size_t>(mark.kind)];
  if (!state.empty())
    fields.push_back({.key = std::string(kStateKey), .value = std::string(state)});
  if (!mark.job.empty()) fields.push_back({.key = std::string(kJobKey), .value = mark.job});
  if (mark.built_on) {
    fields.push_back({.key = std::string(kBuiltOnKey), .value = " " + *mark.built_on});
  }
  return FormatRecord(fields);
}

Result<LeftOut> ParseLeftOut(std::string_view text, std::string_view source) {
  CHAINFS_ASSIGN(const RecordFields fields, ParseRecord(text));
  CHAINFS_ASSIGN(ChainRecord record, ChainRecordOf(fields, source));
  LeftOut mark{.path = std::move(record.active), .inode = 0, .into = std::move(record.backing)};
  for (const RecordField& field : fields) {
    if (field.key == kJobKey) mark.job = field.value;
    if (field.key == kBuiltOnKey && !field.value.empty()) mark.built_on = field.value.substr(1);
    if (field.key != kStateKey) continue;
    const auto state = std::ranges::find(kStates, field.value);
    if (state == kStates.end()) {
      return Fail(ErrorKind::kUnsupported, fmt::format("\"{}\" is no state", field.value));
    }
    mark.kind = static_cast<MarkKind>(state - kStates.begin());
  }
  const auto inode = std::ranges::find(fields, kInodeKey, &RecordField::key);
  if (inode != fields.end()) {
    const std::string& digits = inode->value;
    std::from_chars(digits.data(), digits.data() + digits.size(), mark.inode);
  }
  if (mark.inode == 0) return Fail(ErrorKind::kInvalidFormat, "it has no \"inode\"");
  return mark;
}

}  // namespace chainfs
