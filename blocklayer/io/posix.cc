// SPDX-License-Identifier: Apache-2.0
//
// Directories of the host. One descriptor is kept for the life of the object, and every name is
// resolved from it by openat2, so nothing that happens to the names above it matters, and no name
// leads outside it: not by "..", not by a symbolic link, not through /proc magic links, and not
// onto another mount (which also keeps a chainfs mount from serving itself).
//
// A file is opened in two steps: O_PATH (which has no effect on what it names), then, once fstat
// has shown a regular file, again through /proc/self/fd, which reaches the same inode whatever
// became of the name. So a FIFO never blocks, and a device is never touched.
#include "blocklayer/io/posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "blocklayer/base/unique_fd.h"
#include "blocklayer/io/device_stack.h"
#include "blocklayer/io/follow_name.h"
#include "blocklayer/io/open_anew.h"
#include "blocklayer/io/posix_acl.h"
#include "blocklayer/io/posix_enclosing.h"
#include "blocklayer/io/posix_file.h"

namespace chainfs {
namespace {

std::string Join(const std::string& directory, const std::string& name) {
  return directory.ends_with('/') ? directory + name : fmt::format("{}/{}", directory, name);
}

// The descriptor, or -1 with errno. EAGAIN means that the tree changed under a ".."; ask again.
int OpenBeneath(int directory, const char* name, int flags, mode_t mode = 0) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  int fd = -1;
  for (int attempt = 0; attempt < 64; ++attempt) {
    fd = static_cast<int>(::syscall(SYS_openat2, directory, name, &how, sizeof how));
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
  }
  return fd;
}

class PosixDirectory : public Directory {
 public:
  PosixDirectory(std::string path, UniqueFd fd) : Directory(std::move(path)), fd_(std::move(fd)) {}

  Result<std::unique_ptr<File>> Open(const std::string& name, OpenMode mode) override;
  Result<std::unique_ptr<File>> Create(const std::string& name, mode_t permissions) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status RenameNew(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& name) override;
  Status RemoveFile(const std::string& name, const FileId& id) override;
  Status MakeDirectory(const std::string& name, mode_t permissions) override;
  Result<std::unique_ptr<Directory>> OpenDirectory(const std::string& name) override {
    return OpenDirectoryWith(name, 0);
  }
  Result<std::unique_ptr<Directory>> OpenRealDirectory(const std::string& name) override {
    return OpenDirectoryWith(name, O_NOFOLLOW);
  }
  Result<FileId> WhereLeads(const std::string& name) override;
  Result<FileId> Follow(const std::string& name, const std::set<dev_t>& devices) override {
    return FollowName(fd_.get(), name, devices);
  }
  Result<FileStat> StatAt(const std::string& name) override;
  Result<NamedLocation> Locate(const std::string& name, const NameFence& fence) override;
  Result<std::vector<DirectoryEntry>> List() override;
  Result<FileStat> Stat() override;
  std::vector<FileStat> StatWay() override;
  Status Sync() override;

 private:
  // A name to change: the directory that holds it, and its last component.
  struct Place {
    UniqueFd directory;
    std::string leaf;
  };

  std::unexpected<Error> FailAt(int saved_errno, const std::string& name,
                                std::string_view what) const;
  Status CheckName(const std::string& name) const;
  Result<Place> FindPlace(const std::string& name) const;
  // By O_PATH. kAccess where the walk may not go on.
  Result<UniqueFd> WalkTo(const std::string& holder, const NameFence& fence) const;
  Result<std::unique_ptr<Directory>> OpenDirectoryWith(const std::string& name, int flags) const;
  Result<DirectoryEntry> Describe(const dirent& entry) const;

