// SPDX-License-Identifier: Apache-2.0
#include "tests/support/mem_host.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <utility>

#include "blocklayer/io/posix.h"
#include "tests/support/mem_directory.h"

namespace chainfs {
namespace {

dev_t NextDevice() {
  static std::atomic<dev_t> next = 0x4d454d00;
  return next.fetch_add(1);
}

// Splits at '/'; "." and "" vanish.
std::vector<std::string> Components(const std::string& name) {
  std::vector<std::string> parts;
  size_t start = 0;
  while (start <= name.size()) {
    const size_t end = std::min(name.find('/', start), name.size());
    const std::string part = name.substr(start, end - start);
    if (!part.empty() && part != ".") parts.push_back(part);
    start = end + 1;
  }
  return parts;
}

Status CopyRuns(File& from, File& to) {
  CHAINFS_ASSIGN(const uint64_t size, from.Size());
  CHAINFS_TRY(to.Truncate(size));
  std::vector<std::byte> buffer(1 << 20);
  for (uint64_t at = 0; at < size;) {
    CHAINFS_ASSIGN(const DataRun run, from.RunAt(HostOffset(at)));
    const uint64_t end = std::min(size, at + std::min(run.length, size - at));
    while (run.is_data && at < end) {
      const std::span part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), end - at));
      CHAINFS_TRY(from.ReadZeroFilled(HostOffset(at), part));
      CHAINFS_TRY(to.WriteAt(HostOffset(at), part));
      at += part.size();
    }
    at = end;
  }
  return {};
}

Status CopyDirectory(Directory& from, Directory& to) {
  CHAINFS_ASSIGN(const std::vector<DirectoryEntry> entries, from.List());
  for (const DirectoryEntry& entry : entries) {
    if (entry.is_directory) {
      CHAINFS_TRY(to.MakeDirectory(entry.name, 0755));
      CHAINFS_ASSIGN(const std::unique_ptr<Directory> inner, from.OpenDirectory(entry.name));
      CHAINFS_ASSIGN(const std::unique_ptr<Directory> outer, to.OpenDirectory(entry.name));
      CHAINFS_TRY(CopyDirectory(*inner, *outer));
    } else if (entry.is_file) {
      CHAINFS_ASSIGN(const std::unique_ptr<File> source,
                     from.Open(entry.name, OpenMode::kReadOnly));
      CHAINFS_ASSIGN(const std::unique_ptr<File> target, to.Create(entry.name, 0644));
      CHAINFS_TRY(CopyRuns(*source, *target));
    }
  }
  return {};
}

}  // namespace

std::function<bool(const HostCall&)> On(HostOp op) {
  return [op](const HostCall& call) { return call.op == op; };
}

std::function<bool(const HostCall&)> On(HostOp op, std::string name) {
  return [op, name = std::move(name)](const HostCall& call) {
    return call.op == op && call.name == name;
  };
}

bool IsMutation(const HostCall& call) {
  switch (call.op) {
    case HostOp::kCreate:
    case HostOp::kRename:
    case HostOp::kRemove:
    case HostOp::kMakeDirectory:
    case HostOp::kDirectorySync:
    case HostOp::kWrite:
    case HostOp::kTruncate:
    case HostOp::kPunch:
    case HostOp::kZero:
    case HostOp::kCopy:
    case HostOp::kDataSync:
      return true;
    default:
      return false;
  }
}

MemHost::MemHost(HostTree tree, MemHostOptions options)
    : options_(std::move(options)),
      device_(NextDevice()),
      tree_(std::move(tree)),
      next_inode_(tree_.nodes.rbegin()->first + 1),
      capacity_(options_.capacity) {}

std::shared_ptr<MemHost> MemHost::Create(MemHostOptions options) {
  return FromTree(HostTree(), std::move(options));
}

std::shared_ptr<MemHost> MemHost::FromTree(HostTree tree, MemHostOptions options) {
  return std::shared_ptr<MemHost>(new MemHost(std::move(tree), std::move(options)));
}

std::unique_ptr<Directory> MemHost::OpenRoot() {
  return std::make_unique<MemDirectory>(shared_from_this(), "", HostTree::kRoot);
}

Result<uint64_t> MemHost::Resolve(uint64_t directory, const std::string& name) {
  if (name.starts_with('/')) return FailErrno(EXDEV, name);
  std::vector<uint64_t> trail = {directory};
  for (const std::string& part : Components(name)) {
    const HostNode& node = tree_.nodes.at(trail.back());
    if (!node.is_directory) return FailErrno(ENOTDIR, name);
    if (part == "..") {
      trail.pop_back();
      if (trail.empty()) return FailErrno(EXDEV, name);
      continue;
    }
    const auto entry = node.entries.find(part);
    if (entry == node.entries.end()) return FailErrno(ENOENT, name);
    trail.push_back(entry->second);
  }
  return trail.back();
}

