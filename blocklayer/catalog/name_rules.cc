// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/name_rules.h"

#include <fmt/format.h>
#include <limits.h>

#include <map>
#include <set>

#include "blocklayer/base/paths.h"
#include "blocklayer/formats/registry/format_registry.h"

namespace chainfs {
namespace {

uint8_t ByteAt(std::string_view text, size_t at) {
  return at < text.size() ? static_cast<uint8_t>(text[at]) : uint8_t{0};
}

bool IsContinuation(uint8_t byte) { return (byte & 0xc0) == 0x80; }

// Bytes of the character that begins at `at` and can be shown as it is; 0 when it cannot.
size_t PlainLength(std::string_view text, size_t at) {
  const uint8_t first = ByteAt(text, at);
  const uint8_t second = ByteAt(text, at + 1);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  if (first < 0xc2 || first > 0xf4 || !IsContinuation(second)) return 0;
  // U+0080 to U+009F are control characters too.
  if (first < 0xe0) return first == 0xc2 && second < 0xa0 ? 0 : 2;
  if (!IsContinuation(ByteAt(text, at + 2))) return 0;
  if (first < 0xf0) {
    const bool overlong = first == 0xe0 && second < 0xa0;
    const bool surrogate = first == 0xed && second >= 0xa0;
    return overlong || surrogate ? 0 : 3;
  }
  if (!IsContinuation(ByteAt(text, at + 3))) return 0;
  const bool overlong = first == 0xf0 && second < 0x90;
  const bool too_big = first == 0xf4 && second >= 0x90;
  return overlong || too_big ? 0 : 4;
}

}  // namespace

std::optional<ImageFormat> FormatOfFileName(std::string_view file_name) {
  if (file_name.starts_with('.')) return std::nullopt;
  const FormatRegistry& formats = FormatRegistry::BuiltIn();
  const FormatRow* const row = formats.FindByExtension(formats.ExtensionOf(file_name));
  if (row == nullptr) return std::nullopt;
  return row->format;
}

bool IsPartialName(std::string_view file_name) {
  return file_name.starts_with('.') && file_name.ends_with(".part");
}

Result<std::string> PartialNameOf(std::string_view path, std::string_view job) {
  std::string partial = fmt::format(".{}.{}.part", BaseName(path), job);
  if (partial.size() <= NAME_MAX) return partial;
  const size_t more = partial.size() - BaseName(path).size();
  return Fail(ErrorKind::kInvalidArgument,
              EscapeText(fmt::format("{}: the name is too long; with what {} adds to it until the "
                                     "image is whole, at most {} bytes are possible",
                                     path, job, NAME_MAX - more)));
}

std::string StemOf(std::string_view file_name) {
  file_name.remove_suffix(FormatRegistry::BuiltIn().ExtensionOf(file_name).size());
  return std::string(file_name);
}

bool IsPlainText(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = PlainLength(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

std::string EscapeText(std::string_view text) {
  std::string escaped;
  escaped.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t length = PlainLength(text, at);
    if (length > 0) {
      escaped.append(text.substr(at, length));
      at += length;
      continue;
    }
    const uint8_t byte = ByteAt(text, at);
    if (byte == '\n') {
      escaped += "\\n";
    } else if (byte == '\t') {
      escaped += "\\t";
    } else {
      escaped += fmt::format("\\x{:02x}", byte);
    }
    ++at;
  }
  return escaped;
}

Status CheckChainName(std::string_view name) {
  const auto refuse = [&](std::string_view why) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("\"{}\" cannot name a chain: {}", EscapeText(name), why));
  };
  if (name.empty()) return refuse("it is empty");
  if (!IsPlainText(name)) return refuse("it has control characters or is not UTF-8");
  if (name.find('/') != std::string_view::npos) return refuse("it contains a slash");
  if (name.starts_with('.')) return refuse("it begins with a dot");
  if (name.size() > kMaxChainName) {
    return refuse(fmt::format("it is longer than {} bytes", kMaxChainName));
  }
  return {};
}

std::vector<std::string> AssignNames(const std::vector<NameRequest>& requests) {
  std::vector<std::string> names(requests.size());
  std::set<std::string> taken;
  std::map<std::string, int> stems;  // how many want each
  for (size_t i = 0; i < requests.size(); ++i) {
    if (requests[i].fixed && taken.insert(*requests[i].fixed).second) {
      names[i] = *requests[i].fixed;
    } else {
      ++stems[StemOf(requests[i].file_name)];
    }
  }
  std::vector<size_t> unnamed;
  for (size_t i = 0; i < requests.size(); ++i) {
    if (!names[i].empty()) continue;
    const std::string stem = StemOf(requests[i].file_name);
    if (stems[stem] == 1 && taken.insert(stem).second) {
      names[i] = stem;
    } else {
      unnamed.push_back(i);
    }
  }
  for (const size_t i : unnamed) {
    std::string name = requests[i].file_name;
    for (int n = 2; !taken.insert(name).second; ++n) {
      name = fmt::format("{}-{}", requests[i].file_name, n);
    }
    names[i] = name;
  }
  return names;
}

}  // namespace chainfs
