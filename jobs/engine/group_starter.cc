// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/group_starter.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <ranges>
#include <utility>

#include "blocklayer/base/sync_point.h"
#include "blocklayer/catalog/group_record.h"
#include "jobs/engine/job_arena.h"

namespace chainfs::jobs {
namespace {

Error InMember(Error error, std::string_view type, std::string_view disk) {
  return WithContext(std::move(error), fmt::format("{} of {}", type, disk));
}

void AddPoint(const DiskPtr& disk, const std::optional<FreezeRequest>& freeze,
              GroupRequest& together) {
  together.named_beside.push_back(disk);
  if (!freeze) return;
  std::string target = freeze->target;
  // Without an id, which only a plan may be, any name is as good.
  if (target.empty() && !freeze->id.empty()) target = OverlayNameFor(*disk, freeze->id);
  together.members.push_back({.disk = disk,
                              .request = {.target = target, .anywhere = freeze->anywhere},
                              .held_for = freeze->id});
}

}  // namespace

Status GroupStarter::Check(const std::vector<JobCommand>& commands,
                           const std::vector<GroupMember>& snapshots) {
  GroupRequest together{.members = snapshots};
  for (const JobCommand& command : commands) {
    const Result<std::optional<FreezeRequest>> freeze = starter_.PointOf(command);
    if (!freeze) {
      return std::unexpected(InMember(freeze.error(), command.type, command.disk->name()));
    }
    AddPoint(command.disk, *freeze, together);
  }
  CHAINFS_TRY(catalog_.moves().PlanTogether(together));
  return {};
}

Status GroupStarter::MakeReady(const std::vector<JobCommand>& commands, const std::string& group,
                               Members& members) {
  members.reserve(commands.size());
  for (const JobCommand& command : commands) {
    Result<StartingJob> job = starter_.MakeReady(command, group);
    if (!job) {
      return std::unexpected(InMember(std::move(job).error(), command.type, command.disk->name()));
    }
    members.push_back({.job = *std::move(job)});
  }
  return {};
}

Status GroupStarter::Arrange(Members& members) {
  for (Member& member : members) {
    StartingJob& job = member.job;
    // What others begin is nothing that the next daemon could take back.
    if (!job.freeze && !job.settings.undoes) continue;
    Status arranged = Guarded([&] { return job.freeze ? job.work->Arrange() : job.work->Begin(); });
    if (!arranged) {
      return std::unexpected(
          InMember(std::move(arranged).error(), job.settings.type, job.settings.disk));
    }
    member.begun = true;
  }
  return {};
}

Status GroupStarter::Decide(const Members& members, const std::vector<GroupMember>& snapshots,
                            const std::string& group) {
  GroupRequest together{.members = snapshots, .id = group};
  // Until they are taken no job may be about to leave out what they freeze.
  std::vector<Reservation> reservations;
  for (const GroupMember& snapshot : snapshots) {
    CHAINFS_ASSIGN(Reservation reservation,
                   registry_.Reserve({.disk = snapshot.disk->name(),
                                      .id = {},
                                      .type = "snapshot",
                                      .freezes = snapshot.disk->chain()->active}));
    reservations.push_back(std::move(reservation));
  }
  for (const Member& member : members) {
    AddPoint(member.job.disk, member.job.freeze, together);
  }
  CHAINFS_TRY(catalog_.moves().SnapshotTogether(together));
  return {};
}

void GroupStarter::Begin(Members members) {
  const DiskPtr disk = members.empty() ? nullptr : members.front().job.disk;
  for (Member& member : members) {
    StartingJob& job = member.job;
    const bool begins = job.freeze || !member.begun;
    const Status begun = begins ? Guarded([&] { return job.work->Begin(); }) : Status();
    if (!begun) {
      spdlog::warn("job {} of disk {} cannot begin yet, and waits: {}", job.settings.id,
                   job.settings.disk, begun.error().message);
      starter_.LeaveToRecord(std::move(job));
      continue;
    }
    job.record->LeaveGroup();
    starter_.Accept(std::move(job));
  }
  // All of it lies in one place. It does no harm where it stays.
  if (disk != nullptr) (void)catalog_.records().ForgetGroups(*disk);
  starter_.StartQueued();
}

bool GroupStarter::MayHaveHappened(const Members& members, const std::string& group) const {
  return std::ranges::any_of(members, [&](const Member& member) {
    const Result<RecordStore::Record> record = starter_.RecordOf(member.job);
    if (!record) return true;
    const Result<bool> happened = catalog_.records().GroupHasHappened(*record, group);
    return !happened || *happened;
  });
}

void GroupStarter::TakeBack(Members members, const Error& reason) {
  for (Member& member : members | std::views::reverse) {
    StartingJob& job = member.job;
    const Status undone =
        member.begun ? Guarded([&] { return job.work->Undo([] { return false; }); }) : Status();
    if (undone) {
      starter_.GiveUp(std::move(job), reason);
      continue;
    }
    spdlog::warn("job {} of disk {}, of a transaction that failed, is undone later: {}",
                 job.settings.id, job.settings.disk, undone.error().message);
    (void)job.record->EnterUndo(reason.message);
    starter_.LeaveToRecord(std::move(job));
  }
}

Status GroupStarter::Start(const std::vector<JobCommand>& commands,
                           const std::vector<GroupMember>& snapshots) {
  const std::string group = NewGroupId();
  Members members;
  Status arranged = MakeReady(commands, group, members);
  if (arranged) arranged = Arrange(members);
  if (!arranged) {
    TakeBack(std::move(members), arranged.error());
    return arranged;
  }
  CHAINFS_SYNC_POINT("GroupStarter.Start.arranged");
  if (Status decided = Decide(members, snapshots, group); !decided) {
    if (!MayHaveHappened(members, group)) {
      TakeBack(std::move(members), decided.error());
      return decided;
    }
    for (Member& member : members) starter_.LeaveToRecord(std::move(member.job));
    return decided;
  }
  Begin(std::move(members));
  return {};
}

}  // namespace chainfs::jobs
