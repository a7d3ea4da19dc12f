// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/commands.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <functional>

namespace chainfs::control {
namespace {

using Keys = std::vector<std::string_view>;

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

Result<std::string> ParseNewId(const verbs::Arguments& arguments) {
  std::string id = arguments.Text("id").value_or("");
  if (arguments.Has("id") && !jobs::IsLegalJobId(id)) {
    return Bad(fmt::format(
        "id={} is not legal: it must be a letter, then letters, digits, '.', '_' or '-', at most "
        "128 in all",
        id));
  }
  return id;
}

Result<std::optional<std::string>> NotEmpty(const verbs::Arguments& arguments,
                                            std::string_view key) {
  std::optional<std::string> text = arguments.Text(key);
  if (text && text->empty()) return Bad(fmt::format("{}= has no value", key));
  return text;
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

struct Commands::Verb {
  std::string_view name;
  Keys keys;
  bool on_disk;
  bool on_root;
  bool starts;  // its dry run is the job manager's business
  std::function<Status(Commands&, const Call&)> run;
};

const std::vector<Commands::Verb>& Commands::Verbs() {
  static const std::vector<Verb> verbs = {
      {"stream",
       {"base", "top", "speed", "compress", "on-error", "delete", "id", "generation", "dry-run"},
       true,
       false,
       true,
       &Commands::Stream},
      {"snapshot",
       {"target", "cluster_size", "lazy_refcounts", "id", "disks", "generation", "dry-run"},
       true,
       true,
       true,
       &Commands::Snapshot},
      {"cancel",
       {"id", "generation", "dry-run"},
       true,
       true,
       false,
       [](Commands& self, const Call& call) {
         return self.Control(call, &jobs::JobManager::Cancel);
       }},
      {"pause",
       {"id", "generation", "dry-run"},
       true,
       true,
       false,
       [](Commands& self, const Call& call) {
         return self.Control(call, &jobs::JobManager::Pause);
       }},
      {"resume",
       {"id", "generation", "dry-run"},
       true,
       true,
       false,
       [](Commands& self, const Call& call) {
         return self.Control(call, &jobs::JobManager::Resume);
       }},
      {"dismiss",
       {"id", "generation", "dry-run"},
       true,
       true,
       false,
       [](Commands& self, const Call& call) {
         return self.Control(call, &jobs::JobManager::Dismiss);
       }},
      {"speed", {"id", "limit", "generation", "dry-run"}, true, true, false, &Commands::Speed},
      {"release-events",
       {"dry-run"},
       false,
       true,
       false,
       [](Commands& self, const Call& /*call*/) {
         self.release_events_();
         return Status();
       }},
      {"flush", {"generation", "dry-run"}, true, true, false, &Commands::Flush},
      {"revert", {"to", "yes", "generation", "dry-run"}, true, false, true, &Commands::Revert},
      {"thaw",
       {"generation", "dry-run"},
       true,
       false,
       false,
       [](Commands& self, const Call& call) { return self.catalog_.AllowWriting(call.disk); }},
  };
  return verbs;
}

const Commands::Verb* Commands::FindVerb(std::string_view name) {
  const auto found = std::ranges::find(Verbs(), name, &Verb::name);
  return found == Verbs().end() ? nullptr : &*found;
}

bool Commands::IsVerb(std::string_view name) { return FindVerb(name) != nullptr; }

Status Commands::Execute(std::string_view verb, std::string_view value, const DiskPtr& disk,
                         bool privileged) {
  const Verb* row = FindVerb(verb);
  if (row == nullptr) {
    Keys names;
    for (const Verb& known : Verbs()) names.push_back(known.name);
    return Fail(ErrorKind::kUnsupported,
                fmt::format("unknown command \"{}\"; known are {}", verb, fmt::join(names, ", ")));
  }
  if (disk == nullptr ? !row->on_root : !row->on_disk) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("\"{}\" belongs on {}", verb,
                            disk == nullptr ? "a disk, not on the mount point"
                                            : "the mount point, not on a disk"));
  }
  CHAINFS_ASSIGN(const verbs::Arguments arguments, verbs::Arguments::Parse(value, row->keys));
  const Call call = {.arguments = arguments, .disk = disk, .privileged = privileged};
  CHAINFS_TRY(CheckGeneration(call));
  CHAINFS_ASSIGN(const bool dry_run, arguments.Switch("dry-run", false));
  if (dry_run && !row->starts) return {};
  return row->run(*this, call);
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
  CHAINFS_ASSIGN(request.id, ParseNewId(arguments));
  CHAINFS_ASSIGN(request.top, NotEmpty(arguments, "top"));
  CHAINFS_ASSIGN(request.base, NotEmpty(arguments, "base"));
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
  CHAINFS_ASSIGN(const std::optional<std::string> disks, NotEmpty(arguments, "disks"));
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
  CHAINFS_ASSIGN(command.id, ParseNewId(arguments));
  CHAINFS_ASSIGN(const std::optional<std::string> target, NotEmpty(arguments, "target"));
  command.request.target = target.value_or("");
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
  CHAINFS_ASSIGN(const std::optional<std::string> to, NotEmpty(arguments, "to"));
  if (!to) return Bad("to= is missing; it names the layer that is active afterwards");
  command.to = *to;
  CHAINFS_ASSIGN(const bool agreed, arguments.Switch("yes", false));
  CHAINFS_ASSIGN(command.generation, arguments.Number("generation"));
  CHAINFS_ASSIGN(command.dry_run, arguments.Switch("dry-run", false));
  if (!agreed && !command.dry_run) {
    return Bad(fmt::format("the layers above {} would be removed for good; add yes=yes", *to));
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
  if (!limit) return Bad("limit= is missing; 0 means no limit");
  CHAINFS_ASSIGN(const Target target, FindTarget(call));
  return jobs_.SetSpeed(target.disk, target.id, *limit);
}

Status Commands::Control(const Call& call, JobAction action) {
  CHAINFS_ASSIGN(const Target target, FindTarget(call));
  return (jobs_.*action)(target.disk, target.id);
}

Result<Commands::Target> Commands::FindTarget(const Call& call) const {
  CHAINFS_ASSIGN(const std::optional<std::string> id, NotEmpty(call.arguments, "id"));
  return Target{.disk = call.disk != nullptr ? call.disk->name() : "", .id = id.value_or("")};
}

}  // namespace chainfs::control
