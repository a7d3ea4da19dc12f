// SPDX-License-Identifier: Apache-2.0
//
// Nearly every name stays on the mount where it begins, and one openat2 says so. What does not is
// walked step by step, each step an O_PATH look at one component that may not cross a mount. Where
// it would, the list of mounts says what is there, before it is entered: even to look at the root
// of a network file system can mean to wait for its server.
#include "blocklayer/io/follow_name.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <string_view>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/base/unique_fd.h"

namespace chainfs {
namespace {

constexpr int kMaxLinks = 40;  // the kernel's own limit
constexpr size_t kMaxName = 4096;

// What lies on a device of this machine and answers by itself.
constexpr std::array<std::string_view, 24> kLocal = {
    "ext2",  "ext3",     "ext4",  "xfs",     "btrfs",  "zfs",      "bcachefs", "f2fs",
    "jfs",   "reiserfs", "tmpfs", "ramfs",   "rootfs", "overlay",  "vfat",     "msdos",
    "exfat", "ntfs3",    "udf",   "iso9660", "erofs",  "squashfs", "nilfs2",   "devtmpfs"};

// The mounts that this process sees. One for the process; read again when the kernel says so.
class MountList {
 public:
  // Whether the mount that holds `path` (absolute) may be entered.
  bool MayEnter(std::string_view path, const std::set<dev_t>& devices) EXCLUDES(mu_);

 private:
  struct Mount {
    std::string point;
    dev_t device = 0;
    bool is_local = false;
  };
  void Update() REQUIRES(mu_);
  static Mount Parse(std::string_view line);

  Mutex mu_;
  UniqueFd file_ GUARDED_BY(mu_);
  std::vector<Mount> mounts_ GUARDED_BY(mu_);
};

std::string_view Word(std::string_view& line) {
  const size_t end = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

// A space is written \040.
std::string Unescaped(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned code = 0;
    const bool escape = text[i] == '\\' && i + 3 < text.size() &&
                        std::from_chars(&text[i + 1], &text[i] + 4, code, 8).ptr == &text[i] + 4;
    plain += escape ? static_cast<char>(code) : text[i];
    if (escape) i += 3;
  }
  return plain;
}

// "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
MountList::Mount MountList::Parse(std::string_view line) {
  Mount mount;
  Word(line);
  Word(line);
  const std::string_view device = Word(line);
  unsigned major = 0;
  unsigned minor = 0;
  const std::string_view first = device.substr(0, device.find(':'));
  const std::string_view second = device.substr(std::min(first.size() + 1, device.size()));
  std::from_chars(first.data(), first.data() + first.size(), major);
  std::from_chars(second.data(), second.data() + second.size(), minor);
  mount.device = ::makedev(major, minor);
  Word(line);
  mount.point = Unescaped(Word(line));
  const size_t separator = line.find("- ");
  if (separator == std::string_view::npos) return mount;
  line.remove_prefix(separator + 2);
  mount.is_local = std::ranges::find(kLocal, Word(line)) != kLocal.end();
  return mount;
}

void MountList::Update() {
  if (!file_.valid()) {
    file_ = UniqueFd(::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  } else {
    pollfd changed = {.fd = file_.get(), .events = POLLPRI, .revents = 0};
    if (::poll(&changed, 1, 0) == 0) return;
    if (::lseek(file_.get(), 0, SEEK_SET) != 0) file_ = UniqueFd();
  }
  std::string text;
  std::array<char, 16384> part = {};
  for (;;) {
    const ssize_t bytes = ::read(file_.get(), part.data(), part.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) break;
    text.append(part.data(), static_cast<size_t>(bytes));
  }
  mounts_.clear();
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    mounts_.push_back(Parse(std::string_view(text).substr(begin, end - begin)));
    begin = end + 1;
  }
}

bool MountList::MayEnter(std::string_view path, const std::set<dev_t>& devices) {
  const MutexLock lock(mu_);
  Update();
  const Mount* best = nullptr;
  for (const Mount& mount : mounts_) {
    const std::string_view point = mount.point;
    const bool holds = point == "/" || (path.starts_with(point) &&
                                        (path.size() == point.size() || path[point.size()] == '/'));
    // Of several at one place the last one is on top.
    if (holds && (best == nullptr || point.size() >= best->point.size())) best = &mount;
  }
  return best != nullptr && (best->is_local || devices.contains(best->device));
}

MountList& Mounts() {
  static MountList list;
  return list;
}

UniqueFd OpenPath(int directory, const char* name, uint64_t flags, uint64_t resolve) {
  open_how how = {};
  how.flags = flags | O_PATH | O_CLOEXEC;
  how.resolve = resolve;
  for (int attempt = 0;; ++attempt) {
    const auto fd = static_cast<int>(::syscall(SYS_openat2, directory, name, &how, sizeof how));
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR) || attempt == 64) return UniqueFd(fd);
  }
}

