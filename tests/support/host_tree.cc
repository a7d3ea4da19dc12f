// SPDX-License-Identifier: Apache-2.0
#include "tests/support/host_tree.h"

#include <fmt/format.h>

namespace chainfs {

uint64_t HostTree::HashFrom(uint64_t inode) const {
  const HostNode& node = nodes.at(inode);
  if (!node.is_directory) return node.bytes.Hash();
  uint64_t hash = 0x64697265;
  for (const auto& [name, entry] : node.entries) {
    hash = MixHash(hash, HashBytes(std::as_bytes(std::span(name)), name.size()));
    hash = MixHash(hash, HashFrom(entry));
  }
  return hash;
}

const char* HostOpName(HostOp op) {
  switch (op) {
    case HostOp::kOpen:
      return "open";
    case HostOp::kCreate:
      return "create";
    case HostOp::kRename:
      return "rename";
    case HostOp::kRemove:
      return "remove";
    case HostOp::kMakeDirectory:
      return "mkdir";
    case HostOp::kDirectorySync:
      return "dirsync";
    case HostOp::kList:
      return "list";
    case HostOp::kRead:
      return "read";
    case HostOp::kWrite:
      return "write";
    case HostOp::kTruncate:
      return "truncate";
    case HostOp::kPunch:
      return "punch";
    case HostOp::kZero:
      return "zero";
    case HostOp::kCopy:
      return "copy";
    case HostOp::kDataSync:
      return "datasync";
    case HostOp::kStat:
      return "stat";
    case HostOp::kRunAt:
      return "run-at";
    case HostOp::kLock:
      return "lock";
    case HostOp::kMark:
      return "mark";
    case HostOp::kRevert:
      return "revert";
  }
  return "?";
}

std::string HostEvent::Describe() const {
  switch (op) {
    case HostOp::kMark:
      return fmt::format("-- {}", text);
    case HostOp::kRename:
      return fmt::format("rename {} -> {}", name, to_name);
    case HostOp::kTruncate:
      return fmt::format("truncate {} to {:#x}", name, length);
    case HostOp::kWrite:
    case HostOp::kCopy:
    case HostOp::kPunch:
    case HostOp::kZero:
      return fmt::format("{} {} {:#x}+{:#x}", HostOpName(op), name, offset, length);
    default:
      return fmt::format("{} {}", HostOpName(op), name);
  }
}

std::string Recording::Describe() const {
  std::string lines;
  for (size_t i = 0; i < events.size(); ++i) {
    lines += fmt::format("{:5}  {}\n", i, events[i].Describe());
  }
  return lines;
}

}  // namespace chainfs
