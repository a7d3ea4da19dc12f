// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/last_errors.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <chrono>

#include "ctl/control/errno_map.h"
#include "ctl/control/status_attributes.h"
#include "ctl/control/status_json.h"

namespace chainfs::control {
namespace {

constexpr size_t kMostLost = 256;

std::string_view NameOf(const ServedDisk* disk) {
  return disk == nullptr ? std::string_view("the mount") : disk->disk->name();
}

std::string JsonOf(std::string_view attribute, int number, std::string_view message) {
  return RefusalJson(std::chrono::system_clock::now(), attribute, number, message);
}

}  // namespace

void LastErrors::CommandRefused(ServedDisk* disk, std::string_view attribute, const Error& error) {
  const int number = ErrnoOf(error);
  spdlog::info("refused {} on {}: {} ({})", attribute, NameOf(disk), error.message,
               ErrnoName(number));
  Remember(disk, JsonOf(attribute, number, error.message));
}

int LastErrors::OperationRefused(ServedDisk* disk, std::string_view operation, int number,
                                 const std::string& sentence) {
  spdlog::debug("refused {} on {}: {}", operation, NameOf(disk), sentence);
  Remember(disk, JsonOf(operation, number, sentence));
  return number;
}

int LastErrors::ChangeRefused(ServedDisk& disk, std::string_view operation) {
  return OperationRefused(
      &disk, operation, EROFS,
      fmt::format("{} is read-only: {}", disk.disk->name(), disk.disk->ReadOnlyReason()));
}

int LastErrors::OperationFailed(ServedDisk& disk, std::string_view operation, const Error& error) {
  const std::string_view cure =
      error.kind == ErrorKind::kNoSpace ? "; make room on the file system of the image" : "";
  const std::string what =
      error.kind == ErrorKind::kReadOnly
          ? fmt::format("{} is read-only: {}", disk.disk->name(), disk.disk->ReadOnlyReason())
          : fmt::format("{}{}", error.message, cure);
  return OperationRefused(&disk, operation, ErrnoOf(error),
                          fmt::format("{} failed: {}", operation, what));
}

void LastErrors::JobFailed(const std::string& disk, std::string_view type, const Error& error) {
  const std::string json =
      JsonOf(fmt::format("{}{}", kAttributePrefix, type), ErrnoOf(error), error.message);
  // Held until it is remembered: a disk that appears meanwhile asks afterwards.
  const MutexLock lock(lost_mu_);
  const ServedDiskPtr found = disks_.Find(disk);
  Remember(found.get(), json);
  if (found != nullptr) return;
  if (lost_.size() >= kMostLost) lost_.erase(lost_.begin());
  lost_[disk] = json;
}

void LastErrors::DiskAppeared(ServedDisk& disk) {
  const MutexLock lock(lost_mu_);
  const auto lost = lost_.find(disk.disk->name());
  if (lost == lost_.end()) return;
  {
    const MutexLock disk_lock(disk.mu);
    disk.last_error = std::move(lost->second);
  }
  lost_.erase(lost);
}

std::string LastErrors::Of(const ServedDisk* disk) const {
  if (disk == nullptr) {
    const MutexLock lock(mount_mu_);
    return of_mount_;
  }
  const MutexLock lock(disk->mu);
  return disk->last_error;
}

void LastErrors::Remember(ServedDisk* disk, const std::string& json) {
  if (disk != nullptr) {
    const MutexLock lock(disk->mu);
    disk->last_error = json;
  }
  const MutexLock lock(mount_mu_);
  of_mount_ = json;
}

}  // namespace chainfs::control