std::unexpected<Error> FailWith(int error, const std::string& name) {
  return FailErrno(error, fmt::format("{}: cannot follow the name", name));
}

// Of what is open, as the kernel remembers it: asks no server.
Result<FileId> KnownId(int fd, mode_t& mode) {
  struct statx known = {};
  if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &known) != 0) {
    return FailErrno(errno, "cannot look at what a name leads to");
  }
  mode = known.stx_mode;
  return FileId{.device = ::makedev(known.stx_dev_major, known.stx_dev_minor),
                .inode = known.stx_ino};
}

class Walk {
 public:
  Walk(const std::string& name, const std::set<dev_t>& devices) : name_(name), devices_(&devices) {}
  // Anywhere but there.
  Walk(const std::string& name, dev_t served) : name_(name), served_(served) {}

  Result<FileId> From(int directory);
  // The last directory that was reached.
  UniqueFd TakeDirectory() { return std::move(at_); }

 private:
  Result<FileId> Step(const std::string& part, bool last);
  Result<UniqueFd> Open(const std::string& part) const;
  // Opens what is mounted at the component, if it may be entered.
  Result<UniqueFd> Cross(const std::string& part) const;
  Status ToRoot();
  Status FollowLink(int link);

  const std::string& name_;
  const std::set<dev_t>* const devices_ = nullptr;  // null: anywhere
  const dev_t served_ = 0;
  UniqueFd at_;
  std::string rest_;
  int links_ = 0;
};

Result<UniqueFd> Walk::Cross(const std::string& part) const {
  std::array<char, 2 * kMaxName> text = {};
  const std::string self = fmt::format("/proc/self/fd/{}", at_.get());
  const ssize_t bytes = ::readlink(self.c_str(), text.data(), text.size());
  if (bytes <= 0) return FailWith(errno, name_);
  std::string path(text.data(), static_cast<size_t>(bytes));
  if (part == "..") {
    path.resize(std::max<size_t>(path.rfind('/'), 1));
  } else {
    path = fmt::format("{}/{}", path == "/" ? "" : path, part);
  }
  if (!Mounts().MayEnter(path, *devices_)) {
    return Fail(ErrorKind::kAccess,
                fmt::format("{}: leads onto a mount that is not looked into", name_));
  }
  return OpenPath(at_.get(), part.c_str(), O_NOFOLLOW, RESOLVE_NO_MAGICLINKS);
}

Status Walk::ToRoot() {
  if (devices_ != nullptr && !Mounts().MayEnter("/", *devices_)) {
    return Fail(ErrorKind::kAccess, fmt::format("{}: the root is not looked into", name_));
  }
  at_ = UniqueFd(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!at_.valid()) return FailWith(errno, name_);
  return {};
}

Status Walk::FollowLink(int link) {
  if (++links_ > kMaxLinks) return FailWith(ELOOP, name_);
  std::string target(kMaxName, '\0');
  const ssize_t bytes = ::readlinkat(link, "", target.data(), target.size());
  if (bytes <= 0) return FailWith(bytes == 0 ? ENOENT : errno, name_);
  target.resize(static_cast<size_t>(bytes));
  rest_ = target + rest_;
  if (rest_.size() > 2 * kMaxName) return FailWith(ENAMETOOLONG, name_);
  if (rest_.starts_with('/')) return ToRoot();
  return {};
}

