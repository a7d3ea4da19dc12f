// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "ctl/control/status_attributes.h"
#include "ctl/verbs/verb_table.h"

namespace chainfs::control {
namespace {

std::unexpected<Error> Bad(std::string message) {
  return Fail(ErrorKind::kInvalidArgument, std::move(message));
}

Result<jobs::OnError> ParseOnError(const verbs::Arguments& arguments) {
  const std::string word = arguments.Text("on-error").value_or("report");
  if (word == "report") return jobs::OnError::kReport;
  if (word == "ignore") return jobs::OnError::kIgnore;
  if (word == "stop") return jobs::OnError::kStop;
  if (word == "enospc") return jobs::OnError::kEnospc;
  return Bad(fmt::format("on-error={} is not one of report, ignore, stop, enospc", word));
}

Result<uint32_t> ParseClusterBits(const verbs::Arguments& arguments) {
  CHAINFS_ASSIGN(const std::optional<uint64_t> size, arguments.Size("cluster_size"));
  if (!size) return 16;
  if (!std::has_single_bit(*size) || *size < 512 || *size > (2u << 20)) {
    return Bad("cluster_size must be a power of two from 512 to 2M");
  }
  return static_cast<uint32_t>(std::countr_zero(*size));
}

// Compression of what is merged is not offered; only its absence may be asked for.
Status RefuseCompression(const verbs::Arguments& arguments) {
  const std::string word = arguments.Text("compress").value_or("none");
  if (word == "none" || word == "no" || word == "off") return {};
  return Fail(ErrorKind::kUnsupported,
              fmt::format("compress={}: this release does not compress; leave it out", word));
}

}  // namespace

const std::vector<Commands::Handler>& Commands::Handlers() {
  static const std::vector<Handler> handlers = {
      {"stream", &Commands::Stream},
      {"snapshot", &Commands::Snapshot},
      {"revert", &Commands::Revert},
      {"thaw",
       [](Commands& self, const Call& call) { return self.catalog_.AllowWriting(call.disk); }},
      {"flush", &Commands::Flush},
      {"cancel", [](Commands& self,
                    const Call& call) { return self.Control(call, &jobs::JobManager::Cancel); }},
      {"pause", [](Commands& self,
                   const Call& call) { return self.Control(call, &jobs::JobManager::Pause); }},
      {"resume", [](Commands& self,
                    const Call& call) { return self.Control(call, &jobs::JobManager::Resume); }},
      {"speed", &Commands::Speed},
      {"dismiss", [](Commands& self,
                     const Call& call) { return self.Control(call, &jobs::JobManager::Dismiss); }},
      {"release-events",
       [](Commands& self, const Call& /*call*/) {
         self.release_events_();
         return Status();
       }},
  };
  return handlers;
}

bool Commands::CarriesOut(std::string_view verb) {
  return std::ranges::find(Handlers(), verb, &Handler::verb) != Handlers().end();
}

Status Commands::Execute(std::string_view verb, std::string_view value, const DiskPtr& disk,
                         const Caller& caller) {
  if (!access_.Permits(caller)) {
    return Fail(ErrorKind::kPermission,
                "commands are for root, the daemon's user and the group of -o control_gid");
  }
  if (StatusAttributes::IsName(verb)) {
    return Fail(ErrorKind::kUnsupported, fmt::format("\"{}\" can only be read", verb));
  }
  const verbs::Verb* const row = verbs::FindVerb(verbs::Verbs(), verb);
  const auto handler = std::ranges::find(Handlers(), verb, &Handler::verb);
  if (row == nullptr || handler == Handlers().end()) {
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
  const Call call = {.arguments = arguments, .disk = disk, .privileged = caller.IsRoot()};
  CHAINFS_TRY(CheckGeneration(call));
  CHAINFS_ASSIGN(const bool dry_run, arguments.Switch("dry-run", false));
  if (dry_run && row->dry_run == verbs::DryRun::kChecks) return {};
  return handler->run(*this, call);
}

Status Commands::CheckGeneration(const Call& call) const {
  CHAINFS_ASSIGN(const std::optional<uint64_t> wanted, call.arguments.Number("generation"));
  if (!wanted) return {};
  if (call.disk == nullptr) return Bad("generation= is only for commands on a disk");
  const uint64_t now = call.disk->chain()->generation;
  if (now == *wanted) return {};
  return Fail(ErrorKind::kStale,
              fmt::format("the chain of {} has changed: generation {} was expected, it is {}",
                          call.disk->name(), *wanted, now));
}

Status Commands::Stream(const Call& call) {
  const verbs::Arguments& arguments = call.arguments;
  CHAINFS_TRY(RefuseCompression(arguments));
  jobs::StreamRequest request;
  request.disk = call.disk->name();
  request.id = arguments.Text("id").value_or("");
  request.top = arguments.Text("top");
  request.base = arguments.Text("base");
  CHAINFS_ASSIGN(const std::optional<uint64_t> speed, arguments.Size("speed"));
  request.speed = speed.value_or(0);
  CHAINFS_ASSIGN(request.on_error, ParseOnError(arguments));
  CHAINFS_ASSIGN(request.generation, arguments.Number("generation"));
  CHAINFS_ASSIGN(const bool remove, arguments.Switch("delete", false));
  if (remove)
    request.remove =
        call.privileged ? jobs::RemoveLayers::kAnywhere : jobs::RemoveLayers::kInSources;
  CHAINFS_ASSIGN(request.dry_run, arguments.Switch("dry-run", false));
  CHAINFS_TRY(jobs_.Stream(request));
  return {};
}

Status Commands::Snapshot(const Call& call) {
  const verbs::Arguments& arguments = call.arguments;
  jobs::JobManager::SnapshotCommand command;
  const std::optional<std::string> disks = arguments.Text("disks");
  if (call.disk != nullptr) {
    if (disks) return Bad("disks= is only for commands on the mount point");
    command.disk = call.disk->name();
  } else {
    if (!disks) return Bad("a command on the mount point must name the disk with disks=");
    if (disks->find(';') != std::string::npos) {
      return Fail(ErrorKind::kUnsupported,
                  "this release makes no snapshot of several disks at once; name one in disks=");
    }
    command.disk = *disks;
  }
  command.id = arguments.Text("id").value_or("");
  command.request.target = arguments.Text("target").value_or("");
  command.request.anywhere = call.privileged;
  CHAINFS_ASSIGN(command.request.cluster_bits, ParseClusterBits(arguments));
  CHAINFS_ASSIGN(command.request.lazy_refcounts, arguments.Switch("lazy_refcounts", false));
  CHAINFS_ASSIGN(command.generation, arguments.Number("generation"));
  CHAINFS_ASSIGN(command.dry_run, arguments.Switch("dry-run", false));
  return jobs_.Snapshot(command);
}

Status Commands::Revert(const Call& call) {
  const verbs::Arguments& arguments = call.arguments;
  jobs::JobManager::RevertCommand command;
  command.disk = call.disk->name();
  command.anywhere = call.privileged;
  command.to = arguments.Text("to").value_or("");
  CHAINFS_ASSIGN(const bool agreed, arguments.Switch("yes", false));
  CHAINFS_ASSIGN(command.generation, arguments.Number("generation"));
  CHAINFS_ASSIGN(command.dry_run, arguments.Switch("dry-run", false));
  if (!agreed && !command.dry_run) {
    return Bad(
        fmt::format("the layers above {} would be removed for good; add yes=yes", command.to));
  }
  return jobs_.Revert(command);
}

Status Commands::Flush(const Call& call) {
  if (call.disk != nullptr) return call.disk->Flush();
  for (const DiskPtr& disk : catalog_.Disks()) {
    if (!disk->read_only()) CHAINFS_TRY(disk->Flush());
  }
  return {};
}

Status Commands::Speed(const Call& call) {
  CHAINFS_ASSIGN(const std::optional<uint64_t> limit, call.arguments.Size("limit"));
  const Target target = FindTarget(call);
  return jobs_.SetSpeed(target.disk, target.id, limit.value_or(0));
}

Status Commands::Control(const Call& call, JobAction action) {
  const Target target = FindTarget(call);
  return (jobs_.*action)(target.disk, target.id);
}

Commands::Target Commands::FindTarget(const Call& call) {
  return {.disk = call.disk != nullptr ? call.disk->name() : "",
          .id = call.arguments.Text("id").value_or("")};
}

}  // namespace chainfs::control
