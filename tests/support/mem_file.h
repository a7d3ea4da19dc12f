// SPDX-License-Identifier: Apache-2.0
//
// The File of a MemHost; tests get it from the directory that MemHost::OpenRoot() returns.
#pragma once

#include <memory>
#include <string>

#include "tests/support/mem_host.h"

namespace chainfs {

class MemFile : public File {
 public:
  // `name` is relative to the root of the host.
  MemFile(std::shared_ptr<MemHost> host, std::string name, uint64_t inode, bool writable);
  ~MemFile() override;

  bool writable() const override { return writable_; }
  Status ReopenForWriting() override;
  Result<size_t> ReadAt(HostOffset offset, std::span<std::byte> out) override;
  Status WriteAt(HostOffset offset, std::span<const std::byte> data) override;
  Status Truncate(uint64_t size) override;
  Status PunchHole(HostOffset offset, uint64_t length) override;
  Status ZeroRange(HostOffset offset, uint64_t length) override;
  Status CopyRangeFrom(File& source, HostOffset source_offset, HostOffset offset,
                       uint64_t length) override;
  Result<FileStat> Stat() override;
  Result<DataRun> RunAt(HostOffset offset) override;
  Status SetImageLocks(ImageLockSet locks) override;

 protected:
  Status DoDataSync() override;

 private:
  MemHost::Verdict Ask(HostOp op, uint64_t offset, uint64_t length) const;
  std::unexpected<Error> FailHere(int error, HostOp op) const;
  Status CheckWritable() const;
  // The common part of everything that puts `data` at `offset`.
  Status Put(HostOp op, uint64_t offset, std::span<const std::byte> data);
  HostEvent Event(HostOp op, uint64_t offset, uint64_t length) const;
  void Touch() REQUIRES(host_->mutex_);

  const std::shared_ptr<MemHost> host_;
  const std::string name_;
  const uint64_t inode_;
  std::atomic<bool> writable_;
};

}  // namespace chainfs
