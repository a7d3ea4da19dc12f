// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/holders.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>

#include "blocklayer/base/mountinfo.h"
#include "ctl/chainctl/output.h"

namespace chainfs::chainctl {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostShown = 5;

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  if (file) text << file.rdbuf();
  return text.str();
}

std::string FirstLine(const std::string& path) {
  std::string text = ReadText(path);
  return text.substr(0, text.find('\n'));
}

std::string LinkText(const fs::path& path) {
  std::error_code ignored;
  return fs::read_symlink(path, ignored).string();
}

// Names in a directory; nothing when it cannot be read or is going.
std::vector<std::string> NamesIn(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code failed;
  for (fs::directory_iterator at(directory, failed); !failed && at != fs::directory_iterator();
       at.increment(failed)) {
    names.push_back(at->path().filename().string());
  }
  return names;
}

bool IsBelow(std::string_view path, std::string_view directory) {
  return path == directory || (path.size() > directory.size() && path.starts_with(directory) &&
                               path[directory.size()] == '/');
}

// The mounts of our device that one process sees.
struct Sight {
  std::set<std::string> ids;
  std::vector<std::string> paths;
};

Sight SightOf(const std::vector<MountEntry>& entries, const std::string& device) {
  Sight sight;
  for (const MountEntry& entry : entries) {
    if (entry.device != device) continue;
    sight.ids.insert(entry.id);
    sight.paths.push_back(entry.path);
  }
  return sight;
}

std::string FactOf(const std::string& fdinfo, std::string_view wanted) {
  std::istringstream lines(ReadText(fdinfo));
  for (std::string key, value; lines >> key >> value;) {
    if (key == wanted) return value;
  }
  return "";
}

std::set<int> ProcessesIn(const std::string& proc) {
  std::set<int> pids;
  for (const std::string& name : NamesIn(proc)) {
    int pid = 0;
    const auto [end, failed] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (failed == std::errc() && *end == '\0' && pid != getpid()) pids.insert(pid);
  }
  return pids;
}

class Search {
 public:
  Search(const std::string& mount, std::string device, const HolderRoots& roots)
      : mount_(mount), device_(std::move(device)), roots_(roots) {}

  std::vector<Holder> Run();

 private:
  void LookAtProcess(int pid);
  void LookAtNamespace(int pid, const std::string& name, const Sight& sight);
  void LookAtLoops(const std::vector<MountEntry>& entries);
  void LookAtSwap();
  void LookAtMounts(const std::vector<MountEntry>& entries);
  // The first file or directory of the mount that the process holds; events last.
  std::optional<Holder> HeldBy(const std::string& process, const Sight& sight) const;
  bool MapsOurs(const std::string& process, std::string& what) const;

  const std::string& mount_;
  const std::string device_;
  const HolderRoots& roots_;
  std::string own_namespace_;
  std::map<std::string, Sight> sights_;  // by mount namespace
  std::vector<Holder> holders_;
};

bool Search::MapsOurs(const std::string& process, std::string& what) const {
  const size_t colon = device_.find(':');
  unsigned major = 0;
  unsigned minor = 0;
  std::from_chars(device_.data(), device_.data() + colon, major);
  std::from_chars(device_.data() + colon + 1, device_.data() + device_.size(), minor);
  const std::string wanted = fmt::format("{:02x}:{:02x}", major, minor);
  std::istringstream lines(ReadText(process + "/maps"));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string range;
    std::string mode;
    std::string offset;
    std::string device;
    std::string inode;
    words >> range >> mode >> offset >> device >> inode >> std::ws;
    if (device != wanted) continue;
    std::getline(words, what);
    return true;
  }
  return false;
}

std::optional<Holder> Search::HeldBy(const std::string& process, const Sight& sight) const {
  std::optional<Holder> events;
  for (const std::string& fd : NamesIn(process + "/fd")) {
    if (!sight.ids.contains(FactOf(fmt::format("{}/fdinfo/{}", process, fd), "mnt_id:"))) continue;
    Holder holder{.what = LinkText(fmt::format("{}/fd/{}", process, fd))};
    holder.events = holder.what.ends_with("/.chainfs/events");
    if (!holder.events) return holder;
    events = std::move(holder);
  }
  for (const char* const link : {"/cwd", "/root", "/exe"}) {
    std::string path = LinkText(process + link);
    if (std::ranges::any_of(sight.paths, [&](const auto& ours) { return IsBelow(path, ours); })) {
      return Holder{.what = std::move(path)};
    }
  }
  if (std::string what; MapsOurs(process, what)) return Holder{.what = std::move(what)};
  return events;
}

void Search::LookAtNamespace(int pid, const std::string& name, const Sight& sight) {
  if (name == own_namespace_ || sight.paths.empty()) return;
  holders_.push_back({.kind = Holder::Kind::kNamespace,
                      .pid = pid,
                      .command = FirstLine(fmt::format("{}/{}/comm", roots_.proc, pid)),
                      .what = sight.paths.front()});
}

void Search::LookAtProcess(int pid) {
  const std::string process = fmt::format("{}/{}", roots_.proc, pid);
  const std::string name = LinkText(process + "/ns/mnt");
  if (name.empty()) return;  // gone, a kernel thread's, or another user's
  auto known = sights_.find(name);
  if (known == sights_.end()) {
    Sight sight = SightOf(ParseMountinfo(ReadText(process + "/mountinfo")), device_);
    LookAtNamespace(pid, name, sight);
    known = sights_.emplace(name, std::move(sight)).first;
  }
  if (known->second.ids.empty()) return;
  std::optional<Holder> holder = HeldBy(process, known->second);
  if (!holder) return;
  holder->pid = pid;
  holder->command = FirstLine(process + "/comm");
  holders_.push_back(std::move(*holder));
}

