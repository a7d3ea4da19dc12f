// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/io/posix_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <utility>

#include "blocklayer/io/kernel_copy.h"
#include "blocklayer/io/open_anew.h"
#include "blocklayer/io/posix_acl.h"

namespace chainfs {
namespace {

constexpr uint64_t kMaxOffset = std::numeric_limits<off_t>::max();
// Linux moves at most this much per call.
constexpr uint64_t kMaxCall = 0x7ffff000;

// Calls until it is not interrupted by a signal.
template <typename Call>
auto Retry(Call call) {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

off_t ToOff(uint64_t value) { return static_cast<off_t>(value); }

bool CannotBeDone(int error) {
  return error == EOPNOTSUPP || error == ENOSYS || error == ENOTTY || error == ENODEV;
}

std::unexpected<Error> FailChangedByOthers(const std::string& path) {
  return Fail(ErrorKind::kIo,
              fmt::format("{}: not written, because somebody else has changed the file since it "
                          "was opened; close the disk, so that it is opened anew",
                          path));
}

Status WriteZeros(File& file, HostOffset offset, uint64_t length) {
  static constexpr std::array<std::byte, 64 << 10> kZeros{};
  while (length > 0) {
    const uint64_t part = std::min<uint64_t>(length, kZeros.size());
    CHAINFS_TRY(file.WriteAt(offset, std::span(kZeros).first(part)));
    offset += part;
    length -= part;
  }
  return {};
}

}  // namespace

PosixFile::PosixFile(std::string path, UniqueFd fd, bool writable, bool ours)
    : File(path),
      fd_(std::move(fd)),
      writable_(writable),
      changed_by_us_(ours),
      image_locks_(std::move(path)) {
  // Whoever changes it from now on is noticed. A file that cannot even be looked at is not written.
  if (::fstat(fd_.get(), &opened_as_) != 0) opened_as_.st_size = -1;
}

std::unexpected<Error> PosixFile::FailHere(int saved_errno, std::string_view what) const {
  return FailErrno(saved_errno, fmt::format("{}: cannot {}", path(), what));
}

bool PosixFile::DiffersFromOpening() const {
  struct stat now = {};
  return ::fstat(fd_.get(), &now) != 0 || now.st_size != opened_as_.st_size ||
         now.st_mtim.tv_sec != opened_as_.st_mtim.tv_sec ||
         now.st_mtim.tv_nsec != opened_as_.st_mtim.tv_nsec;
}

bool PosixFile::ChangedByOthers() {
  const MutexLock lock(first_change_mu_);
  return !changed_by_us_.load(std::memory_order_relaxed) && DiffersFromOpening();
}

Status PosixFile::CheckFirstChange() {
  const MutexLock lock(first_change_mu_);
  if (changed_by_us_.load(std::memory_order_relaxed)) return {};
  if (DiffersFromOpening()) return FailChangedByOthers(path());
  changed_by_us_.store(true, std::memory_order_release);
  return {};
}

// A read lease is granted only while nobody has the file open for writing. It is given back at
// once; whoever opens the file for writing in between waits for no longer than that, and the signal
// that would tell of him is one that means nothing.
bool PosixFile::OpenForWritingElsewhere() {
  constexpr int kTries = 3;
  constexpr useconds_t kPause = 2000;
  (void)::fcntl(fd_.get(), F_SETSIG, SIGURG);
  // A writer that is just closing the file is still counted for some microseconds after it was
  // announced to those who watch the directory.
  for (int i = 0; i < kTries; ++i) {
    if (i > 0) ::usleep(kPause);
    if (::fcntl(fd_.get(), F_SETLEASE, F_RDLCK) == 0) {
      (void)::fcntl(fd_.get(), F_SETLEASE, F_UNLCK);
      return false;
    }
    if (errno != EAGAIN) return false;
  }
  return true;
}

// From reading to writing: a second open file description of the same inode takes over the locks of
// the first one, and then its descriptor's number. Whoever uses that number meanwhile has the old
// description or the new one, and reads the same from both.
//
// The order matters: OFD locks go with the last descriptor of their description, and those of two
// descriptions of one process conflict like those of two processes. So the new one has all locks
// before the old one is let go, and the old one's are dropped by hand: a read that is still under
// way would keep them alive, and a later change of the locks would be refused because of them.
Status PosixFile::ReopenForWriting() {
  if (writable()) return {};
  // What is known of its contents would be worth nothing.
  if (ChangedByOthers()) return FailChangedByOthers(path());
  // Keeps the old description within reach, to drop its locks in the end.
  const UniqueFd old(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!old.valid()) return FailHere(errno, "open it for writing");
  const UniqueFd opened = OpenAnew(fd_.get(), true);
  if (!opened.valid()) return FailHere(errno, "open it for writing");
  struct stat before = {};
  struct stat now = {};
  if (::fstat(old.get(), &before) != 0 || ::fstat(opened.get(), &now) != 0) {
    return FailHere(errno, "read its attributes");
  }
  if (before.st_dev != now.st_dev || before.st_ino != now.st_ino) {
    return Fail(ErrorKind::kStale,
                fmt::format("{}: opening it for writing leads to a copy of the file (its file "
                            "system is an overlay); close its disks, so that it is opened anew",
                            path()));
  }
  CHAINFS_TRY(image_locks_.TakeToo(opened.get()));
  int rc;
  do {
    rc = ::dup3(opened.get(), fd_.get(), O_CLOEXEC);
  } while (rc < 0 && (errno == EINTR || errno == EBUSY));
  if (rc < 0) return FailHere(errno, "open it for writing");
  writable_.store(true, std::memory_order_release);
  image_locks_.DropFrom(old.get());
  return {};
}

Status PosixFile::CheckWritable(HostOffset offset, uint64_t length) {
  if (!writable()) {
    return Fail(ErrorKind::kReadOnly, fmt::format("{}: opened for reading only", path()));
  }
  if (offset.value > kMaxOffset || length > kMaxOffset - offset.value) {
    return FailHere(EFBIG, fmt::format("write {} bytes at {}", length, offset.value));
  }
  return changed_by_us_.load(std::memory_order_acquire) ? Status() : CheckFirstChange();
}

Result<size_t> PosixFile::ReadAt(HostOffset offset, std::span<std::byte> out) {
  size_t done = 0;
  while (done < out.size() && offset.value + done < kMaxOffset) {
    const size_t want = std::min<uint64_t>(out.size() - done, kMaxCall);
    const ssize_t got = Retry(
        [&] { return ::pread(fd_.get(), out.data() + done, want, ToOff(offset.value + done)); });
    if (got < 0) {
      return FailHere(errno, fmt::format("read {} bytes at {}", want, offset.value + done));
    }
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

Status PosixFile::WriteAt(HostOffset offset, std::span<const std::byte> data) {
  CHAINFS_TRY(CheckWritable(offset, data.size()));
  size_t done = 0;
  while (done < data.size()) {
    const size_t want = std::min<uint64_t>(data.size() - done, kMaxCall);
    const ssize_t put = Retry(
        [&] { return ::pwrite(fd_.get(), data.data() + done, want, ToOff(offset.value + done)); });
    if (put <= 0) {
      return FailHere(put < 0 ? errno : EIO,
                      fmt::format("write {} bytes at {}", want, offset.value + done));
    }
    done += static_cast<size_t>(put);
  }
  return {};
}

Status PosixFile::Truncate(uint64_t size) {
  CHAINFS_TRY(CheckWritable(HostOffset(size), 0));
  if (Retry([&] { return ::ftruncate(fd_.get(), ToOff(size)); }) != 0) {
    return FailHere(errno, fmt::format("set the size to {} bytes", size));
  }
  return {};
}

Status PosixFile::PunchHole(HostOffset offset, uint64_t length) {
  CHAINFS_TRY(CheckWritable(offset, length));
  if (length == 0) return {};
  const int rc = Retry([&] {
    return ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, ToOff(offset.value),
                       ToOff(length));
  });
  if (rc == 0) return {};
  const int error = errno;
  if (CannotBeDone(error)) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: its file system cannot punch holes", path()));
  }
  return FailHere(error, fmt::format("punch a hole of {} bytes at {}", length, offset.value));
}

Status PosixFile::Allocate(HostOffset offset, uint64_t length) {
  CHAINFS_TRY(CheckWritable(offset, length));
  if (length == 0) return {};
  const int rc =
      Retry([&] { return ::fallocate(fd_.get(), 0, ToOff(offset.value), ToOff(length)); });
  if (rc == 0) return {};
  const int error = errno;
  if (CannotBeDone(error)) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: its file system cannot set space aside", path()));
  }
  return FailHere(error, fmt::format("set {} bytes at {} aside", length, offset.value));
}

Status PosixFile::ZeroRange(HostOffset offset, uint64_t length) {
  CHAINFS_TRY(CheckWritable(offset, length));
  if (length == 0) return {};
  if (!no_zero_range_.load(std::memory_order_relaxed)) {
    const int rc = Retry([&] {
      return ::fallocate(fd_.get(), FALLOC_FL_ZERO_RANGE, ToOff(offset.value), ToOff(length));
    });
    if (rc == 0) return {};
    const int error = errno;
    if (!CannotBeDone(error)) {
      return FailHere(error, fmt::format("zero {} bytes at {}", length, offset.value));
    }
    no_zero_range_.store(true, std::memory_order_relaxed);
  }
  if (Status punched = PunchHole(offset, length); !punched) {
    if (punched.error().kind != ErrorKind::kUnsupported) return punched;
    return WriteZeros(*this, offset, length);
  }
  // The file must end no earlier than the range. The last byte is ours to write; ftruncate could
  // cut off what another thread appends meanwhile.
  const HostOffset end = offset + length;
  CHAINFS_ASSIGN(const uint64_t size, Size());
  if (size >= end.value) return {};
  return WriteZeros(*this, end - 1, 1);
}

Status PosixFile::CopyRangeFrom(File& source, HostOffset source_offset, HostOffset offset,
                                uint64_t length) {
  CHAINFS_TRY(CheckWritable(offset, length));
  const auto cannot = [&] {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: cannot copy from {} within the kernel", path(), source.path()));
  };
  const auto* from = dynamic_cast<PosixFile*>(&source);
  if (from == nullptr || source_offset.value > kMaxOffset - length) return cannot();
  const int error =
      CopyWithinKernel(from->fd_.get(), source_offset.value, fd_.get(), offset.value, length);
  if (error == 0) return {};
  // Where the source ends early, the caller's own copy knows what lies behind its end.
  if (CannotBeDone(error) || error == EXDEV || error == EINVAL || error == EOVERFLOW) {
    return cannot();
  }
  return FailHere(error, fmt::format("copy {} bytes from {}", length, source.path()));
}

FileStat ToFileStat(const struct stat& st) {
  return FileStat{.id = {.device = st.st_dev, .inode = st.st_ino},
                  .size = static_cast<uint64_t>(st.st_size),
                  .allocated_bytes = static_cast<uint64_t>(st.st_blocks) * 512,
                  .modified = st.st_mtim,
                  .owner = st.st_uid,
                  .group = st.st_gid,
                  .permissions = st.st_mode & 07777,
                  .links = st.st_nlink,
                  .changed = st.st_ctim};
}

Result<FileStat> PosixFile::Stat() {
  struct stat st = {};
  if (::fstat(fd_.get(), &st) != 0) return FailHere(errno, "read its attributes");
  return ToFileStat(st);
}

timespec PosixFile::Born() {
  struct statx found = {};
  if (::statx(fd_.get(), "", AT_EMPTY_PATH, STATX_BTIME, &found) != 0) return {};
  if ((found.stx_mask & STATX_BTIME) == 0) return {};
  return {.tv_sec = found.stx_btime.tv_sec, .tv_nsec = found.stx_btime.tv_nsec};
}

Result<FileStat> PosixFile::StatAccess() {
  CHAINFS_ASSIGN(FileStat stat, Stat());
  stat.permissions = NarrowByAcl(fmt::format("/proc/self/fd/{}", fd_.get()), stat.permissions);
  return stat;
}

Status PosixFile::SetPermissions(mode_t permissions) {
  if (::fchmod(fd_.get(), permissions) != 0) {
    return FailHere(errno, fmt::format("give it the mode {:04o}", permissions));
  }
  return {};
}

Status PosixFile::SetOwner(uid_t owner, gid_t group) {
  if (::fchown(fd_.get(), owner, group) != 0) {
    return FailHere(errno, fmt::format("give it to user {} and group {}", owner, group));
  }
  return {};
}

Result<DataRun> PosixFile::RunAt(HostOffset offset) {
  CHAINFS_ASSIGN(const uint64_t size, Size());
  if (offset.value >= size) {
    return DataRun{.is_data = false, .length = UINT64_MAX - offset.value};
  }
  const uint64_t rest = size - offset.value;
  const off_t data = ::lseek(fd_.get(), ToOff(offset.value), SEEK_DATA);
  if (data < 0 && errno == ENXIO) return DataRun{.is_data = false, .length = rest};
  if (data < 0 && errno == EINVAL) return DataRun{.is_data = true, .length = rest};
  if (data < 0) return FailHere(errno, fmt::format("find data from {}", offset.value));
  if (ToOff(offset.value) < data) {
    return DataRun{.is_data = false, .length = static_cast<uint64_t>(data) - offset.value};
  }
  const off_t hole = ::lseek(fd_.get(), ToOff(offset.value), SEEK_HOLE);
  // Another thread may have punched here meanwhile; "data" is true of any range.
  if (hole < 0 || hole <= ToOff(offset.value)) return DataRun{.is_data = true, .length = rest};
  return DataRun{.is_data = true, .length = static_cast<uint64_t>(hole) - offset.value};
}

Status PosixFile::DoDataSync() {
  if (Retry([&] { return ::fdatasync(fd_.get()); }) != 0) {
    return FailHere(errno, "make what was written durable");
  }
  return {};
}

bool PosixFile::LockedByOthers() { return PosixImageLocks::HeldByOthers(fd_.get()); }

ImageHolder PosixFile::HeldElsewhere() { return PosixImageLocks::HolderElsewhere(fd_.get()); }

Status PosixFile::SetImageLocks(ImageLockSet locks) { return image_locks_.Set(fd_.get(), locks); }

}  // namespace chainfs
