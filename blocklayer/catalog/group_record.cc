// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/group_record.h"

#include <fmt/format.h>

#include <random>
#include <utility>
#include <vector>

#include "blocklayer/catalog/catalog_types.h"
#include "blocklayer/catalog/record_format.h"
#include "blocklayer/catalog/record_store.h"

namespace chainfs {

std::string NewGroupId() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}", device(), device());
}

std::string GroupRecordName(std::string_view id) {
  return fmt::format("{}{}", kGroupRecordPrefix, id);
}

Result<std::set<std::string>> DecidedGroups(RecordDirectory& store) {
  CHAINFS_ASSIGN(std::vector<RecordDirectory::Found> all, store.ReadAll(kGroupRecordPrefix));
  std::set<std::string> decided;
  for (RecordDirectory::Found& found : all) {
    if (!found.contents) return std::unexpected(std::move(found.contents).error());
    decided.insert(found.name.substr(kGroupRecordPrefix.size()));
  }
  return decided;
}

Status DecideGroup(RecordDirectory& store, std::string_view id) {
  return store.Write(GroupRecordName(id),
                     FormatRecord({{.key = "group", .value = std::string(id)}}));
}

bool SettleGroup(ChainRecord& record, const std::set<std::string>& decided) {
  if (record.next.empty() || !decided.contains(record.group)) return false;
  record.backing = std::exchange(record.active, std::exchange(record.next, {}));
  record.backing_format = std::exchange(record.format, kOverlayFormat);
  record.held_for = std::exchange(record.next_held_for, {});
  record.group.clear();
  return true;
}

Status ForgetGroups(RecordDirectory& store) {
  // The groups first: whoever waits for one names it before it is decided.
  CHAINFS_ASSIGN(std::set<std::string> done, DecidedGroups(store));
  if (done.empty()) return {};
  CHAINFS_ASSIGN(std::vector<RecordDirectory::Found> chains, store.ReadAll(kChainRecordPrefix));
  for (const RecordDirectory::Found& found : chains) {
    CHAINFS_TRY(found.contents);
    CHAINFS_ASSIGN(const ChainRecord record,
                   ParseChainRecord(*found.contents, store.source_path()));
    if (!record.next.empty()) done.erase(record.group);
  }
  CHAINFS_ASSIGN(const std::vector<RecordDirectory::Found> jobs, store.ReadAll(kJobRecordPrefix));
  for (const RecordDirectory::Found& found : jobs) {
    CHAINFS_TRY(found.contents);
    std::erase_if(
        done, [&](const std::string& id) { return found.contents->find(id) != std::string::npos; });
  }
  for (const std::string& id : done) CHAINFS_TRY(store.Remove(GroupRecordName(id)));
  return {};
}

}  // namespace chainfs
