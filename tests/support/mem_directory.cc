// SPDX-License-Identifier: Apache-2.0
#include "tests/support/mem_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "tests/support/mem_file.h"

namespace chainfs {
namespace {

// "a/./b//../c" -> "a/c": how the host names what a name leads to.
std::string Normalize(const std::string& name) {
  std::vector<std::string> parts;
  size_t start = 0;
  while (start <= name.size()) {
    const size_t end = std::min(name.find('/', start), name.size());
    const std::string part = name.substr(start, end - start);
    if (part == ".." && !parts.empty()) {
      parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
    start = end + 1;
  }
  return fmt::format("{}", fmt::join(parts, "/"));
}

}  // namespace

MemDirectory::MemDirectory(std::shared_ptr<MemHost> host, std::string name, uint64_t inode)
    : Directory(name.empty() ? host->options_.root_path
                             : fmt::format("{}/{}", host->options_.root_path, name)),
      host_(std::move(host)),
      name_(std::move(name)),
      inode_(inode) {}

std::string MemDirectory::Full(const std::string& name) const {
  return Normalize(name_.empty() ? name : fmt::format("{}/{}", name_, name));
}

std::unexpected<Error> MemDirectory::FailAt(int error, const std::string& name, HostOp op) const {
  return FailErrno(error, fmt::format("{}/{}: cannot {}", path(), name, HostOpName(op)));
}

MemHost::Verdict MemDirectory::Ask(HostOp op, const std::string& name) const {
  return host_->Ask({.op = op, .name = Full(name)});
}

Result<MemDirectory::Place> MemDirectory::FindPlace(const std::string& name) {
  const size_t slash = name.rfind('/');
  Place place;
  place.leaf = slash == std::string::npos ? name : name.substr(slash + 1);
  if (place.leaf.empty() || place.leaf == "." || place.leaf == "..") {
    return Fail(ErrorKind::kInvalidArgument, fmt::format("{}: not the name of a file", name));
  }
  if (name.starts_with('/')) return FailErrno(EXDEV, name);
  const std::string holder = slash == std::string::npos ? "" : name.substr(0, slash);
  CHAINFS_ASSIGN(place.directory, host_->Resolve(inode_, holder));
  if (!host_->tree_.nodes.at(place.directory).is_directory) return FailErrno(ENOTDIR, name);
  return place;
}

Result<std::unique_ptr<File>> MemDirectory::Open(const std::string& name, OpenMode mode) {
  const MemHost::Verdict verdict = Ask(HostOp::kOpen, name);
  if (verdict.error != 0) return FailAt(verdict.error, name, HostOp::kOpen);
  uint64_t inode = 0;
  {
    const MutexLock lock(host_->mutex_);
    if (name.empty()) return Fail(ErrorKind::kInvalidArgument, "a file name is empty");
    CHAINFS_ASSIGN(inode, host_->Resolve(inode_, name));
    if (host_->tree_.nodes.at(inode).is_directory) {
      return Fail(ErrorKind::kInvalidArgument,
                  fmt::format("{}/{}: not a regular file", path(), name));
    }
  }
  return std::make_unique<MemFile>(host_, Full(name), inode, mode == OpenMode::kReadWrite);
}

Result<uint64_t> MemDirectory::Add(HostOp op, const std::string& name, mode_t permissions) {
  const MemHost::Verdict verdict = Ask(op, name);
  const MutexLock lock(host_->mutex_);
  CHAINFS_ASSIGN(const Place place, FindPlace(name));
  if (host_->tree_.nodes.at(place.directory).entries.contains(place.leaf)) {
    return FailAt(EEXIST, name, op);
  }
  uint64_t inode = 0;
  if (verdict.error == 0 || verdict.landed > 0) {
    inode = host_->NewNode(op == HostOp::kMakeDirectory, permissions);
    host_->tree_.nodes.at(place.directory).entries[place.leaf] = inode;
    host_->Record({.op = op, .inode = place.directory, .name = place.leaf, .target = inode});
  }
  if (verdict.error != 0) return FailAt(verdict.error, name, op);
  return inode;
}

Result<std::unique_ptr<File>> MemDirectory::Create(const std::string& name, mode_t permissions) {
  CHAINFS_ASSIGN(const uint64_t inode, Add(HostOp::kCreate, name, permissions));
  return std::make_unique<MemFile>(host_, Full(name), inode, true);
}

Status MemDirectory::MakeDirectory(const std::string& name, mode_t permissions) {
  CHAINFS_TRY(Add(HostOp::kMakeDirectory, name, permissions));
  return {};
}

Status MemDirectory::Rename(const std::string& from, const std::string& to) {
  return Move(from, to, true);
}

Status MemDirectory::RenameNew(const std::string& from, const std::string& to) {
  return Move(from, to, false);
}

Status MemDirectory::Move(const std::string& from, const std::string& to, bool replace) {
  const MemHost::Verdict verdict = Ask(HostOp::kRename, from);
  const MutexLock lock(host_->mutex_);
  CHAINFS_ASSIGN(const Place source, FindPlace(from));
  CHAINFS_ASSIGN(const Place target, FindPlace(to));
  auto& source_entries = host_->tree_.nodes.at(source.directory).entries;
  const auto entry = source_entries.find(source.leaf);
  if (entry == source_entries.end()) return FailAt(ENOENT, from, HostOp::kRename);
  if (!replace && host_->tree_.nodes.at(target.directory).entries.contains(target.leaf)) {
    return FailAt(EEXIST, from, HostOp::kRename);
  }
  if (verdict.error == 0 || verdict.landed > 0) {
    const uint64_t inode = entry->second;
    source_entries.erase(entry);
    host_->tree_.nodes.at(target.directory).entries[target.leaf] = inode;
    host_->Record({.op = HostOp::kRename,
                   .inode = source.directory,
                   .name = source.leaf,
                   .target = inode,
                   .to_directory = target.directory,
                   .to_name = target.leaf});
  }
  if (verdict.error != 0) return FailAt(verdict.error, from, HostOp::kRename);
  return {};
}

Status MemDirectory::Remove(const std::string& name) {
  const MemHost::Verdict verdict = Ask(HostOp::kRemove, name);
  const MutexLock lock(host_->mutex_);
  CHAINFS_ASSIGN(const Place place, FindPlace(name));
  auto& entries = host_->tree_.nodes.at(place.directory).entries;
  const auto entry = entries.find(place.leaf);
  if (entry == entries.end()) return FailAt(ENOENT, name, HostOp::kRemove);
  if (host_->tree_.nodes.at(entry->second).is_directory) {
    return FailAt(EISDIR, name, HostOp::kRemove);
  }
  if (verdict.error == 0 || verdict.landed > 0) {
    const uint64_t inode = entry->second;
    entries.erase(entry);
    host_->Record(
        {.op = HostOp::kRemove, .inode = place.directory, .name = place.leaf, .target = inode});
    if (!host_->state_.contains(inode)) host_->tree_.nodes.at(inode).bytes = SparseBytes();
  }
  if (verdict.error != 0) return FailAt(verdict.error, name, HostOp::kRemove);
  return {};
}

Result<std::unique_ptr<Directory>> MemDirectory::OpenDirectory(const std::string& name) {
  uint64_t inode = 0;
  {
    const MutexLock lock(host_->mutex_);
    CHAINFS_ASSIGN(inode, host_->Resolve(inode_, name));
    if (!host_->tree_.nodes.at(inode).is_directory) return FailErrno(ENOTDIR, name);
  }
  return std::make_unique<MemDirectory>(host_, Full(name), inode);
}

Result<std::vector<DirectoryEntry>> MemDirectory::List() {
  const MemHost::Verdict verdict = Ask(HostOp::kList, "");
  if (verdict.error != 0) return FailAt(verdict.error, ".", HostOp::kList);
  const MutexLock lock(host_->mutex_);
  std::vector<DirectoryEntry> entries;
  for (const auto& [name, inode] : host_->tree_.nodes.at(inode_).entries) {
    const bool is_directory = host_->tree_.nodes.at(inode).is_directory;
    entries.push_back({.name = name, .is_file = !is_directory, .is_directory = is_directory});
  }
  return entries;
}

Result<FileStat> MemDirectory::Stat() {
  FileStat stat;
  stat.id = {.device = host_->device_, .inode = inode_};
  stat.permissions = 0700;
  return stat;
}

Result<FileId> MemDirectory::WhereLeads(const std::string& name) {
  const MutexLock lock(host_->mutex_);
  std::string_view rest = name;
  uint64_t from = inode_;
  if (rest.starts_with('/')) {
    if (!rest.starts_with(host_->options_.root_path)) return FailErrno(ENOENT, name);
    rest.remove_prefix(host_->options_.root_path.size());
    while (rest.starts_with('/')) rest.remove_prefix(1);
    from = HostTree::kRoot;
  }
  CHAINFS_ASSIGN(const uint64_t inode, host_->Resolve(from, std::string(rest)));
  return FileId{.device = host_->device_, .inode = inode};
}

Status MemDirectory::Sync() {
  const MemHost::Verdict verdict = Ask(HostOp::kDirectorySync, "");
  if (verdict.error != 0) return FailAt(verdict.error, ".", HostOp::kDirectorySync);
  const MutexLock lock(host_->mutex_);
  host_->Record({.op = HostOp::kDirectorySync, .inode = inode_, .name = name_});
  return {};
}

}  // namespace chainfs
