// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/bitmap_command.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <string>
#include <utility>

#include "jobs/engine/chain_generation.h"

namespace chainfs::control {
namespace {

constexpr std::array<std::pair<std::string_view, BitmapChange::Kind>, 5> kBitmapKeys = {{
    {"add", BitmapChange::Kind::kAdd},
    {"remove", BitmapChange::Kind::kRemove},
    {"clear", BitmapChange::Kind::kClear},
    {"enable", BitmapChange::Kind::kEnable},
    {"disable", BitmapChange::Kind::kDisable},
}};

Result<BitmapChange> ChangeOf(const verbs::Arguments& arguments) {
  std::optional<BitmapChange> change;
  for (const auto& [key, kind] : kBitmapKeys) {
    const std::optional<std::string> name = arguments.Text(key);
    if (!name) continue;
    if (change) {
      return Fail(ErrorKind::kInvalidArgument,
                  "say one of add=, remove=, clear=, enable=, disable=");
    }
    change = BitmapChange{.kind = kind, .name = *name};
  }
  if (!change) {
    return Fail(ErrorKind::kInvalidArgument,
                "say add=, remove=, clear=, enable= or disable=, and the name of a bitmap");
  }
  if (change->kind != BitmapChange::Kind::kAdd &&
      (arguments.Has("granularity") || arguments.Has("disabled"))) {
    return Fail(ErrorKind::kInvalidArgument, "granularity= and disabled= are only for add=");
  }
  CHAINFS_ASSIGN(const std::optional<uint64_t> granularity, arguments.Size("granularity"));
  change->granularity = granularity.value_or(change->granularity);
  CHAINFS_ASSIGN(change->disabled, arguments.Switch("disabled", false));
  return *change;
}

}  // namespace

Status BitmapCommand(jobs::JobManager& jobs, const verbs::Arguments& arguments, Disk& disk) {
  CHAINFS_ASSIGN(const BitmapChange change, ChangeOf(arguments));
  CHAINFS_ASSIGN(const std::optional<uint64_t> generation, arguments.Number("generation"));
  CHAINFS_ASSIGN(const bool dry_run, arguments.Switch("dry-run", false));
  CHAINFS_ASSIGN(const jobs::Reservation reserved, jobs.ReserveDisk(disk, "bitmap", "", false));
  CHAINFS_TRY(jobs::CheckGeneration(disk, generation));
  return disk.WhileQuiet([&]() -> Status {
    if (disk.read_only()) {
      return Fail(ErrorKind::kReadOnly,
                  fmt::format("{} is read-only: {}", disk.name(), disk.ReadOnlyReason()));
    }
    return dry_run ? Status() : disk.chain()->active->image->writer()->ChangeBitmap(change);
  });
}

}  // namespace chainfs::control
