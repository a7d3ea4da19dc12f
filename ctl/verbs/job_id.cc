// SPDX-License-Identifier: Apache-2.0
#include "ctl/verbs/job_id.h"

#include <fmt/format.h>

#include <algorithm>

namespace chainfs::verbs {
namespace {

constexpr size_t kMaxIdLength = 128;

constexpr bool IsLetter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

constexpr bool IsIdCharacter(char c) {
  return IsLetter(c) || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

}  // namespace

bool IsLegalJobId(std::string_view id) {
  return !id.empty() && id.size() <= kMaxIdLength && IsLetter(id.front()) &&
         std::ranges::all_of(id, IsIdCharacter);
}

Status CheckJobId(std::string_view id) {
  if (IsLegalJobId(id)) return {};
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("id={} is not legal: it must be a letter, then letters, digits, '.', '_' "
                          "or '-', at most {} in all",
                          id, kMaxIdLength));
}

}  // namespace chainfs::verbs
