// SPDX-License-Identifier: Apache-2.0
//
// Roots: the directories that image files may come from, and the only way by which the catalog gets
// from a path to an open directory. A path is made normal as text ("." and ".." go), the deepest
// root that contains it is found, and the rest is opened through that root, which refuses whatever
// leads outside after all (a symbolic link, another mount).
//
// Terms: an *extra root* is a directory outside the sources that a trusted record names; it counts
// only for the chain of that record.
//
// Threads: all methods need the catalog's mu_.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/image/image.h"
#include "blocklayer/io/directory.h"

namespace chainfs {

using OpenDirectoryFunction =
    std::function<Result<std::unique_ptr<Directory>>(const std::string& path)>;

// Where a file is: `name` (one component) in `directory`.
struct Place {
  std::shared_ptr<Directory> directory;
  std::string name;
  std::string path;  // absolute
};

// `path` must be absolute. "/a/./b/../c/" -> "/a/c".
std::string NormalPath(std::string_view path);
// "/a/b" -> "/a"; "/a" -> "/".
std::string DirectoryOf(std::string_view path);
std::string FileNameOf(std::string_view path);
std::string JoinPath(std::string_view directory, std::string_view name);

// What a root permits: files of a `backing_dir` are read, and only source directories get new ones.
enum class RootUse : uint8_t { kRead, kCreate };

class Roots {
 public:
  // `open`: null for the real host.
  explicit Roots(OpenDirectoryFunction open);

  // Makes the directory at `path` a root; its path as the Directory spells it may differ. One that
  // is a root already, under whatever name, keeps that name.
  Result<std::shared_ptr<Directory>> Add(const std::string& path, RootUse use);
  // The place of an absolute path; kAccess when no root and none of `extra` contains it, kNotFound
  // when its directory does not exist.
  Result<Place> Find(std::string_view path, std::span<const std::string> extra = {});
  // The place for a new file; kAccess when neither a root for creating nor `extra` contains it,
  // kNotFound when its directory does not exist.
  Result<Place> FindNew(std::string_view path, std::span<const std::string> extra = {});
  // The place of a backing file as the header of `overlay` names it. kInvalidArgument for names
  // that are not plain paths.
  Result<Place> Resolve(const Place& overlay, std::string_view backing,
                        std::span<const std::string> extra = {});
  // Which file a name in a header leads to as the kernel walks it, whether it may be opened or not.
  Result<FileId> Follow(Directory& from, const std::string& name) const {
    return from.Follow(name, devices_);
  }
  // Whether `path` lies beneath a root (not an extra one).
  bool Contains(std::string_view path) const;

 private:
  struct Root {
    std::shared_ptr<Directory> directory;
    FileId id;
    std::vector<std::string> paths;  // as given, and with symbolic links resolved
    RootUse use = RootUse::kRead;
  };
  // The deepest root that contains the path, or the first of `extra`; nothing when none does.
  std::optional<Result<Place>> Locate(std::string_view normal, std::span<const std::string> extra,
                                      RootUse use);
  // The roots' paths, for messages.
  std::string Names(RootUse use) const;
  // The part of `path` beneath `root`; empty when it is not beneath.
  static std::string_view Beneath(std::string_view root, std::string_view path);
  Result<std::shared_ptr<Directory>> OpenExtra(const std::string& path);
  Result<Place> PlaceIn(const std::shared_ptr<Directory>& root, std::string_view rest);

  const bool real_host_;
  const OpenDirectoryFunction open_;
  std::vector<Root> roots_;
  std::set<dev_t> devices_;  // where the roots lie
  // Directories beneath roots, and extra roots, as long as somebody uses them.
  std::map<std::string, std::weak_ptr<Directory>> open_directories_;
};

}  // namespace chainfs