uint64_t MemHost::NewNode(bool is_directory, mode_t permissions) {
  const uint64_t inode = next_inode_++;
  HostNode& node = tree_.nodes[inode];
  node.is_directory = is_directory;
  node.permissions = permissions;
  return inode;
}

HostNode& MemHost::NodeOf(const std::string& name) {
  const Result<uint64_t> inode = Resolve(HostTree::kRoot, name);
  if (!inode) {
    fmt::print(stderr, "test support: no file {} in the in-memory host\n", name);
    std::abort();
  }
  return tree_.nodes.at(*inode);
}

void MemHost::PutFile(const std::string& name, std::span<const std::byte> contents) {
  const MutexLock lock(mutex_);
  HostNode& root = tree_.nodes.at(HostTree::kRoot);
  if (!root.entries.contains(name)) root.entries[name] = NewNode(false, 0644);
  SparseBytes& bytes = NodeOf(name).bytes;
  bytes = SparseBytes();
  bytes.Write(0, contents);
}

std::vector<std::byte> MemHost::Contents(const std::string& name) {
  const MutexLock lock(mutex_);
  const SparseBytes& bytes = NodeOf(name).bytes;
  std::vector<std::byte> contents(bytes.size());
  bytes.Read(0, contents);
  return contents;
}

bool MemHost::Exists(const std::string& name) {
  const MutexLock lock(mutex_);
  return Resolve(HostTree::kRoot, name).has_value();
}

HostTree MemHost::Snapshot() {
  const MutexLock lock(mutex_);
  return tree_;
}

Status MemHost::ExportTo(const std::string& real_directory) {
  // A copy, so that hooks, faults and recordings see nothing of it.
  const std::shared_ptr<MemHost> copy = FromTree(Snapshot());
  CHAINFS_ASSIGN(const std::unique_ptr<Directory> target, OpenPosixDirectory(real_directory));
  return CopyDirectory(*copy->OpenRoot(), *target);
}

Status MemHost::ImportFrom(const std::string& real_directory) {
  const std::shared_ptr<MemHost> copy = FromTree(Snapshot());
  CHAINFS_ASSIGN(const std::unique_ptr<Directory> source, OpenPosixDirectory(real_directory));
  CHAINFS_TRY(CopyDirectory(*source, *copy->OpenRoot()));
  HostTree tree = copy->Snapshot();
  const MutexLock lock(mutex_);
  tree_ = std::move(tree);
  next_inode_ = tree_.nodes.rbegin()->first + 1;
  return {};
}

void MemHost::StartRecording() {
  const MutexLock lock(mutex_);
  recording_ = std::make_shared<Recording>();
  recording_->base = tree_;
  for (auto& [inode, state] : state_) state.durable = tree_.nodes.at(inode).bytes;
}

std::shared_ptr<const Recording> MemHost::StopRecording() {
  const MutexLock lock(mutex_);
  return std::exchange(recording_, nullptr);
}

uint64_t MemHost::EventCount() {
  const MutexLock lock(mutex_);
  return recording_ == nullptr ? 0 : recording_->events.size();
}

uint64_t MemHost::AddMark(std::string text, bool new_epoch) {
  const MutexLock lock(mutex_);
  if (recording_ == nullptr) return 0;
  Record({.op = HostOp::kMark, .text = std::move(text), .new_epoch = new_epoch});
  return recording_->events.size() - 1;
}

void MemHost::Record(HostEvent event) {
  if (recording_ != nullptr) recording_->events.push_back(std::move(event));
}

size_t MemHost::AddFault(Fault fault) {
  const MutexLock lock(mutex_);
  faults_.push_back({.fault = std::move(fault)});
  return faults_.size() - 1;
}

void MemHost::SetHook(std::function<int(const HostCall&)> hook) {
  const MutexLock lock(mutex_);
  hook_ = std::move(hook);
}

uint64_t MemHost::Allocated() const {
  uint64_t sum = 0;
  for (const auto& [inode, node] : tree_.nodes) sum += node.bytes.allocated_bytes();
  return sum;
}

uint64_t MemHost::AllocatedBytes() {
  const MutexLock lock(mutex_);
  return Allocated();
}

uint64_t MemHost::OpenFiles() {
  const MutexLock lock(mutex_);
  uint64_t sum = 0;
  for (const auto& [inode, state] : state_) sum += state.count;
  return sum;
}

MemHost::Verdict MemHost::Ask(const HostCall& call) {
  std::function<int(const HostCall&)> hook;
  {
    const MutexLock lock(mutex_);
    hook = hook_;
  }
  if (hook) {
    if (const int error = hook(call); error != 0) return {.error = error};
  }
  const MutexLock lock(mutex_);
  for (ActiveFault& active : faults_) {
    const Fault& fault = active.fault;
    if (fault.matches && !fault.matches(call)) continue;
    const uint64_t index = active.calls++;
    if (index < fault.skip || (index > fault.skip && !fault.forever)) continue;
    ++active.hits;
    return {.error = fault.error, .landed = fault.landed, .drop_unsynced = fault.drop_unsynced};
  }
  return {};
}

}  // namespace chainfs
