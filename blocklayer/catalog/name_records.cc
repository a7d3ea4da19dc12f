// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/name_records.h"

#include <fmt/format.h>

#include "blocklayer/catalog/chain_record.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

std::string FormatNameRecord(const NameRecord& record) {
  return FormatRecord(
      {{.key = "name", .value = record.name}, {.key = "image", .value = record.image}});
}

std::optional<NameRecord> ParseNameRecord(std::string_view text) {
  const Result<RecordFields> fields = ParseRecord(text);
  if (!fields) return std::nullopt;
  NameRecord record;
  for (const RecordField& field : *fields) {
    if (field.key == "name") record.name = field.value;
    if (field.key == "image") record.image = field.value;
  }
  if (!CheckChainName(record.name) || !FormatOfFileName(record.image)) return std::nullopt;
  return record;
}

std::string NameRecordName(std::string_view name) {
  return fmt::format("{}{}", kNameRecordPrefix,
                     ChainRecordName(name).substr(kChainRecordPrefix.size()));
}

}  // namespace chainfs
