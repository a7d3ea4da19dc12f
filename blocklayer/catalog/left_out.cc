// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/left_out.h"

#include <fmt/format.h>

#include <charconv>

#include "blocklayer/catalog/chain_record.h"

namespace chainfs {
namespace {

constexpr std::string_view kInodeKey = "\ninode=";

}  // namespace

std::string LeftOutName(const LeftOut& mark) {
  const std::string name = mark.path.substr(mark.path.rfind('/') + 1);
  return fmt::format("{}{}-{}", kLeftOutPrefix, name.substr(0, kMaxNameInFileName), mark.inode);
}

// The record of a chain that consists of this file, with one key more.
std::string FormatLeftOut(const LeftOut& mark, std::string_view source) {
  const ChainRecord record{.name = "merged",
                           .active = mark.path,
                           .format = ImageFormat::kQcow2,
                           .origin = {},
                           .backing = mark.into,
                           .next = {},
                           .roots = {}};
  std::string text = FormatChainRecord(record, source);
  text.pop_back();
  return fmt::format("{}{}{}\n", text, kInodeKey, mark.inode);
}

Result<LeftOut> ParseLeftOut(std::string_view text, std::string_view source) {
  CHAINFS_ASSIGN(ChainRecord record, ParseChainRecord(text, source));
  LeftOut mark{.path = std::move(record.active), .inode = 0, .into = std::move(record.backing)};
  const size_t key = text.find(kInodeKey);
  if (key != std::string_view::npos) {
    const char* const digits = text.data() + key + kInodeKey.size();
    std::from_chars(digits, text.data() + text.size(), mark.inode);
  }
  if (mark.inode == 0) return Fail(ErrorKind::kInvalidFormat, "it has no \"inode\"");
  return mark;
}

}  // namespace chainfs
