// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/base/mountinfo.h"

#include <fmt/format.h>
#include <libmount/libmount.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>

namespace chainfs {
namespace {

std::string TextOrNothing(const char* text) { return text != nullptr ? text : ""; }

}  // namespace

std::vector<MountEntry> ParseMountinfo(std::string text) {
  std::vector<MountEntry> entries;
  if (text.empty()) return entries;  // which fmemopen refuses
  const std::unique_ptr<libmnt_table, decltype(&mnt_unref_table)> table(mnt_new_table(),
                                                                        &mnt_unref_table);
  const std::unique_ptr<libmnt_iter, decltype(&mnt_free_iter)> each(mnt_new_iter(MNT_ITER_FORWARD),
                                                                    &mnt_free_iter);
  FILE* const stream = ::fmemopen(text.data(), text.size(), "r");
  if (!table || !each || stream == nullptr) return entries;
  mnt_table_set_parser_errcb(table.get(), [](libmnt_table*, const char*, int) { return 1; });
  // libmount knows the format by the first line. The name is for its messages.
  mnt_table_parse_stream(table.get(), stream, "mountinfo");
  std::fclose(stream);
  for (libmnt_fs* fs = nullptr; mnt_table_next_fs(table.get(), each.get(), &fs) == 0;) {
    const dev_t device = mnt_fs_get_devno(fs);
    entries.push_back({.id = fmt::format("{}", mnt_fs_get_id(fs)),
                       .device = fmt::format("{}:{}", ::major(device), ::minor(device)),
                       .path = TextOrNothing(mnt_fs_get_target(fs)),
                       .type = TextOrNothing(mnt_fs_get_fstype(fs)),
                       .source = TextOrNothing(mnt_fs_get_source(fs))});
  }
  return entries;
}

std::string DeviceOfPath(const std::vector<MountEntry>& mounts, const std::string& path) {
  const auto covers = [&](const std::string& point) {
    if (point == "/") return true;
    return path.starts_with(point) && (path.size() == point.size() || path[point.size()] == '/');
  };
  const MountEntry* found = nullptr;
  bool certain = true;
  for (const MountEntry& entry : mounts) {
    // An automount point has no files of its own.
    if (!covers(entry.path) || entry.type == "autofs") continue;
    if (found != nullptr && entry.path.size() < found->path.size()) continue;
    const bool same = found != nullptr && entry.path == found->path;
    certain = !same || (certain && entry.device == found->device);
    found = &entry;
  }
  return found != nullptr && certain ? found->device : "";
}

Result<std::vector<MountEntry>> OwnMounts() {
  const char* const path = "/proc/self/mountinfo";
  std::ifstream file(path);
  if (!file) return FailErrno(errno, fmt::format("{}: cannot be read", path));
  std::stringstream text;
  text << file.rdbuf();
  return ParseMountinfo(std::move(text).str());
}

}  // namespace chainfs
