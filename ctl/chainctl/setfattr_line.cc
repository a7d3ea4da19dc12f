// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/setfattr_line.h"

#include <fmt/core.h>

namespace chainfs::chainctl {
namespace {

std::string ShellQuote(std::string_view text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=,+:@%";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string_view::npos) {
    return std::string(text);
  }
  std::string quoted = "'";
  for (const char letter : text) {
    if (letter == '\'') {
      quoted += "'\\''";
    } else {
      quoted += letter;
    }
  }
  return quoted + "'";
}

}  // namespace

std::string SetfattrLine(std::string_view verb, std::string_view value, std::string_view path) {
  std::string escaped;
  for (const char letter : value) {
    if (letter == '\\') escaped += '\\';
    escaped += letter;
  }
  // A path that begins with '-' would be read as an option.
  const std::string safe_path =
      path.starts_with('-') ? "./" + std::string(path) : std::string(path);
  return fmt::format("setfattr -n user.chainfs.{} -v {} {}", verb, ShellQuote(escaped),
                     ShellQuote(safe_path));
}

}  // namespace chainfs::chainctl
