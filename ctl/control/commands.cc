// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/commands.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/catalog/snapshot_holders.h"
#include "ctl/control/bitmap_command.h"
#include "ctl/control/snapshot_command.h"
#include "ctl/control/status_attributes.h"
#include "ctl/control/transaction_command.h"
#include "ctl/verbs/verb_table.h"
#include "jobs/engine/chain_generation.h"
#include "jobs/job_types.h"

namespace chainfs::control {
namespace {

std::unexpected<Error> Bad(std::string message) {
  return Fail(ErrorKind::kInvalidArgument, std::move(message));
}

// What a job verb says besides which job it means.
verbs::Arguments WithoutJob(const verbs::Arguments& arguments) {
  verbs::Arguments rest;
  for (const auto& [key, value] : arguments.items()) {
    if (key != "id" && key != "generation" && key != "dry-run") rest.Set(key, value);
  }
  return rest;
}

}  // namespace

const std::vector<Commands::Handler>& Commands::Handlers() {
  static const std::vector<Handler> handlers = {
      {"snapshot",
       [](Commands& self, const Call& call) {
         return SnapshotCommand(self.catalog_, self.jobs_)
             .Run(call.arguments, call.disk, call.privileged);
       },
       true},
      {"transaction", &Commands::Transaction},
      {"revert", &Commands::Revert, true},
      {"resize", &Commands::Resize, true},
      {"bitmap",
       [](Commands& self, const Call& call) {
         return BitmapCommand(self.jobs_, call.arguments, *call.disk);
       },
       true},
      {"thaw",
       [](Commands& self, const Call& call) { return self.catalog_.AllowWriting(call.disk); }},
      {"flush", &Commands::Flush},
      {"max-layers", &Commands::LimitLayers},
      {"trace", &Commands::Trace},
      {"cancel", [](Commands& self,
                    const Call& call) { return self.Control(call, &jobs::JobManager::Cancel); }},
      {"pause", [](Commands& self,
                   const Call& call) { return self.Control(call, &jobs::JobManager::Pause); }},
      {"resume", [](Commands& self,
                    const Call& call) { return self.Control(call, &jobs::JobManager::Resume); }},
      {"speed", &Commands::Speed},
      {"complete",
       [](Commands& self, const Call& call) {
         return self.jobs_.Complete(call.disk, JobIdOf(call), WithoutJob(call.arguments));
       }},
      {"change",
       [](Commands& self, const Call& call) {
         return self.jobs_.Change(call.disk, JobIdOf(call), WithoutJob(call.arguments));
       }},
      {"dismiss", [](Commands& self,
                     const Call& call) { return self.Control(call, &jobs::JobManager::Dismiss); }},
      {"release-events",
       [](Commands& self, const Call& /*call*/) {
         self.hooks_.release_events();
         return Status();
       }},
  };
  return handlers;
}

bool Commands::CarriesOut(std::string_view verb) {
  return std::ranges::find(Handlers(), verb, &Handler::verb) != Handlers().end() ||
         jobs::FindJobType(jobs::JobTypes(), verb) != nullptr;
}

Status Commands::CheckCaller(std::string_view verb, const Caller& caller) const {
  if (!access_.Permits(caller)) {
    return Fail(ErrorKind::kPermission,
                "commands are for root, the daemon's user and the group of -o control_gid");
  }
  if (StatusAttributes::IsName(verb)) {
    return Fail(ErrorKind::kUnsupported, fmt::format("\"{}\" can only be read", verb));
  }
  return {};
}

Status Commands::Execute(std::string_view verb, std::string_view value, const DiskPtr& disk,
                         const Caller& caller) {
  CHAINFS_TRY(CheckCaller(verb, caller));
  const verbs::Verb* const row = verbs::FindVerb(verbs::Verbs(), verb);
  const auto handler = std::ranges::find(Handlers(), verb, &Handler::verb);
  if (row == nullptr || !CarriesOut(verb)) {
    return Fail(ErrorKind::kUnsupported, fmt::format("unknown command \"{}\"; known are {}", verb,
                                                     verbs::VerbNames(verbs::Verbs())));
  }
  if (row->scope == (disk == nullptr ? verbs::Scope::kDisk : verbs::Scope::kMount)) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("\"{}\" belongs on {}", verb,
                            disk == nullptr ? "a disk, not on the mount point"
                                            : "the mount point, not on a disk"));
  }
  if (row->caller == verbs::Caller::kRoot && !caller.IsRoot()) {
    return Fail(ErrorKind::kPermission, fmt::format("\"{}\" is for root", verb));
  }
  CHAINFS_ASSIGN(const verbs::Arguments arguments, verbs::Arguments::Parse(value, row->keys));
  if (disk != nullptr) CHAINFS_TRY(CheckIsNoSnapshot(*disk));
  const Call call = {.arguments = arguments, .disk = disk, .privileged = caller.IsRoot()};
  if (handler == Handlers().end()) {
    CHAINFS_TRY(jobs_.Start({.type = std::string(verb),
                             .disk = disk,
                             .arguments = arguments,
                             .privileged = call.privileged}));
    return {};
  }
  // Once per command: where something is reserved, only the check under the reservation counts, and
  // jobs make it themselves.
  if (!handler->reserves) CHAINFS_TRY(CheckGeneration(call));
  CHAINFS_ASSIGN(const bool dry_run, arguments.Switch("dry-run", false));
  if (dry_run && row->dry_run == verbs::DryRun::kChecks) return {};
  return handler->run(*this, call);
}