  const UniqueFd fd_;
};

std::unexpected<Error> PosixDirectory::FailAt(int saved_errno, const std::string& name,
                                              std::string_view what) const {
  const std::string full = Join(path(), name);
  if (saved_errno == EXDEV) {
    return std::unexpected(Error{
        .kind = ErrorKind::kAccess,
        .sys_errno = saved_errno,
        .message = fmt::format("{}: cannot {}: the name leads outside {} or onto another mount",
                               full, what, path())});
  }
  if (saved_errno == ELOOP) {
    return std::unexpected(Error{
        .kind = ErrorKind::kAccess,
        .sys_errno = saved_errno,
        .message = fmt::format(
            "{}: cannot {}: the name has too many symbolic links or one of /proc's", full, what)});
  }
  return FailErrno(saved_errno, fmt::format("{}: cannot {}", full, what));
}

Status PosixDirectory::CheckName(const std::string& name) const {
  if (name.empty() || name.find('\0') != std::string::npos) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: a file name in it is empty or contains a NUL byte", path()));
  }
  if (name.starts_with('/')) {
    return Fail(ErrorKind::kAccess,
                fmt::format("{}: the name is absolute; it must lie beneath {}", name, path()));
  }
  return {};
}

Result<PosixDirectory::Place> PosixDirectory::FindPlace(const std::string& name) const {
  CHAINFS_TRY(CheckName(name));
  const size_t slash = name.rfind('/');
  Place place;
  place.leaf = slash == std::string::npos ? name : name.substr(slash + 1);
  if (place.leaf.empty() || place.leaf == "." || place.leaf == "..") {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: not the name of a file", Join(path(), name)));
  }
  const std::string holder = slash == std::string::npos ? "." : name.substr(0, slash);
  place.directory = UniqueFd(OpenBeneath(fd_.get(), holder.c_str(), O_PATH | O_DIRECTORY));
  if (!place.directory.valid()) return FailAt(errno, holder, "open the directory");
  return place;
}

Result<std::unique_ptr<File>> PosixDirectory::Open(const std::string& name, OpenMode mode) {
  CHAINFS_TRY(CheckName(name));
  const UniqueFd found(OpenBeneath(fd_.get(), name.c_str(), O_PATH));
  if (!found.valid()) return FailAt(errno, name, "open");
  struct stat st = {};
  if (::fstat(found.get(), &st) != 0) return FailAt(errno, name, "read its attributes");
  if (!S_ISREG(st.st_mode)) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: not a regular file", Join(path(), name)));
  }
  const bool writable = mode == OpenMode::kReadWrite;
  UniqueFd fd = OpenAnew(found.get(), writable);
  if (!fd.valid()) {
    return FailAt(errno, name, writable ? "open for reading and writing" : "open for reading");
  }
  return std::make_unique<PosixFile>(Join(path(), name), std::move(fd), writable);
}

Result<std::unique_ptr<File>> PosixDirectory::Create(const std::string& name, mode_t permissions) {
  CHAINFS_TRY(CheckName(name));
  UniqueFd fd(OpenBeneath(fd_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL, permissions & 07777));
  if (!fd.valid()) return FailAt(errno, name, "create");
  return std::make_unique<PosixFile>(Join(path(), name), std::move(fd), true, true);
}

Status PosixDirectory::Rename(const std::string& from, const std::string& to) {
  CHAINFS_ASSIGN(const Place source, FindPlace(from));
  CHAINFS_ASSIGN(const Place target, FindPlace(to));
  if (::renameat(source.directory.get(), source.leaf.c_str(), target.directory.get(),
                 target.leaf.c_str()) != 0) {
    return FailAt(errno, from, fmt::format("rename to {}", to));
  }
  return {};
}

