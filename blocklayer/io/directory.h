// SPDX-License-Identifier: Apache-2.0
//
// Directory: the seam for names. Files are opened, created, renamed and removed only through one of
// these, so that tests can lose what was not made durable.
//
// Names may contain '/'; they resolve beneath the directory only: "..", absolute names and symbolic
// links that lead outside, magic links and other mounts are refused with kAccess (openat2
// RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS). Anything but a regular file is refused with
// kInvalidArgument, and opening never blocks (a FIFO does not hang the caller).
//
// Threads: any. Durability: Create, Rename and Remove are durable only after Sync on the directory
// that holds the name.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/io/file.h"

namespace chainfs {

enum class OpenMode : uint8_t {
  kReadOnly,
  kReadWrite,
};

struct DirectoryEntry {
  std::string name;      // one component, any bytes but '/' and NUL
  bool is_file = false;  // regular, or a symbolic link to a regular file beneath the directory
  bool is_directory = false;
};

// Where a name that an image gives may lead.
struct NameFence {
  struct Inside {
    FileId id;
    std::string path;  // as people know it
  };
  // These directories, and what lies beneath them on the same mount.
  std::vector<Inside> directories;
  std::set<dev_t> devices;  // may be entered on the way, whatever they are (io/follow_name.h)
  bool open = false;        // everything may be entered, and everything is inside
  // The device of what this process serves itself, which would have to answer for it to go on:
  // never entered. 0: nothing.
  dev_t served = 0;
};

class Directory;

// What a name leads to: a name in a directory.
struct NamedLocation {
  std::unique_ptr<Directory> directory;  // null outside the fence
  std::string leaf;                      // the name's last component; perhaps a link, or nothing
  std::string path;                      // absolute; outside the fence as far as it is known
  bool missing = false;                  // outside the fence: nothing has that name
};

class Directory {
 public:
  explicit Directory(std::string path) : path_(std::move(path)) {}
  virtual ~Directory() = default;
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  // Absolute, without a trailing '/'; for messages and for names stored in image headers.
  const std::string& path() const { return path_; }

  virtual Result<std::unique_ptr<File>> Open(const std::string& name, OpenMode mode) = 0;
  // Fails with kExists if the name exists. `permissions` as in mode_t, e.g. 0644.
  virtual Result<std::unique_ptr<File>> Create(const std::string& name, mode_t permissions) = 0;
  // Replaces `to` if it exists.
  virtual Status Rename(const std::string& from, const std::string& to) = 0;
  // The same, but kExists, and nothing changed, if there is something called `to`. Directories that
  // cannot do both at once look first.
  virtual Status RenameNew(const std::string& from, const std::string& to);
  virtual Status Remove(const std::string& name) = 0;
  virtual Status MakeDirectory(const std::string& name, mode_t permissions) = 0;
  virtual Result<std::unique_ptr<Directory>> OpenDirectory(const std::string& name) = 0;
  // The same, but kInvalidArgument when its last component is a symbolic link, or no directory.
  virtual Result<std::unique_ptr<Directory>> OpenRealDirectory(const std::string& name) = 0;
  // The file that `name` leads to as the kernel walks names, from this directory or absolute, also
  // where this object would refuse to open it: through any link, outside, any kind of file. Opens
  // nothing. kNotFound, kAccess.
  virtual Result<FileId> WhereLeads(const std::string& name) = 0;
  // The same for a name that a stranger chose: the walk does not enter a mount that could make it
  // wait (network, FUSE), unless its device is among `devices` (io/follow_name.h).
  virtual Result<FileId> Follow(const std::string& name, const std::set<dev_t>& /*devices*/) {
    return WhereLeads(name);
  }
  // What Open would find, without opening it. `name` is one component.
  virtual Result<FileStat> StatAt(const std::string& name);
  // The place that `name` leads to as the kernel walks names, relative to this directory or
  // absolute: ".." is the one above what a link has led to. Whatever lies outside `fence` is not
  // opened, nor waited for. kInvalidArgument when the name does not end with a file's, or leads
  // to where this process serves it itself; kNotFound when a directory is missing. Where links are
  // not known, this one counts as inside, and all beneath it.
  virtual Result<NamedLocation> Locate(const std::string& name, const NameFence& fence);
  // In no particular order; "." and ".." left out.
  virtual Result<std::vector<DirectoryEntry>> List() = 0;
  // Of the directory itself.
  virtual Result<FileStat> Stat() = 0;
  // The directory and all above it, up to the root: what stands before its files (permissions as
  // in File::StatAccess). One that cannot be looked at permits nothing.
  virtual std::vector<FileStat> StatWay();
  virtual Status Sync() = 0;

  // Replaces `name` with `contents` so that a crash leaves the old or the new, durably the new on
  // return: a temporary file, DataSync, Rename, Sync. `name` is one component.
  Status WriteFileAtomically(const std::string& name, std::string_view contents);
  // Removes `name` if it is the file `id` itself; kStale, and nothing changes, if it is another one
  // by now, or a link to it.
  virtual Status RemoveFile(const std::string& name, const FileId& id);
  Result<FileId> Id();
  // The whole file as text; kInvalidArgument if longer than `limit` bytes.
  Result<std::string> ReadSmallFile(const std::string& name, size_t limit = 1 << 20);

 private:
  const std::string path_;
};

}  // namespace chainfs
