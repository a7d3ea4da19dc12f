// SPDX-License-Identifier: Apache-2.0
//
// GroupRecord: what decides about the snapshots of several disks at once, and about jobs that are
// to start with them. While they are made, the record of each chain says `next` and `group`, and
// that of each job names the group; from the moment at which the record of that group, "group-ID",
// is durable, all of them have happened, and before it none. Then each of these records comes to
// say so itself, and the group's goes.
//
// All of it lies in one .chainfs, so that whoever reads the one reads the other.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "blocklayer/base/result.h"
#include "blocklayer/catalog/chain_record.h"
#include "blocklayer/catalog/record_directory.h"

namespace chainfs {

inline constexpr std::string_view kGroupRecordPrefix = "group-";

// One that was never used before.
std::string NewGroupId();
std::string GroupRecordName(std::string_view id);

// Groups that were decided and whose record is still there. Fails where one cannot be read: then
// nobody knows what has happened to its chains.
Result<std::set<std::string>> DecidedGroups(RecordDirectory& store);
// Durable on return: the snapshots of the group have happened.
Status DecideGroup(RecordDirectory& store, std::string_view id);
// Whether `record` says that a snapshot of a decided group was under way; it is as afterwards then.
bool SettleGroup(ChainRecord& record, const std::set<std::string>& decided);
// Removes the records of groups that no chain and no job waits for any more.
Status ForgetGroups(RecordDirectory& store);

}  // namespace chainfs