Status PosixDirectory::RenameNew(const std::string& from, const std::string& to) {
  CHAINFS_ASSIGN(const Place source, FindPlace(from));
  CHAINFS_ASSIGN(const Place target, FindPlace(to));
  const auto refuse = [&] { return FailAt(errno, from, fmt::format("rename to {}", to)); };
  if (::renameat2(source.directory.get(), source.leaf.c_str(), target.directory.get(),
                  target.leaf.c_str(), RENAME_NOREPLACE) == 0) {
    return {};
  }
  // Not every file system knows the flag (NFS); a second name is as careful.
  if (errno != EINVAL) return refuse();
  if (::linkat(source.directory.get(), source.leaf.c_str(), target.directory.get(),
               target.leaf.c_str(), 0) != 0 ||
      ::unlinkat(source.directory.get(), source.leaf.c_str(), 0) != 0) {
    return refuse();
  }
  return {};
}

Status PosixDirectory::Remove(const std::string& name) {
  CHAINFS_ASSIGN(const Place place, FindPlace(name));
  if (::unlinkat(place.directory.get(), place.leaf.c_str(), 0) != 0) {
    return FailAt(errno, name, "remove");
  }
  return {};
}

// Nothing lies between the look and the removal but these two calls.
Status PosixDirectory::RemoveFile(const std::string& name, const FileId& id) {
  CHAINFS_ASSIGN(const Place place, FindPlace(name));
  struct stat st = {};
  if (::fstatat(place.directory.get(), place.leaf.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return FailAt(errno, name, "remove");
  }
  if (st.st_dev != id.device || st.st_ino != id.inode || !S_ISREG(st.st_mode)) {
    return Fail(
        ErrorKind::kStale,
        fmt::format("{}: it is another file by now, so it is not removed", Join(path(), name)));
  }
  if (::unlinkat(place.directory.get(), place.leaf.c_str(), 0) != 0) {
    return FailAt(errno, name, "remove");
  }
  return {};
}

Status PosixDirectory::MakeDirectory(const std::string& name, mode_t permissions) {
  CHAINFS_ASSIGN(const Place place, FindPlace(name));
  if (::mkdirat(place.directory.get(), place.leaf.c_str(), permissions) != 0) {
    return FailAt(errno, name, "make the directory");
  }
  return {};
}

Result<std::unique_ptr<Directory>> PosixDirectory::OpenDirectoryWith(const std::string& name,
                                                                     int flags) const {
  CHAINFS_TRY(CheckName(name));
  UniqueFd fd(OpenBeneath(fd_.get(), name.c_str(), O_RDONLY | O_DIRECTORY | flags));
  if (!fd.valid() && errno == ENOTDIR && (flags & O_NOFOLLOW) != 0) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: must be a directory, not a link and not another file",
                            Join(path(), name)));
  }
  if (!fd.valid()) return FailAt(errno, name, "open the directory");
  std::string full = name == "." ? path() : Join(path(), name);
  while (full.size() > 1 && full.ends_with('/')) full.pop_back();
  return std::make_unique<PosixDirectory>(std::move(full), std::move(fd));
}

// The host had no room for one more open file; it says nothing about the file.
bool IsOutOfResources(int error) { return error == EMFILE || error == ENFILE || error == ENOMEM; }

Result<DirectoryEntry> PosixDirectory::Describe(const dirent& entry) const {
  DirectoryEntry described{.name = entry.d_name};
  described.is_file = entry.d_type == DT_REG;
  described.is_directory = entry.d_type == DT_DIR;
  if (entry.d_type != DT_LNK && entry.d_type != DT_UNKNOWN) return described;
  struct stat link = {};
  if (::fstatat(fd_.get(), entry.d_name, &link, AT_SYMLINK_NOFOLLOW) != 0) return described;
  described.is_directory = S_ISDIR(link.st_mode);
  // What a link leads to; one that leads outside or nowhere is neither file nor directory.
  const UniqueFd found(OpenBeneath(fd_.get(), entry.d_name, O_PATH));
  if (!found.valid() && IsOutOfResources(errno)) return FailAt(errno, entry.d_name, "follow");
  struct stat st = {};
  described.is_file = found.valid() && ::fstat(found.get(), &st) == 0 && S_ISREG(st.st_mode);
  return described;
}

