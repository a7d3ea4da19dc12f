// SPDX-License-Identifier: Apache-2.0
#include "tests/support/mem_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <utility>

namespace chainfs {
namespace {

std::string FullPath(const std::string& root, const std::string& name) {
  return name.empty() ? root : fmt::format("{}/{}", root, name);
}

}  // namespace

MemFile::MemFile(std::shared_ptr<MemHost> host, std::string name, uint64_t inode, bool writable)
    : File(FullPath(host->options_.root_path, name)),
      host_(std::move(host)),
      name_(std::move(name)),
      inode_(inode),
      writable_(writable) {
  const MutexLock lock(host_->mutex_);
  MemHost::OpenState& state = host_->state_[inode_];
  if (state.count++ == 0) state.durable = host_->tree_.nodes.at(inode_).bytes;
}

MemFile::~MemFile() {
  const MutexLock lock(host_->mutex_);
  MemHost::OpenState& state = host_->state_.at(inode_);
  state.locks.erase(this);
  if (--state.count > 0) return;
  host_->state_.erase(inode_);
  const auto is_linked = [&](const auto& one) {
    return std::ranges::any_of(one.second.entries,
                               [&](const auto& entry) { return entry.second == inode_; });
  };
  if (std::ranges::none_of(host_->tree_.nodes, is_linked)) {
    host_->tree_.nodes.at(inode_).bytes = SparseBytes();
  }
}

// The call says length 1, which no other opening does.
Status MemFile::ReopenForWriting() {
  if (writable_) return {};
  const MemHost::Verdict verdict = Ask(HostOp::kOpen, 0, 1);
  if (verdict.error != 0) return FailHere(verdict.error, HostOp::kOpen);
  writable_ = true;
  return {};
}

MemHost::Verdict MemFile::Ask(HostOp op, uint64_t offset, uint64_t length) const {
  return host_->Ask({.op = op, .name = name_, .offset = offset, .length = length});
}

std::unexpected<Error> MemFile::FailHere(int error, HostOp op) const {
  return FailErrno(error, fmt::format("{}: cannot {}", path(), HostOpName(op)));
}

Status MemFile::CheckWritable() const {
  if (writable_) return {};
  return Fail(ErrorKind::kReadOnly, fmt::format("{}: opened for reading only", path()));
}

HostEvent MemFile::Event(HostOp op, uint64_t offset, uint64_t length) const {
  return {.op = op, .inode = inode_, .offset = offset, .length = length, .name = name_};
}

void MemFile::Touch() { ::clock_gettime(CLOCK_REALTIME, &host_->modified_[inode_]); }

Result<size_t> MemFile::ReadAt(HostOffset offset, std::span<std::byte> out) {
  const MemHost::Verdict verdict = Ask(HostOp::kRead, offset.value, out.size());
  if (verdict.error != 0) return FailHere(verdict.error, HostOp::kRead);
  const MutexLock lock(host_->mutex_);
  const SparseBytes& bytes = host_->tree_.nodes.at(inode_).bytes;
  if (offset.value >= bytes.size()) return 0;
  const size_t part = std::min<uint64_t>(out.size(), bytes.size() - offset.value);
  bytes.Read(offset.value, out.first(part));
  return part;
}

Status MemFile::Put(HostOp op, uint64_t offset, std::span<const std::byte> data) {
  const MemHost::Verdict verdict = Ask(op, offset, data.size());
  const size_t part =
      verdict.error != 0 ? std::min<uint64_t>(verdict.landed, data.size()) : data.size();
  const MutexLock lock(host_->mutex_);
  if (part > 0) {
    SparseBytes& bytes = host_->tree_.nodes.at(inode_).bytes;
    if (host_->capacity_ != UINT64_MAX) {
      const SparseBytes before = bytes;
      bytes.Write(offset, data.first(part));
      if (host_->Allocated() > host_->capacity_) {
        bytes = before;
        return FailHere(ENOSPC, op);
      }
    } else {
      bytes.Write(offset, data.first(part));
    }
    Touch();
    if (host_->recording_ != nullptr) {
      HostEvent event = Event(op, offset, part);
      event.data = std::make_shared<std::vector<std::byte>>(
          data.begin(), data.begin() + static_cast<ptrdiff_t>(part));
      host_->Record(std::move(event));
    }
  }
  if (verdict.error != 0) return FailHere(verdict.error, op);
  return {};
}

Status MemFile::WriteAt(HostOffset offset, std::span<const std::byte> data) {
  CHAINFS_TRY(CheckWritable());
  if (offset.value > INT64_MAX || data.size() > INT64_MAX - offset.value) {
    return FailHere(EFBIG, HostOp::kWrite);
  }
  return Put(HostOp::kWrite, offset.value, data);
}

Status MemFile::Truncate(uint64_t size) {
  CHAINFS_TRY(CheckWritable());
  if (size > INT64_MAX) return FailHere(EFBIG, HostOp::kTruncate);
  const MemHost::Verdict verdict = Ask(HostOp::kTruncate, 0, size);
  const MutexLock lock(host_->mutex_);
  if (verdict.error == 0 || verdict.landed > 0) {
    host_->tree_.nodes.at(inode_).bytes.Resize(size);
    Touch();
    host_->Record(Event(HostOp::kTruncate, 0, size));
  }
  if (verdict.error != 0) return FailHere(verdict.error, HostOp::kTruncate);
  return {};
}

Status MemFile::PunchHole(HostOffset offset, uint64_t length) {
  CHAINFS_TRY(CheckWritable());
  if (!host_->options_.can_punch) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: its file system cannot punch holes", path()));
  }
  const MemHost::Verdict verdict = Ask(HostOp::kPunch, offset.value, length);
  const MutexLock lock(host_->mutex_);
  if (verdict.error == 0 || verdict.landed > 0) {
    host_->tree_.nodes.at(inode_).bytes.Clear(offset.value, length);
    Touch();
    host_->Record(Event(HostOp::kPunch, offset.value, length));
  }
  if (verdict.error != 0) return FailHere(verdict.error, HostOp::kPunch);
  return {};
}

