// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog_roots.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "blocklayer/io/posix.h"
#include "blocklayer/name_rules.h"

namespace chainfs {
namespace {

// kInvalidArgument unless `name` is a plain path.
Status CheckBackingName(const Place& overlay, std::string_view name) {
  const auto refuse = [&](std::string_view why) {
    return Fail(ErrorKind::kInvalidArgument,
                EscapeText(fmt::format("{}: its backing file \"{}\" {}", overlay.path, name, why)));
  };
  if (name.empty()) return refuse("has no name");
  if (name.find('\0') != std::string_view::npos) return refuse("has a NUL byte in its name");
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

std::string NormalPath(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    if (part == ".." && !parts.empty()) parts.pop_back();
    if (part.empty() || part == "." || part == "..") continue;
    parts.push_back(part);
  }
  std::string normal;
  for (const std::string_view part : parts) {
    normal += '/';
    normal += part;
  }
  return normal.empty() ? "/" : normal;
}

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

Roots::Roots(OpenDirectoryFunction open)
    : real_host_(open == nullptr),
      open_(real_host_ ? OpenDirectoryFunction(OpenPosixDirectory) : std::move(open)) {}

Result<std::shared_ptr<Directory>> Roots::Add(const std::string& path, RootUse use) {
  CHAINFS_ASSIGN(std::shared_ptr<Directory> directory, open_(path));
  CHAINFS_ASSIGN(const FileId id, directory->Id());
  devices_.insert(id.device);
  auto root = std::ranges::find(roots_, id, &Root::id);
  if (root == roots_.end()) {
    root = roots_.insert(root, Root{.directory = directory, .id = id, .paths = {}, .use = use});
  }
  root->use = std::max(root->use, use);
  std::vector<std::string> spellings = {directory->path()};
  std::error_code error;
  // Absolute names may spell the directory either way.
  if (real_host_)
    spellings.push_back(std::filesystem::canonical(directory->path(), error).string());
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

bool Roots::Contains(std::string_view path) const {
  const std::string normal = NormalPath(path);
  for (const Root& root : roots_) {
    for (const std::string& spelling : root.paths) {
      if (!Beneath(spelling, normal).empty()) return true;
    }
  }
  return false;
}

Result<std::shared_ptr<Directory>> Roots::OpenExtra(const std::string& path) {
  std::weak_ptr<Directory>& known = open_directories_[path];
  if (std::shared_ptr<Directory> directory = known.lock()) return directory;
  CHAINFS_ASSIGN(std::shared_ptr<Directory> directory, open_(path));
  known = directory;
  return directory;
}

Result<Place> Roots::PlaceIn(const std::shared_ptr<Directory>& root, std::string_view rest) {
  Place place{.directory = root, .name = FileNameOf(rest), .path = JoinPath(root->path(), rest)};
  const size_t slash = rest.rfind('/');
  if (slash == std::string_view::npos) return place;
  std::weak_ptr<Directory>& known = open_directories_[DirectoryOf(place.path)];
  place.directory = known.lock();
  if (place.directory == nullptr) {
    CHAINFS_ASSIGN(place.directory, root->OpenDirectory(std::string(rest.substr(0, slash))));
    known = place.directory;
  }
  return place;
}

std::optional<Result<Place>> Roots::Locate(std::string_view normal,
                                           std::span<const std::string> extra, RootUse use) {
  std::shared_ptr<Directory> best;
  std::string_view rest;
  for (const Root& root : roots_) {
    if (root.use < use) continue;
    for (const std::string& spelling : root.paths) {
      const std::string_view beneath = Beneath(spelling, normal);
      // The deepest root leaves the shortest rest.
      if (beneath.empty() || (best != nullptr && beneath.size() >= rest.size())) continue;
      best = root.directory;
      rest = beneath;
    }
  }
  if (best != nullptr) return PlaceIn(best, rest);
  for (const std::string& root : extra) {
    const std::string_view beneath = Beneath(root, normal);
    if (beneath.empty()) continue;
    Result<std::shared_ptr<Directory>> directory = OpenExtra(root);
    if (!directory) return std::unexpected(std::move(directory).error());
    return PlaceIn(*directory, beneath);
  }
  return std::nullopt;
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

Result<Place> Roots::FindNew(std::string_view path, std::span<const std::string> extra) {
  const std::string normal = NormalPath(path);
  if (std::optional<Result<Place>> place = Locate(normal, extra, RootUse::kCreate)) {
    return *std::move(place);
  }
  return Fail(ErrorKind::kAccess,
              EscapeText(fmt::format("{}: outside the source directories ({}); choose a target "
                                     "beneath one of them",
                                     normal, Names(RootUse::kCreate))));
}

Result<Place> Roots::Find(std::string_view path, std::span<const std::string> extra) {
  const std::string normal = NormalPath(path);
  if (std::optional<Result<Place>> place = Locate(normal, extra, RootUse::kRead)) {
    return *std::move(place);
  }
  // All of the host is never the right thing to permit.
  const std::string directory = DirectoryOf(normal);
  const std::string cure =
      directory == "/" ? "use a place beneath them"
                       : fmt::format("to permit it, mount with -o backing_dir={}", directory);
  return Fail(ErrorKind::kAccess,
              EscapeText(fmt::format("{}: outside the permitted directories ({}); {}", normal,
                                     Names(RootUse::kRead), cure)));
}

Result<Place> Roots::Resolve(const Place& overlay, std::string_view backing,
                             std::span<const std::string> extra) {
  CHAINFS_TRY(CheckBackingName(overlay, backing));
  const std::string path = backing.starts_with('/') ? std::string(backing)
                                                    : JoinPath(DirectoryOf(overlay.path), backing);
  Result<Place> place = Find(path, extra);
  // To permit its directory would not help.
  if (!place && place.error().kind == ErrorKind::kAccess && IsKnownToBeMissing(path)) {
    return Fail(ErrorKind::kNotFound,
                EscapeText(fmt::format("{}: does not exist", NormalPath(path))));
  }
  return place;
}

}  // namespace chainfs
