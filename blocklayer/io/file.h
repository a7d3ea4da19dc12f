// SPDX-License-Identifier: Apache-2.0
//
// File: the one seam between chainfs and the host's files. All image I/O goes through it, so that
// tests can record it, crash it and make it fail (tests/support/).
//
// Threads: every method may be called from any thread at once, except SetImageLocks and
// ReopenForWriting, which its owner serializes. Offsets and lengths are bytes. No method returns
// short except where it says so; EINTR never escapes.
//
// Durability: WriteAt, Truncate, PunchHole, ZeroRange and CopyRangeFrom reach the host's page
// cache; only DataSync makes them durable. A failed DataSync poisons the file for good (the kernel
// may have dropped the dirty pages and will not say so twice): every later DataSync fails with kIo,
// and poisoned() tells writers of metadata to stop.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "blocklayer/base/result.h"
#include "blocklayer/base/types.h"
#include "blocklayer/io/byte_source.h"
#include "blocklayer/io/image_lock.h"

namespace chainfs {

// What identifies a file on this host, whatever its name.
struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  auto operator<=>(const FileId&) const = default;
};

struct FileStat {
  FileId id;
  uint64_t size = 0;
  uint64_t allocated_bytes = 0;  // st_blocks * 512
  timespec modified = {};
  uid_t owner = 0;
  gid_t group = 0;
  mode_t permissions = 0;  // the low 12 bits of st_mode
  uint64_t links = 1;      // names that lead to it
  timespec changed = {};   // also by a change of name, owner or mode
};

// One run of a file as the host sees it.
struct DataRun {
  bool is_data = false;  // false: a hole, reads as zeros
  uint64_t length = 0;   // bytes, > 0
};

class File : public ByteSource {
 public:
  using ByteSource::ByteSource;

  File* host_file() override { return this; }
  // Opened for writing.
  virtual bool writable() const = 0;
  // From now on the same file is open for reading and writing. Image locks stay held throughout,
  // reads under way go on. Nothing has changed when it fails: kReadOnly, kPermission or sys_errno
  // ETXTBSY where the host does not let it be written. Serialized with SetImageLocks by the owner.
  virtual Status ReopenForWriting();

  // Writes all of `data`, growing the file if need be, or fails. After a failure the contents of
  // the range are unknown.
  virtual Status WriteAt(HostOffset offset, std::span<const std::byte> data) = 0;
  virtual Status Truncate(uint64_t size) = 0;
  // The range reads as zeros and its space is given back; the size stays. kUnsupported where the
  // host file system cannot.
  virtual Status PunchHole(HostOffset offset, uint64_t length) = 0;
  // The range reads as zeros, allocated or not; grows the file if need be. Never kUnsupported:
  // falls back to writing zeros.
  virtual Status ZeroRange(HostOffset offset, uint64_t length) = 0;
  // Sets space aside for the range, which reads as it did, so that writing it cannot fail for want
  // of space; grows the file if need be. kUnsupported where the host cannot.
  virtual Status Allocate(HostOffset offset, uint64_t length);
  // Copies within the kernel, whole or not at all as far as success is concerned. kUnsupported
  // where the pair of files cannot do it, or would gain nothing (kernel_copy.h).
  virtual Status CopyRangeFrom(File& source, HostOffset source_offset, HostOffset offset,
                               uint64_t length) = 0;
  virtual Result<FileStat> Stat() = 0;
  // The same, but `permissions` are what the file's group and others certainly have: a POSIX ACL
  // may say less than the mode (posix_acl.h).
  virtual Result<FileStat> StatAccess() { return Stat(); }
  // When the file was made, which tells it from one that gets its inode number later; zero where
  // the host does not say.
  virtual timespec Born() { return {}; }
  // Whether somebody else has changed its size or contents since it was opened. Known only until
  // the first change by this object, which fails with kIo if somebody has; false from then on.
  virtual bool ChangedByOthers() { return false; }
  // Whether another process has it open for writing, as far as the host tells (false where it does
  // not). Only for files opened for reading.
  virtual bool OpenForWritingElsewhere() { return false; }
  // Whether any process holds one of QEMU's image locks on it.
  virtual bool LockedByOthers() { return false; }
  // Who that is.
  virtual ImageHolder HeldElsewhere() { return ImageHolder::kNobody; }
  // Gives the file away; kPermission unless this process may, kUnsupported where files have no
  // owner.
  virtual Status SetOwner(uid_t owner, gid_t group);
  // As chmod does, with no regard to the umask; fails as SetOwner does.
  virtual Status SetPermissions(mode_t permissions);
  // The run that begins at `offset`; a hole of `offset`..end where offset is at or past the end
  // (length then UINT64_MAX - offset). Files that cannot tell answer data up to the end.
  virtual Result<DataRun> RunAt(HostOffset offset) = 0;
  // QEMU-compatible advisory locks; replaces what this file held. kBusy (and the old set kept) when
  // another process's locks conflict.
  virtual Status SetImageLocks(ImageLockSet locks) = 0;
  // Tells others that want the image that its locks will be given back soon. Serialized like them.
  virtual void AnnounceEndOfLocks() {}

  // Makes all that was written through this object durable. See the head comment on failure.
  Status DataSync();
  bool poisoned() const { return poisoned_.load(std::memory_order_acquire); }

  Result<uint64_t> Size();

 protected:
  virtual Status DoDataSync() = 0;

 private:
  std::atomic<bool> poisoned_ = false;
};

}  // namespace chainfs
