// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/group_snapshotter.h"

#include <fmt/format.h>

#include <memory>
#include <set>
#include <string>
#include <utility>

#include "blocklayer/catalog/group_record.h"
#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/chain/chain_switch.h"

namespace chainfs {

Result<RecordDirectory*> GroupSnapshotter::CommonStore(const GroupRequest& request,
                                                       const std::vector<PlannedSnapshot>& plans) {
  std::vector<std::pair<std::string, RecordDirectory*>> stores;  // of which disk
  stores.reserve(plans.size() + request.named_beside.size());
  for (const PlannedSnapshot& plan : plans) {
    stores.emplace_back(plan.entry->name, &sources_.records(plan.entry->candidate.source));
  }
  for (const DiskPtr& disk : request.named_beside) {
    CHAINFS_ASSIGN(const size_t source, records_.WritableSourceOf(*disk));
    stores.emplace_back(disk->name(), &sources_.records(source));
  }
  if (stores.empty()) {
    return Fail(ErrorKind::kInvalidArgument, "no disk is named: give them as disks=a;b");
  }
  const auto& [first, common] = stores.front();
  for (const auto& [name, store] : stores) {
    if (store == common) continue;
    return Fail(ErrorKind::kUnsupported,
                EscapeText(fmt::format("{} and {} have their records in two directories ({}, {}), "
                                       "and one record must decide about both; give the "
                                       "commands one by one",
                                       first, name, common->source_path(), store->source_path())));
  }
  return common;
}

Result<std::vector<PlannedSnapshot>> GroupSnapshotter::PlanAll(const GroupRequest& request) {
  std::vector<PlannedSnapshot> plans;
  std::set<const Disk*> named;
  for (const GroupMember& member : request.members) {
    if (!named.insert(member.disk.get()).second) {
      return Fail(ErrorKind::kInvalidArgument,
                  fmt::format("{}: the disk is named twice", member.disk->name()));
    }
    CHAINFS_ASSIGN(PlannedSnapshot plan, steps_.Plan(member.disk, member.request));
    plans.push_back(std::move(plan));
  }
  return plans;
}

Result<std::vector<std::string>> GroupSnapshotter::PlanTargets(const GroupRequest& request) {
  CHAINFS_ASSIGN(const std::vector<PlannedSnapshot> plans, PlanAll(request));
  CHAINFS_TRY(CommonStore(request, plans));
  std::vector<std::string> paths;
  paths.reserve(plans.size());
  for (const PlannedSnapshot& plan : plans) paths.push_back(plan.target.path);
  return paths;
}

Result<GroupSnapshotter::Prepared> GroupSnapshotter::PrepareAll(
    std::vector<PlannedSnapshot> plans, const std::vector<GroupMember>& members,
    const std::string& id) {
  Prepared prepared;
  for (size_t i = 0; i < plans.size(); ++i) {
    Result<PreparedSnapshot> one = steps_.Prepare(std::move(plans[i]), members[i].request,
                                                  {.held_for = members[i].held_for, .group = id});
    if (!one) {
      for (const PreparedSnapshot& made : prepared) steps_.TakeBack(made);
      return std::unexpected(std::move(one).error());
    }
    prepared.push_back(*std::move(one));
  }
  return prepared;
}

Status GroupSnapshotter::SwitchAll(const std::vector<GroupMember>& members,
                                   const Prepared& prepared, RecordDirectory& store,
                                   const std::string& id, bool& unknown) {
  // The long part of the flush, while guests go on writing.
  for (const GroupMember& member : members) {
    CHAINFS_TRY(member.disk->Flush());
    CHAINFS_TRY(member.disk->Settle());
  }
  // From here on until the end nobody writes to any of them.
  std::vector<std::unique_ptr<ChainSwitch>> quiet;
  quiet.reserve(members.size());
  for (const GroupMember& member : members) {
    quiet.push_back(std::make_unique<ChainSwitch>(*member.disk));
  }
  for (size_t i = 0; i < members.size(); ++i) {
    Disk& disk = *members[i].disk;
    const LayerPtr& overlay = prepared[i].overlay;
    CHAINFS_TRY(quiet[i]->CheckWritable());
    if (overlay->image->virtual_size() != disk.size()) {
      return Fail(ErrorKind::kStale,
                  fmt::format("{}: the disk was resized meanwhile", disk.name()));
    }
    CHAINFS_TRY(quiet[i]->Flush());
    Layers layers = disk.chain()->AllLayers();
    layers.insert(layers.begin(), overlay);
    CHAINFS_TRY(quiet[i]->Prepare(std::move(layers)));
  }
  if (Status decided = DecideGroup(store, id); !decided) {
    // It may be there, and nothing may be written beneath the overlays before that is settled.
    if (store.Remove(GroupRecordName(id))) return decided;
    unknown = true;
    for (const GroupMember& member : members) {
      member.disk->access().Forbid(
          "a snapshot of several disks failed and its record could not be taken back; mount again");
    }
    return decided;
  }
  for (const std::unique_ptr<ChainSwitch>& each : quiet) each->Publish();
  return {};
}

void GroupSnapshotter::WriteRecords(const Prepared& prepared, RecordDirectory& store) {
  for (const PreparedSnapshot& each : prepared) {
    const PlannedSnapshot& plan = each.plan;
    if (!chain_records_.Write(*plan.entry, plan.known.file, each.record)) return;
  }
  (void)ForgetGroups(store);
}

Result<Layers> GroupSnapshotter::Take(const GroupRequest& request) {
  const std::vector<GroupMember>& members = request.members;
  CHAINFS_ASSIGN(std::vector<PlannedSnapshot> plans, PlanAll(request));
  CHAINFS_ASSIGN(RecordDirectory* const common, CommonStore(request, plans));
  RecordDirectory& store = *common;
  const std::string id = request.id.empty() ? NewGroupId() : request.id;
  CHAINFS_ASSIGN(const Prepared prepared, PrepareAll(std::move(plans), members, id));
  bool unknown = false;
  if (Status switched = SwitchAll(members, prepared, store, id, unknown); !switched) {
    for (const PreparedSnapshot& each : prepared) {
      // Where nobody knows what the next mount will find, the overlays stay.
      if (!unknown) steps_.TakeBack(each);
    }
    scanner_.ShowChanges();
    return std::unexpected(std::move(switched).error());
  }
  WriteRecords(prepared, store);
  Layers overlays;
  for (const PreparedSnapshot& each : prepared) {
    steps_.Finish(each);
    overlays.push_back(each.overlay);
  }
  // What was active shows up as disks of its own. The snapshots stand even if this fails.
  scanner_.ShowChanges();
  for (const GroupMember& member : members) {
    events_.Add([disk = member.disk](CatalogObserver& observer) { observer.ChainChanged(disk); });
  }
  return overlays;
}

}  // namespace chainfs
