// SPDX-License-Identifier: Apache-2.0
//
// Roots: the directories that image files may come from, and the only way by which the catalog gets
// from a name to an open directory. There are two kinds of names. What a header or a user says is
// walked as the kernel walks it, from the directory where it stands; the directory that is reached
// is judged itself, by whether it lies in a root, and then used. A path in a record, where "."
// and ".." do not occur, is split as text into the deepest root that contains it and the rest,
// which is opened beneath that root: a record of a source must not lead outside it by a link.
// Either way the last component is opened beneath its directory.
//
// Terms: an *extra root* is a directory outside the sources that a trusted record names; it counts
// only for the chain of that record.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/image/image.h"
#include "blocklayer/io/directory.h"

namespace chainfs {

using OpenDirectoryFunction =
    std::function<Result<std::unique_ptr<Directory>>(const std::string& path)>;

// Where a file is: `name` (one component) in `directory`.
struct FileLocation {
  std::shared_ptr<Directory> directory;
  std::string name;
  std::string path;  // absolute
};

// "/a/b" -> "/a"; "/a" -> "/".
std::string DirectoryOf(std::string_view path);
std::string FileNameOf(std::string_view path);
std::string JoinPath(std::string_view directory, std::string_view name);

// What a root permits: files of a `backing_dir` are read, and only source directories get new ones.
enum class RootUse : uint8_t { kRead, kCreate };

class Roots {
 public:
  // Where FindNew goes for those who may name files outside the roots.
  struct Targets {
    bool anywhere = true;
    std::vector<std::string> directories = {};  // unless anywhere
  };

  // `open`: null for the real host.
  explicit Roots(OpenDirectoryFunction open) : Roots(std::move(open), Targets{}) {}
  Roots(OpenDirectoryFunction open, Targets targets);
  Roots(const Roots&) = delete;
  Roots& operator=(const Roots&) = delete;

  // No name leads onto the file system of this device from now on: the process serves it itself.
  void KeepOff(dev_t served);

  // Makes the directory at `path` a root; its path as the Directory spells it may differ. One that
  // is a root already, under whatever name, keeps that name.
  Result<std::shared_ptr<Directory>> Add(const std::string& path, RootUse use);
  // The place of a path as records have it (absolute and normal); kAccess when no root and none of
  // `extra` contains it, kNotFound when its directory does not exist.
  Result<FileLocation> Find(std::string_view path, std::span<const std::string> extra = {});
  // The place for a new file called `name`, from the directory `from`; kAccess when it lies in no
  // root for creating, unless it may be `anywhere`, which is where the Targets say. kNotFound when
  // its directory does not exist, kInvalidArgument when it is not the name of a file.
  Result<FileLocation> FindNew(Directory& from, const std::string& name, bool anywhere);
  // The place of a backing file as the header of `overlay` names it. kInvalidArgument for names
  // that are not plain paths; else as Find.
  Result<FileLocation> Resolve(const FileLocation& overlay, const std::string& backing,
                               std::span<const std::string> extra = {});
  // Where a plain path leads to from a directory: the place, if a root contains it.
  struct Walked {
    std::optional<FileLocation> location;
    std::string path;      // otherwise, as far as it is known
    bool missing = false;  // otherwise: nothing has that name
  };
  Result<Walked> Walk(Directory& from, const std::string& name);
  // Which file a name in a header leads to as the kernel walks it, whether it may be opened or not.
  Result<FileId> Follow(Directory& from, const std::string& name) const {
    return from.Follow(name, devices_);
  }
  // Forgets directories that nobody uses any more.
  void Prune();
  size_t open_directories() const { return open_directories_.size(); }
  // Whether the path of a place lies beneath a root (not an extra one).
  bool Contains(std::string_view path) const { return RootOf(path) != nullptr; }
  // Whether one root contains both.
  bool ContainsTogether(std::string_view a, std::string_view b) const;

 private:
  struct Root {
    std::shared_ptr<Directory> directory;
    FileId id;
    std::vector<std::string> paths;  // as given, and with symbolic links resolved
    RootUse use = RootUse::kRead;
  };
  // The deepest one that contains the path; null when none does.
  const Root* RootOf(std::string_view path) const;
  // The roots' paths, for messages.
  std::string Names(RootUse use) const;
  std::unexpected<Error> FailOutside(const std::string& path) const;
  // The part of `path` beneath `root`; empty when it is not beneath.
  static std::string_view Beneath(std::string_view root, std::string_view path);
  NameFence FenceOf(RootUse use, std::span<const std::string> extra);
  // The one that is open already, if it is that directory.
  std::shared_ptr<Directory> Share(std::unique_ptr<Directory> opened, const FileId& id);
  Result<FileLocation> LocationIn(NamedLocation named);
  Result<FileLocation> LocationBeneath(Directory& root, std::string_view rest);

  const bool real_host_;
  const Targets targets_;
  const OpenDirectoryFunction open_;
  std::vector<Root> roots_;
  std::set<dev_t> devices_;  // where the roots lie, and what lies above them
  dev_t served_ = 0;         // 0: nothing
  // Directories that are no roots, by path, as long as somebody uses them.
  std::map<std::string, std::weak_ptr<Directory>> open_directories_;
};

}  // namespace chainfs
