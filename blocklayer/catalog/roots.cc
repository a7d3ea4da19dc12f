// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/roots.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/io/posix.h"

namespace chainfs {
namespace {

// kInvalidArgument unless `name` is a plain path.
Status CheckBackingName(const FileLocation& overlay, std::string_view name) {
  const auto refuse = [&](std::string_view why) {
    return Fail(ErrorKind::kInvalidArgument,
                EscapeText(fmt::format("{}: its backing file \"{}\" {}", overlay.path, name, why)));
  };
  if (name.empty()) return refuse("has no name");
  if (name.find('\0') != std::string_view::npos) return refuse("has a NUL byte in its name");
  const std::string file = FileNameOf(name);
  if (file.empty() || file == "." || file == "..") return refuse("is a directory");
  const size_t colon = name.find(':');
  if (name.starts_with("json:")) {
    return refuse("is a JSON description; chainfs takes only file names");
  }
  if (colon != std::string_view::npos && colon < name.find('/')) {
    return refuse(
        "names a protocol; chainfs takes only file names (write ./NAME for a file whose name has "
        "a colon)");
  }
  return {};
}

}  // namespace

std::string DirectoryOf(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string_view::npos ? "/" : std::string(path.substr(0, slash));
}

std::string FileNameOf(std::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

std::string JoinPath(std::string_view directory, std::string_view name) {
  return fmt::format("{}{}{}", directory, directory.ends_with('/') ? "" : "/", name);
}

Roots::Roots(OpenDirectoryFunction open, Targets targets)
    : real_host_(open == nullptr),
      targets_(std::move(targets)),
      open_(real_host_ ? OpenDirectoryFunction([this](const std::string& path) {
        return OpenPosixDirectory(path, served_);
      })
                       : std::move(open)) {}

void Roots::KeepOff(dev_t served) {
  served_ = served;
  devices_.erase(served);
}

Result<std::shared_ptr<Directory>> Roots::Add(const std::string& path, RootUse use) {
  CHAINFS_ASSIGN(std::shared_ptr<Directory> directory, open_(path));
  CHAINFS_ASSIGN(const FileId id, directory->Id());
  for (const FileStat& stat : directory->StatWay()) devices_.insert(stat.id.device);
  auto root = std::ranges::find(roots_, id, &Root::id);
  if (root == roots_.end()) {
    root = roots_.insert(root, Root{.directory = directory, .id = id, .paths = {}, .use = use});
  }
  root->use = std::max(root->use, use);
  std::vector<std::string> spellings = {directory->path()};
  std::error_code error;
  // Absolute names may spell the directory either way.
  if (real_host_) {
    spellings.push_back(std::filesystem::canonical(directory->path(), error).string());
  }
  for (std::string& spelling : spellings) {
    const bool known = std::ranges::find(root->paths, spelling) != root->paths.end();
    if (!known && !spelling.empty()) root->paths.push_back(std::move(spelling));
  }
  return root->directory;
}

std::string_view Roots::Beneath(std::string_view root, std::string_view path) {
  if (root == "/") return path.substr(1);
  if (!path.starts_with(root) || path.size() <= root.size() + 1) return {};
  return path[root.size()] == '/' ? path.substr(root.size() + 1) : std::string_view();
}

void Roots::Prune() {
  std::erase_if(open_directories_, [](const auto& item) { return item.second.expired(); });
}

const Roots::Root* Roots::RootOf(std::string_view path) const {
  const Root* best = nullptr;
  size_t shortest = 0;
  for (const Root& root : roots_) {
    for (const std::string& spelling : root.paths) {
      const size_t rest = Beneath(spelling, path).size();
      // The deepest root leaves the shortest rest.
      if (rest == 0 || (best != nullptr && rest >= shortest)) continue;
      best = &root;
      shortest = rest;
    }
  }
  return best;
}

bool Roots::ContainsTogether(std::string_view a, std::string_view b) const {
  return std::ranges::any_of(roots_, [&](const Root& root) {
    return std::ranges::any_of(root.paths, [&](const std::string& spelling) {
      return !Beneath(spelling, a).empty() && !Beneath(spelling, b).empty();
    });
  });
}

std::shared_ptr<Directory> Roots::Share(std::unique_ptr<Directory> opened, const FileId& id) {
  const auto root = std::ranges::find(roots_, id, &Root::id);
  if (root != roots_.end()) return root->directory;
  std::weak_ptr<Directory>& known = open_directories_[opened->path()];
  std::shared_ptr<Directory> shared = known.lock();
  // Another directory may have the path by now.
  const Result<FileId> known_id = shared ? shared->Id() : Result<FileId>(FileId{});
  if (shared == nullptr || !known_id || *known_id != id) {
    shared = std::move(opened);
    known = shared;
    std::erase_if(open_directories_, [](const auto& item) { return item.second.expired(); });
  }
  return shared;
}

Result<FileLocation> Roots::LocationIn(NamedLocation named) {
  CHAINFS_ASSIGN(const FileId id, named.directory->Id());
  FileLocation location{.directory = Share(std::move(named.directory), id),
                        .name = std::move(named.leaf),
                        .path = {}};
  location.path = JoinPath(location.directory->path(), location.name);
  return location;
}

Result<FileLocation> Roots::LocationBeneath(Directory& root, std::string_view rest) {
  const size_t slash = rest.rfind('/');
  NamedLocation named{.directory = {}, .leaf = FileNameOf(rest), .path = {}, .missing = false};
  const std::string holder(slash == std::string_view::npos ? "." : rest.substr(0, slash));
  CHAINFS_ASSIGN(named.directory, root.OpenDirectory(holder));
  return LocationIn(std::move(named));
}

NameFence Roots::FenceOf(RootUse use, std::span<const std::string> extra) {
  NameFence fence{.directories = {}, .devices = devices_, .open = false, .served = served_};
  for (const Root& root : roots_) {
    if (root.use >= use) {
      fence.directories.push_back({.id = root.id, .path = root.directory->path()});
    }
  }
  for (const std::string& path : extra) {
    // What cannot be opened holds no file either.
    const Result<std::unique_ptr<Directory>> directory = open_(path);
    const Result<FileId> id = directory ? (*directory)->Id() : std::unexpected(directory.error());
    if (!id) continue;
    fence.directories.push_back({.id = *id, .path = (*directory)->path()});
    for (const FileStat& stat : (*directory)->StatWay()) fence.devices.insert(stat.id.device);
  }
  return fence;
}

std::string Roots::Names(RootUse use) const {
  std::string names;
  for (const Root& root : roots_) {
    if (root.use < use) continue;
    if (!names.empty()) names += ", ";
    names += root.directory->path();
  }
  return names;
}

Result<FileLocation> Roots::FindNew(Directory& from, const std::string& name, bool anywhere) {
  NameFence fence =
      FenceOf(RootUse::kCreate, anywhere ? targets_.directories : std::vector<std::string>());
  fence.open = anywhere && targets_.anywhere;
  CHAINFS_ASSIGN(NamedLocation named, from.Locate(name, fence));
  if (named.directory != nullptr) return LocationIn(std::move(named));
  if (anywhere) {
    return Fail(
        ErrorKind::kAccess,
        EscapeText(fmt::format("{}: outside the directories that the daemon is confined to; "
                               "mount with -o target_dir={}, or choose a target beneath a "
                               "source ({})",
                               named.path, DirectoryOf(named.path), Names(RootUse::kCreate))));
  }
  return Fail(ErrorKind::kAccess,
              EscapeText(fmt::format("{}: outside the source directories ({}); choose a target "
                                     "beneath one of them",
                                     named.path, Names(RootUse::kCreate))));
}

Result<Roots::Walked> Roots::Walk(Directory& from, const std::string& name) {
  CHAINFS_ASSIGN(NamedLocation named, from.Locate(name, FenceOf(RootUse::kRead, {})));
  Walked walked{.location = {}, .path = named.path, .missing = named.missing};
  if (named.directory != nullptr) {
    CHAINFS_ASSIGN(walked.location, LocationIn(std::move(named)));
  }
  return walked;
}

std::unexpected<Error> Roots::FailOutside(const std::string& path) const {
  // All of the host is never the right thing to permit.
  const std::string directory = DirectoryOf(path);
  const std::string cure =
      directory == "/" ? "use a place beneath them"
                       : fmt::format("to permit it, mount with -o backing_dir={}", directory);
  if (RootOf(path) != nullptr) {
    return Fail(
        ErrorKind::kAccess,
        EscapeText(fmt::format("{}: the name leads from a permitted directory onto another mount; "
                               "{}",
                               path, cure)));
  }
  return Fail(ErrorKind::kAccess,
              EscapeText(fmt::format("{}: outside the permitted directories ({}); {}", path,
                                     Names(RootUse::kRead), cure)));
}

Result<FileLocation> Roots::Find(std::string_view path, std::span<const std::string> extra) {
  if (const Root* root = RootOf(path); root != nullptr) {
    for (const std::string& spelling : root->paths) {
      const std::string_view rest = Beneath(spelling, path);
      if (!rest.empty()) return LocationBeneath(*root->directory, rest);
    }
  }
  for (const std::string& root : extra) {
    const std::string_view rest = Beneath(root, path);
    if (rest.empty()) continue;
    CHAINFS_ASSIGN(const std::unique_ptr<Directory> directory, open_(root));
    return LocationBeneath(*directory, rest);
  }
  return FailOutside(std::string(path));
}

Result<FileLocation> Roots::Resolve(const FileLocation& overlay, const std::string& backing,
                                    std::span<const std::string> extra) {
  CHAINFS_TRY(CheckBackingName(overlay, backing));
  if (backing.find('/') == std::string::npos) {
    return FileLocation{.directory = overlay.directory,
                        .name = backing,
                        .path = JoinPath(DirectoryOf(overlay.path), backing)};
  }
  CHAINFS_ASSIGN(NamedLocation named,
                 overlay.directory->Locate(backing, FenceOf(RootUse::kRead, extra)));
  if (named.directory != nullptr) return LocationIn(std::move(named));
  // To permit its directory would not help.
  if (named.missing) {
    return Fail(ErrorKind::kNotFound, EscapeText(fmt::format("{}: does not exist", named.path)));
  }
  return FailOutside(named.path);
}

}  // namespace chainfs
