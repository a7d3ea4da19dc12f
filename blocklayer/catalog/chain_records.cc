// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/chain_records.h"

#include <fmt/format.h>

#include <set>

#include "blocklayer/catalog/group_record.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

// What the record says now; the chain as it is when it has none.
Result<ChainRecords::Known> ChainRecords::Of(const CatalogEntry& entry) {
  RecordDirectory& store = sources_.records(entry.candidate.source);
  const std::string& path = entry.candidate.path;
  Known known;
  known.file = entry.candidate.record;
  const bool has_record = !known.file.empty();
  if (!has_record) known.file = ChainRecordName(entry.name);
  known.contents = {.name = entry.name,
                    .active = path,
                    .format = entry.candidate.format,
                    .origin = path,
                    .backing = {},
                    .next = {},
                    .roots = {}};
  CHAINFS_ASSIGN(std::vector<RecordDirectory::Found> all, store.ReadAll(known.file));
  for (RecordDirectory::Found& found : all) {
    if (found.name != known.file) continue;
    if (!has_record) {
      return Fail(
          ErrorKind::kExists,
          EscapeText(fmt::format("{}/{}/{}: the record of another chain called {}; mount "
                                 "this one under another name",
                                 store.source_path(), kRecordDirectory, known.file, entry.name)));
    }
    CHAINFS_ASSIGN(known.text, std::move(found.contents));
    CHAINFS_ASSIGN(known.contents, ParseChainRecord(*known.text, store.source_path()));
    if (known.contents.group.empty()) continue;
    CHAINFS_ASSIGN(const std::set<std::string> decided, DecidedGroups(store));
    if (!SettleGroup(known.contents, decided)) continue;
    // What counts is what it means.
    known.text = FormatChainRecord(known.contents, store.source_path());
  }
  return known;
}

Status ChainRecords::Write(const CatalogEntry& entry, const std::string& file,
                           const ChainRecord& record) {
  RecordDirectory& store = sources_.records(entry.candidate.source);
  return store.Write(file, FormatChainRecord(record, store.source_path()));
}

Status ChainRecords::Restore(const CatalogEntry& entry, const Known& known) {
  RecordDirectory& store = sources_.records(entry.candidate.source);
  return known.text ? store.Write(known.file, *known.text) : store.Remove(known.file);
}

Status ChainRecords::ForgetBacking(const std::string& path) {
  for (const auto& [active, entry] : chains_.entries()) {
    if (entry.disk == nullptr || entry.candidate.record.empty()) continue;
    CHAINFS_ASSIGN(Known known, Of(entry));
    if (!known.text || known.contents.backing != path) continue;
    known.contents.backing.clear();
    CHAINFS_TRY(Write(entry, known.file, known.contents));
  }
  return {};
}

}  // namespace chainfs