Status MemFile::ZeroRange(HostOffset offset, uint64_t length) {
  CHAINFS_TRY(CheckWritable());
  if (length == 0) return {};
  if (offset.value > INT64_MAX || length > INT64_MAX - offset.value) {
    return FailHere(EFBIG, HostOp::kZero);
  }
  const MemHost::Verdict verdict = Ask(HostOp::kZero, offset.value, length);
  const MutexLock lock(host_->mutex_);
  if (verdict.error == 0 || verdict.landed > 0) {
    SparseBytes& bytes = host_->tree_.nodes.at(inode_).bytes;
    bytes.Clear(offset.value, length);
    bytes.GrowUnseen(offset.value + length);
    Touch();
    host_->Record(Event(HostOp::kZero, offset.value, length));
  }
  if (verdict.error != 0) return FailHere(verdict.error, HostOp::kZero);
  return {};
}

Status MemFile::CopyRangeFrom(File& source, HostOffset source_offset, HostOffset offset,
                              uint64_t length) {
  CHAINFS_TRY(CheckWritable());
  const auto* from = dynamic_cast<MemFile*>(&source);
  std::vector<std::byte> data;
  if (from != nullptr && from->host_ == host_ && host_->options_.can_copy_range) {
    const MutexLock lock(host_->mutex_);
    const SparseBytes& bytes = host_->tree_.nodes.at(from->inode_).bytes;
    if (source_offset.value <= bytes.size() && length <= bytes.size() - source_offset.value) {
      data.resize(length);
      bytes.Read(source_offset.value, data);
    }
  }
  if (data.size() != length) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: cannot copy from {}", path(), source.path()));
  }
  return Put(HostOp::kCopy, offset.value, data);
}

Result<FileStat> MemFile::Stat() {
  const MemHost::Verdict verdict = Ask(HostOp::kStat, 0, 0);
  if (verdict.error != 0) return FailHere(verdict.error, HostOp::kStat);
  const MutexLock lock(host_->mutex_);
  const SparseBytes& bytes = host_->tree_.nodes.at(inode_).bytes;
  return FileStat{.id = {.device = host_->device_, .inode = inode_},
                  .size = bytes.size(),
                  .allocated_bytes = bytes.allocated_bytes(),
                  .modified = host_->modified_[inode_]};
}

Result<DataRun> MemFile::RunAt(HostOffset offset) {
  const MemHost::Verdict verdict = Ask(HostOp::kRunAt, offset.value, 0);
  if (verdict.error != 0) return FailHere(verdict.error, HostOp::kRunAt);
  const MutexLock lock(host_->mutex_);
  return host_->tree_.nodes.at(inode_).bytes.RunAt(offset.value);
}

Status MemFile::SetImageLocks(ImageLockSet locks) {
  const MemHost::Verdict verdict = Ask(HostOp::kLock, 0, 0);
  if (verdict.error != 0) return FailHere(verdict.error, HostOp::kLock);
  const MutexLock lock(host_->mutex_);
  std::map<const void*, ImageLockSet>& holders = host_->state_.at(inode_).locks;
  for (const auto& [holder, held] : holders) {
    if (holder == this) continue;
    if ((held.used & locks.unshared) != 0 || (held.unshared & locks.used) != 0) {
      return Fail(ErrorKind::kBusy, fmt::format("{}: locked by another process", path()));
    }
  }
  holders[this] = locks;
  return {};
}

Status MemFile::DoDataSync() {
  const MemHost::Verdict verdict = Ask(HostOp::kDataSync, 0, 0);
  const MutexLock lock(host_->mutex_);
  MemHost::OpenState& state = host_->state_.at(inode_);
  SparseBytes& bytes = host_->tree_.nodes.at(inode_).bytes;
  if (verdict.error == 0) {
    state.durable = bytes;
    host_->Record(Event(HostOp::kDataSync, 0, 0));
    return {};
  }
  if (verdict.drop_unsynced) {
    // The size is metadata, and stays.
    const uint64_t size = bytes.size();
    bytes = state.durable;
    bytes.Resize(size);
    host_->Record(Event(HostOp::kRevert, 0, 0));
  }
  return FailHere(verdict.error, HostOp::kDataSync);
}

}  // namespace chainfs
