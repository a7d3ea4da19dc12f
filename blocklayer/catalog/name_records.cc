// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/name_records.h"

#include <fmt/format.h>

#include "blocklayer/catalog/chain_record.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

// What can name a chain has no control characters, so there is nothing else to escape.
std::string Escape(std::string_view value) {
  std::string escaped;
  for (const char c : value) escaped += c == '\\' ? std::string("\\\\") : std::string(1, c);
  return escaped;
}

std::string Unescape(std::string_view value) {
  std::string plain;
  for (size_t i = 0; i < value.size(); ++i) {
    if (value[i] == '\\' && i + 1 < value.size()) ++i;
    plain += value[i];
  }
  return plain;
}

}  // namespace

std::string FormatNameRecord(const NameRecord& record) {
  return fmt::format("version=1\nname={}\nimage={}\n", Escape(record.name), Escape(record.image));
}

std::optional<NameRecord> ParseNameRecord(std::string_view text) {
  if (!text.starts_with("version=1\n") || !text.ends_with('\n')) return std::nullopt;
  NameRecord record;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() + 1);
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string value = Unescape(line.substr(equals + 1));
    if (line.starts_with("name=")) record.name = value;
    if (line.starts_with("image=")) record.image = value;
  }
  if (!CheckChainName(record.name) || !FormatOfFileName(record.image)) return std::nullopt;
  return record;
}

std::string NameRecordName(std::string_view name) {
  return fmt::format("{}{}", kNameRecordPrefix,
                     ChainRecordName(name).substr(kChainRecordPrefix.size()));
}

}  // namespace chainfs