Status Commands::CheckGeneration(const Call& call) {
  CHAINFS_ASSIGN(const std::optional<uint64_t> wanted, call.arguments.Number("generation"));
  if (!wanted) return {};
  if (call.disk == nullptr) return Bad("generation= is only for commands on a disk");
  return jobs::CheckGeneration(*call.disk, wanted);
}

Status Commands::Transaction(const Call& call) {
  CHAINFS_ASSIGN(const bool dry_run, call.arguments.Switch("dry-run", false));
  return TransactionCommand(catalog_, jobs_)
      .Run(call.arguments.Text("actions").value_or(""), call.privileged, dry_run);
}

Status Commands::Revert(const Call& call) {
  const verbs::Arguments& arguments = call.arguments;
  const DiskPtr& disk = call.disk;
  const std::string name = arguments.Text("to").value_or("");
  CHAINFS_ASSIGN(const bool agreed, arguments.Switch("yes", false));
  CHAINFS_ASSIGN(const bool dry_run, arguments.Switch("dry-run", false));
  if (!agreed && !dry_run) {
    return Bad(fmt::format("the layers above {} would be removed for good; add yes=yes", name));
  }
  CHAINFS_ASSIGN(const jobs::Reservation alone, jobs_.ReserveDisk(*disk, "revert", "", true));
  // From here on nobody changes the chain.
  CHAINFS_TRY(CheckGeneration(call));
  CHAINFS_ASSIGN(const LayerPtr to, catalog_.FindLayer(*disk, name));
  CHAINFS_ASSIGN(const LeftOutLayers dropped, catalog_.Revert(disk, *to, call.privileged, dry_run));
  if (dry_run) return {};
  spdlog::info("disk {} was reverted to {}; {} layers removed", disk->name(), to->path,
               dropped.removed.size());
  if (!dropped.problem.empty()) {
    spdlog::warn("disk {}: a layer that it was reverted from is not removed yet: {}", disk->name(),
                 dropped.problem);
  }
  return {};
}

Status Commands::Resize(const Call& call) {
  const verbs::Arguments& arguments = call.arguments;
  const DiskPtr& disk = call.disk;
  CHAINFS_ASSIGN(const std::optional<uint64_t> given, arguments.Size("size"));
  const uint64_t size = given.value_or(0);
  CHAINFS_ASSIGN(const bool shrink, arguments.Switch("shrink", false));
  CHAINFS_ASSIGN(const bool dry_run, arguments.Switch("dry-run", false));
  if (size == 0 || size % 512 != 0 || size > INT64_MAX) {
    return Bad("size must be a multiple of 512 from 512 on");
  }
  if (hooks_.kernel_keeps_sizes) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: with -o writeback_cache the kernel does not hear of a new size; "
                            "grow it with truncate -s, or mount without",
                            disk->name()));
  }
  CHAINFS_ASSIGN(const jobs::Reservation alone, jobs_.ReserveDisk(*disk, "resize", "", true));
  CHAINFS_TRY(CheckGeneration(call));
  const uint64_t before = disk->size();
  // Whether the end is empty is not known as long as somebody's changes are in memory only.
  const bool looks = size < before && !shrink;
  if (looks && hooks_.take_in_changes) CHAINFS_TRY(hooks_.take_in_changes(*disk, size));
  CHAINFS_TRY(catalog_.Resize(disk, {.size = size, .cut_data = shrink, .dry_run = dry_run}));
  if (!dry_run) spdlog::info("disk {} has {} bytes now, had {}", disk->name(), size, before);
  return {};
}

Status Commands::Flush(const Call& call) {
  if (call.disk != nullptr) return call.disk->Flush();
  for (const DiskPtr& disk : catalog_.Disks()) {
    if (!disk->read_only()) CHAINFS_TRY(disk->Flush());
  }
  return {};
}

Status Commands::LimitLayers(const Call& call) {
  CHAINFS_ASSIGN(const std::optional<uint64_t> layers, call.arguments.Number("layers"));
  if (layers.value_or(0) > UINT32_MAX) return Bad("layers= is too large");
  std::optional<uint32_t> limit;
  if (layers) limit = static_cast<uint32_t>(*layers);
  CHAINFS_TRY(limits_.Set(*call.disk, limit));
  hooks_.limits_changed();
  return {};
}

Status Commands::Trace(const Call& call) {
  const std::optional<std::string> file = call.arguments.Text("file");
  CHAINFS_ASSIGN(const bool stop, call.arguments.Switch("stop", false));
  if (stop == file.has_value()) {
    return Bad("say either file=, where to record what is read, or stop=yes");
  }
  return stop ? traces_.Stop(call.disk) : traces_.Start(call.disk, *file, call.privileged);
}

Status Commands::Speed(const Call& call) {
  CHAINFS_ASSIGN(const std::optional<uint64_t> limit, call.arguments.Size("limit"));
  return jobs_.SetSpeed(call.disk, JobIdOf(call), limit.value_or(0));
}

Status Commands::Control(const Call& call, JobAction action) {
  return (jobs_.*action)(call.disk, JobIdOf(call));
}

std::string Commands::JobIdOf(const Call& call) { return call.arguments.Text("id").value_or(""); }

}  // namespace chainfs::control