Result<UniqueFd> Walk::Open(const std::string& part) const {
  constexpr uint64_t kStay = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS;
  if (devices_ != nullptr) {
    UniqueFd fd = OpenPath(at_.get(), part.c_str(), O_NOFOLLOW, kStay);
    if (!fd.valid() && errno == EXDEV) return Cross(part);
    return fd;
  }
  // As a directory first, which has the kernel mount what is to be mounted there.
  UniqueFd fd = OpenPath(at_.get(), part.c_str(), O_NOFOLLOW | O_DIRECTORY, 0);
  if (fd.valid() || errno != ENOTDIR) return fd;
  fd = OpenPath(at_.get(), part.c_str(), 0, RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
  // A link of /proc's leads to what its text does not name.
  const bool magic = !fd.valid() && errno == ELOOP;
  return OpenPath(at_.get(), part.c_str(), magic ? O_DIRECTORY : O_NOFOLLOW, 0);
}

Result<FileId> Walk::Step(const std::string& part, bool last) {
  CHAINFS_ASSIGN(UniqueFd fd, Open(part));
  if (!fd.valid()) return FailWith(errno, name_);
  mode_t mode = 0;
  CHAINFS_ASSIGN(const FileId id, KnownId(fd.get(), mode));
  if (served_ != 0 && id.device == served_) {
    const std::string_view name(name_.data(), name_.find_last_not_of('/') + 1);
    return Fail(ErrorKind::kInvalidArgument, fmt::format("{}: {}", name, kServedItself));
  }
  if (S_ISLNK(mode)) {
    CHAINFS_TRY(FollowLink(fd.get()));
  } else if (S_ISDIR(mode)) {
    at_ = std::move(fd);
  } else if (!last) {
    return FailWith(ENOTDIR, name_);
  }
  return id;
}

Result<FileId> Walk::From(int directory) {
  at_ = UniqueFd(::openat(directory, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!at_.valid()) return FailWith(errno, name_);
  rest_ = name_;
  if (rest_.starts_with('/')) CHAINFS_TRY(ToRoot());
  FileId id;
  for (;;) {
    const size_t begin = rest_.find_first_not_of('/');
    if (begin == std::string::npos) return id;
    const size_t end = std::min(rest_.find('/', begin), rest_.size());
    const std::string part = rest_.substr(begin, end - begin);
    const bool last = end == rest_.size();
    rest_.erase(0, end);
    CHAINFS_ASSIGN(id, Step(part, last));
  }
}

}  // namespace

Result<FileId> FollowName(int from, const std::string& name, const std::set<dev_t>& devices) {
  if (name.empty() || name.size() >= kMaxName || name.find('\0') != std::string::npos) {
    return Fail(ErrorKind::kInvalidArgument, "not a name");
  }
  if (!name.starts_with('/')) {
    const UniqueFd found = OpenPath(from, name.c_str(), 0, RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS);
    struct stat st = {};
    if (found.valid() && ::fstat(found.get(), &st) == 0) {
      return FileId{.device = st.st_dev, .inode = st.st_ino};
    }
    if (errno != EXDEV && errno != ELOOP) return FailWith(errno, name);
  }
  return Walk(name, devices).From(from);
}

Result<UniqueFd> FollowToDirectory(int from, const std::string& name,
                                   const std::set<dev_t>& devices) {
  // Behind a slash nothing but a directory can be.
  const std::string whole = name + "/";
  if (whole.size() >= kMaxName || whole.find('\0') != std::string::npos) {
    return Fail(ErrorKind::kInvalidArgument, "not a name");
  }
  if (!name.starts_with('/')) {
    constexpr uint64_t kStay = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS;
    UniqueFd found = OpenPath(from, whole.c_str(), O_DIRECTORY, kStay);
    if (found.valid()) return found;
    if (errno != EXDEV && errno != ELOOP) return FailWith(errno, name);
  }
  Walk walk(whole, devices);
  CHAINFS_TRY(walk.From(from));
  return walk.TakeDirectory();
}

Result<UniqueFd> WalkToDirectory(int from, const std::string& name, dev_t served) {
  const std::string whole = name + "/";
  if (whole.size() >= kMaxName || whole.find('\0') != std::string::npos) {
    return Fail(ErrorKind::kInvalidArgument, "not a name");
  }
  Walk walk(whole, served);
  CHAINFS_TRY(walk.From(from));
  return walk.TakeDirectory();
}

}  // namespace chainfs
