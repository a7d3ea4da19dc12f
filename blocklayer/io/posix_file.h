// SPDX-License-Identifier: Apache-2.0
//
// PosixFile: a regular file of the host behind one descriptor, whose number stays for the life of
// the object. So does the open file description behind it, to which write errors and OFD locks
// belong, but for one change: from reading to writing (ReopenForWriting).
//
// Not here: asynchronous I/O, O_DIRECT.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <string>

#include "blocklayer/base/sync.h"
#include "blocklayer/base/unique_fd.h"
#include "blocklayer/io/file.h"
#include "blocklayer/io/posix_image_locks.h"

namespace chainfs {

// What fstat says.
FileStat ToFileStat(const struct stat& st);

class PosixFile : public File {
 public:
  // `fd` is open on a regular file, blocking, with access as `writable` says. `ours`: it was just
  // made by this process, so that what changes it next need not be watched for.
  PosixFile(std::string path, UniqueFd fd, bool writable, bool ours = false);

  bool writable() const override { return writable_.load(std::memory_order_acquire); }
  Status ReopenForWriting() override EXCLUDES(first_change_mu_);
  Result<size_t> ReadAt(HostOffset offset, std::span<std::byte> out) override;
  Status WriteAt(HostOffset offset, std::span<const std::byte> data) override;
  Status Truncate(uint64_t size) override;
  Status PunchHole(HostOffset offset, uint64_t length) override;
  Status ZeroRange(HostOffset offset, uint64_t length) override;
  Status Allocate(HostOffset offset, uint64_t length) override;
  Status CopyRangeFrom(File& source, HostOffset source_offset, HostOffset offset,
                       uint64_t length) override;
  Result<FileStat> Stat() override;
  Result<FileStat> StatAccess() override;
  timespec Born() override;
  bool ChangedByOthers() override EXCLUDES(first_change_mu_);
  bool OpenForWritingElsewhere() override;
  bool LockedByOthers() override;
  ImageHolder HeldElsewhere() override;
  Status SetOwner(uid_t owner, gid_t group) override;
  Status SetPermissions(mode_t permissions) override;
  Result<DataRun> RunAt(HostOffset offset) override;
  Status SetImageLocks(ImageLockSet locks) override;
  void AnnounceEndOfLocks() override { image_locks_.AnnounceEnd(fd_.get()); }

 protected:
  Status DoDataSync() override;

 private:
  std::unexpected<Error> FailHere(int saved_errno, std::string_view what) const;
  // kReadOnly, EFBIG where the range does not fit into off_t, or kIo when somebody else changed the
  // file between its opening and this, the first change of ours.
  Status CheckWritable(HostOffset offset, uint64_t length) EXCLUDES(first_change_mu_);
  Status CheckFirstChange() EXCLUDES(first_change_mu_);
  bool DiffersFromOpening() const;

  const UniqueFd fd_;
  std::atomic<bool> writable_;
  // Whether the host has been seen to refuse FALLOC_FL_ZERO_RANGE; saves asking every time.
  std::atomic<bool> no_zero_range_ = false;
  struct stat opened_as_ = {};  // constant
  Mutex first_change_mu_;       // held across one fstat
  std::atomic<bool> changed_by_us_;
  PosixImageLocks image_locks_;
};

}  // namespace chainfs
