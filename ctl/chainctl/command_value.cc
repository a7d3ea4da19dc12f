// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/command_value.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

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

bool IsLetter(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z');
}

}  // namespace

CommandValue& CommandValue::Add(std::string_view key, std::string_view value) {
  if (!text_.empty()) text_ += ',';
  text_ += key;
  text_ += '=';
  for (const char letter : value) {
    if (letter == ',') text_ += ',';
    text_ += letter;
  }
  return *this;
}

CommandValue& CommandValue::AddIf(std::string_view key, const std::optional<std::string>& value) {
  return value ? Add(key, *value) : *this;
}

Result<std::vector<std::pair<std::string, std::string>>> SplitOptions(std::string_view list) {
  std::vector<std::string> items(1);
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i] != ',') {
      items.back() += list[i];
    } else if (i + 1 < list.size() && list[i + 1] == ',') {
      items.back() += ',';
      ++i;
    } else {
      items.emplace_back();
    }
  }
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& item : items) {
    const size_t equals = item.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Fail(ErrorKind::kInvalidArgument,
                  fmt::format("option '{}': write KEY=VALUE[,KEY=VALUE]", item));
    }
    std::string key = item.substr(0, equals);
    if (std::ranges::any_of(pairs, [&](const auto& pair) { return pair.first == key; })) {
      return Fail(ErrorKind::kInvalidArgument, fmt::format("option '{}' is given twice", key));
    }
    pairs.emplace_back(std::move(key), item.substr(equals + 1));
  }
  return pairs;
}

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

std::string NewJobId(std::string_view type) {
  static unsigned counter = 0;
  return fmt::format("{}-{}-{}", type, getpid(), ++counter);
}

bool IsPlausibleJobId(std::string_view id) {
  return !id.empty() && id.size() <= 128 && IsLetter(id[0]) &&
         std::ranges::all_of(id, [](char letter) {
           return IsLetter(letter) || (letter >= '0' && letter <= '9') || letter == '.' ||
                  letter == '_' || letter == '-';
         });
}

}  // namespace chainfs::chainctl