Result<std::vector<DirectoryEntry>> PosixDirectory::List() {
  // A descriptor of its own: the position in a directory belongs to the open file.
  UniqueFd fd(OpenBeneath(fd_.get(), ".", O_RDONLY | O_DIRECTORY));
  if (!fd.valid()) return FailErrno(errno, fmt::format("{}: cannot list", path()));
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), &::closedir);
  if (stream == nullptr) return FailErrno(errno, fmt::format("{}: cannot list", path()));
  fd.Release();  // closedir closes it
  std::vector<DirectoryEntry> entries;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr && errno != 0) {
      return FailErrno(errno, fmt::format("{}: cannot list", path()));
    }
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    CHAINFS_ASSIGN(DirectoryEntry described, Describe(*entry));
    entries.push_back(std::move(described));
  }
  return entries;
}

Result<FileStat> PosixDirectory::Stat() {
  struct stat st = {};
  if (::fstat(fd_.get(), &st) != 0) {
    return FailErrno(errno, fmt::format("{}: cannot read its attributes", path()));
  }
  return ToFileStat(st);
}

std::vector<FileStat> PosixDirectory::StatWay() {
  std::vector<FileStat> way;
  UniqueFd here(::openat(fd_.get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (;;) {
    struct stat st = {};
    if (!here.valid() || ::fstat(here.get(), &st) != 0) {
      way.push_back(FileStat{});
      return way;
    }
    FileStat stat = ToFileStat(st);
    if (!way.empty() && way.back().id == stat.id) return way;
    stat.permissions = NarrowByAcl(fmt::format("/proc/self/fd/{}", here.get()), stat.permissions);
    way.push_back(stat);
    here = UniqueFd(::openat(here.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
}

Result<FileId> PosixDirectory::WhereLeads(const std::string& name) {
  struct stat st = {};
  if (::fstatat(fd_.get(), name.c_str(), &st, 0) != 0) {
    return FailAt(errno, name, "follow the name");
  }
  return FileId{.device = st.st_dev, .inode = st.st_ino};
}

Result<FileStat> PosixDirectory::StatAt(const std::string& name) {
  CHAINFS_TRY(CheckName(name));
  struct stat st = {};
  if (::fstatat(fd_.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return FailAt(errno, name, "read its attributes");
  }
  if (S_ISLNK(st.st_mode)) {
    const UniqueFd found(OpenBeneath(fd_.get(), name.c_str(), O_PATH));
    if (!found.valid()) return FailAt(errno, name, "open");
    if (::fstat(found.get(), &st) != 0) return FailAt(errno, name, "read its attributes");
  }
  if (!S_ISREG(st.st_mode)) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: not a regular file", Join(path(), name)));
  }
  return ToFileStat(st);
}

Result<UniqueFd> PosixDirectory::WalkTo(const std::string& holder, const NameFence& fence) const {
  if (!holder.empty()) {
    return fence.open ? WalkToDirectory(fd_.get(), holder, fence.served)
                      : FollowToDirectory(fd_.get(), holder, fence.devices);
  }
  UniqueFd fd(::openat(fd_.get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return FailAt(errno, holder, "follow the name");
  return fd;
}

Result<NamedLocation> PosixDirectory::Locate(const std::string& name, const NameFence& fence) {
  const size_t slash = name.rfind('/');
  NamedLocation place;
  place.leaf = slash == std::string::npos ? name : name.substr(slash + 1);
  if (place.leaf.empty() || place.leaf == "." || place.leaf == ".." ||
      name.find('\0') != std::string::npos) {
    return Fail(ErrorKind::kInvalidArgument, fmt::format("{}: not the name of a file", name));
  }
  const std::string holder = slash == std::string::npos ? "" : name.substr(0, slash + 1);
  Result<UniqueFd> walked = WalkTo(holder, fence);
  const std::string whole = name.starts_with('/') ? name : Join(path(), name);
  if (!walked && walked.error().kind == ErrorKind::kNotFound) {
    return Fail(ErrorKind::kNotFound, fmt::format("{}: its directory does not exist", whole));
  }
  // An open fence is not for headers, so there is no need to be quick.
  if (walked && fence.open && fence.served != 0 && StandsOnDevice(walked->get(), fence.served)) {
    return Fail(ErrorKind::kInvalidArgument, fmt::format("{}: {}", whole, kServedItself));
  }
  const bool barred =
      !walked && walked.error().kind == ErrorKind::kAccess && walked.error().sys_errno == 0;
  if (!walked && !barred) return std::unexpected(std::move(walked).error());
  if (!walked) {
    // By a mount that is not entered.
    place.path = whole;
    return place;
  }
  const EnclosingDirectory enclosing = FindEnclosing(walked->get(), fence);
  std::string full = RealPath(walked->get());
  if (enclosing.inside != nullptr) {
    // As people know it, where the host's path shows how it lies in there.
    const std::string outer = RealPath(enclosing.fd.get());
    if (full == outer) {
      full = enclosing.inside->path;
    } else if (const std::string prefix = Join(outer, ""); full.starts_with(prefix)) {
      full = Join(enclosing.inside->path, full.substr(prefix.size()));
    }
  }
  place.path = Join(full, place.leaf);
  if (enclosing.inside == nullptr && !fence.open) {
    place.missing = IsMissing(walked->get(), place.leaf);
    return place;
  }
  // The directory that was judged, whatever has become of its name.
  UniqueFd fd(OpenBeneath(walked->get(), ".", O_RDONLY | O_DIRECTORY));
  if (!fd.valid()) return FailErrno(errno, fmt::format("{}: cannot open the directory", full));
  place.directory = std::make_unique<PosixDirectory>(std::move(full), std::move(fd));
  return place;
}

Status PosixDirectory::Sync() {
  if (::fsync(fd_.get()) != 0) {
    return FailErrno(errno, fmt::format("{}: cannot make its names durable", path()));
  }
  return {};
}

// Absolute, as the caller spells it (image headers spell it the same way), unless ".." occurs,
// which means something else beyond a symbolic link.
Result<std::string> AbsolutePath(const std::string& path) {
  std::error_code error;
  const std::filesystem::path spelled = std::filesystem::absolute(path, error);
  if (error) return FailErrno(error.value(), fmt::format("{}: cannot open the directory", path));
  bool climbs = false;
  for (const std::filesystem::path& part : spelled) climbs = climbs || part == "..";
  std::string result = climbs ? std::filesystem::canonical(spelled, error).string()
                              : spelled.lexically_normal().string();
  if (error) return FailErrno(error.value(), fmt::format("{}: cannot open the directory", path));
  while (result.size() > 1 && result.ends_with('/')) result.pop_back();
  return result;
}

}  // namespace

Result<std::unique_ptr<Directory>> OpenPosixDirectory(const std::string& path, dev_t served) {
  if (path.empty() || path.find('\0') != std::string::npos) {
    return Fail(ErrorKind::kInvalidArgument, "a directory name is empty or contains a NUL byte");
  }
  CHAINFS_ASSIGN(std::string absolute, AbsolutePath(path));
  UniqueFd fd;
  if (served == 0) {
    fd = UniqueFd(::open(absolute.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  } else {
    CHAINFS_ASSIGN(const UniqueFd walked, WalkToDirectory(AT_FDCWD, absolute, served));
    fd = UniqueFd(OpenBeneath(walked.get(), ".", O_RDONLY | O_DIRECTORY));
  }
  if (!fd.valid()) {
    const int error = errno;
    if (error == ENOTDIR) {
      return Fail(ErrorKind::kInvalidArgument, fmt::format("{}: not a directory", absolute));
    }
    return FailErrno(error, fmt::format("{}: cannot open the directory", absolute));
  }
  return std::make_unique<PosixDirectory>(std::move(absolute), std::move(fd));
}

}  // namespace chainfs