void Search::LookAtLoops(const std::vector<MountEntry>& entries) {
  for (const std::string& name : NamesIn(roots_.sys + "/block")) {
    if (!name.starts_with("loop")) continue;
    const std::string file = FirstLine(roots_.sys + "/block/" + name + "/loop/backing_file");
    if (!IsBelow(file, mount_)) continue;
    std::string what = fmt::format("/dev/{} on {}", name, file);
    for (const MountEntry& entry : entries) {
      if (entry.source == "/dev/" + name) what += ", mounted on " + entry.path;
    }
    holders_.push_back({.kind = Holder::Kind::kLoop, .command = {}, .what = std::move(what)});
  }
}

void Search::LookAtSwap() {
  std::istringstream lines(ReadText(roots_.proc + "/swaps"));
  for (std::string line; std::getline(lines, line);) {
    const std::string file = line.substr(0, line.find_first_of(" \t"));
    if (!IsBelow(file, mount_)) continue;
    holders_.push_back({.kind = Holder::Kind::kSwap, .command = {}, .what = file});
  }
}

void Search::LookAtMounts(const std::vector<MountEntry>& entries) {
  bool ours_seen = false;
  for (const MountEntry& entry : entries) {
    const bool is_ours = entry.device == device_ && entry.path == mount_;
    const bool on_top = IsBelow(entry.path, mount_) && ours_seen && !is_ours;
    const bool bound = entry.device == device_ && entry.path != mount_;
    ours_seen = ours_seen || is_ours;
    if (!on_top && !bound) continue;
    holders_.push_back({.kind = Holder::Kind::kMount, .command = {}, .what = entry.path});
  }
}

std::vector<Holder> Search::Run() {
  if (device_.find(':') == std::string::npos) return {};
  own_namespace_ = LinkText(roots_.proc + "/self/ns/mnt");
  const auto entries = ParseMountinfo(ReadText(roots_.proc + "/self/mountinfo"));
  for (const int pid : ProcessesIn(roots_.proc)) LookAtProcess(pid);
  LookAtLoops(entries);
  LookAtSwap();
  LookAtMounts(entries);
  return std::move(holders_);
}

std::string TextOfHolder(const Holder& holder) {
  std::string what = SafeText(holder.what);
  switch (holder.kind) {
    case Holder::Kind::kProcess:
      return fmt::format("{} (pid {}: {})", SafeText(holder.command), holder.pid, what);
    case Holder::Kind::kLoop:
      return fmt::format("loop device {}", what);
    case Holder::Kind::kSwap:
      return fmt::format("swap on {}", what);
    case Holder::Kind::kMount:
      return fmt::format("the mount on {}", what);
    case Holder::Kind::kNamespace:
      return fmt::format("the mount namespace of {} (pid {}), where it is on {}",
                         SafeText(holder.command), holder.pid, what);
  }
  return what;
}

}  // namespace

std::string DeviceOfMount(const std::string& mount, const HolderRoots& roots) {
  std::string device;
  for (const MountEntry& entry : ParseMountinfo(ReadText(roots.proc + "/self/mountinfo"))) {
    if (entry.path == mount) device = entry.device;
  }
  return device;
}

int DaemonOf(const std::string& device, const HolderRoots& roots) {
  if (!device.starts_with("0:")) return 0;
  for (const int pid : ProcessesIn(roots.proc)) {
    const std::string process = fmt::format("{}/{}", roots.proc, pid);
    for (const std::string& fd : NamesIn(process + "/fd")) {
      if (LinkText(fmt::format("{}/fd/{}", process, fd)) != "/dev/fuse") continue;
      const std::string connection =
          FactOf(fmt::format("{}/fdinfo/{}", process, fd), "fuse_connection:");
      if (connection == device.substr(2)) return pid;
    }
  }
  return 0;
}

std::vector<Holder> FindHolders(const std::string& mount, const std::string& device,
                                const HolderRoots& roots) {
  return Search(mount, device, roots).Run();
}

std::vector<Holder> OpenersOf(const std::string& path, const HolderRoots& roots) {
  std::vector<Holder> openers;
  for (const int pid : ProcessesIn(roots.proc)) {
    const std::string process = fmt::format("{}/{}", roots.proc, pid);
    const std::vector<std::string> fds = NamesIn(process + "/fd");
    const bool has = std::ranges::any_of(fds, [&](const std::string& fd) {
      return LinkText(fmt::format("{}/fd/{}", process, fd)) == path;
    });
    if (has) openers.push_back({.pid = pid, .command = FirstLine(process + "/comm"), .what = path});
  }
  return openers;
}

std::string HoldersText(const std::vector<Holder>& holders) {
  std::string text;
  for (size_t i = 0; i < std::min(holders.size(), kMostShown); ++i) {
    text += (i == 0 ? "" : ", ") + TextOfHolder(holders[i]);
  }
  if (holders.size() > kMostShown) text += fmt::format(" and {} more", holders.size() - kMostShown);
  return text;
}

}  // namespace chainfs::chainctl
