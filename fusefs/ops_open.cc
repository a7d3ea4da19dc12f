// SPDX-License-Identifier: Apache-2.0
//
// Opening and closing. How a disk is opened, and by whom else, decides the way in: O_DIRECT gets
// direct I/O with parallel writes, everything else the kernel's page cache, kept from one opener to
// the next (README.md, "Two ways in").
//
// Replies go out as the kernel's own struct: libfuse before 3.15 has no field for parallel writes.
#include "fusefs/ops_open.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fuse.h>
#include <sys/uio.h>

#include <memory>
#include <optional>
#include <utility>

#include "ctl/control/changed_since.h"
#include "ctl/control/errno_map.h"
#include "ctl/control/map_stream.h"
#include "fusefs/fuse_ops.h"
#include "fusefs/handles.h"

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif
#ifndef FOPEN_NOFLUSH
#define FOPEN_NOFLUSH (1 << 5)
#endif

namespace chainfs::fusefs {
namespace {

constexpr uint32_t kTextFlags = FOPEN_DIRECT_IO | FOPEN_NONSEEKABLE | FOPEN_NOFLUSH;

// False when the opener has gone: then the handle is not the kernel's and must be released.
bool ReplyOpen(fuse_req_t req, uint64_t handle, uint32_t flags) {
  fuse_open_out out = {};
  out.fh = handle;
  out.open_flags = flags;
  const iovec reply = {.iov_base = &out, .iov_len = sizeof out};
  return fuse_reply_iov(req, &reply, 1) == 0;
}

void Release(MountContext& mount, uint64_t fh) {
  const std::unique_ptr<OpenFile> file = mount.open_files.Take(fh);
  if (file == nullptr) return;
  if (file->node->kind == NodeKind::kDisk) file->node->pages.Leave(file->way, file->writes);
  if (file->reader != nullptr) mount.events.Close(std::move(file->reader));
}

void ReplyOpenFile(MountContext& mount, fuse_req_t req, std::unique_ptr<OpenFile> file,
                   uint32_t flags) {
  const uint64_t fh = mount.open_files.Add(std::move(file));
  if (!ReplyOpen(req, fh, flags)) Release(mount, fh);
}

// Opening for writing, or with O_TRUNC.
int RefuseOpening(MountContext& mount, Node& node) {
  const Disk& disk = *node.disk;
  if (disk.read_only()) return mount.control.errors.ChangeRefused(*node.served, "open");
  return mount.control.errors.OperationRefused(
      node.served.get(), "open", EPERM,
      fmt::format("{} cannot be opened with O_TRUNC, as cp and > do, because that "
                  "would wipe it; write over it: dd conv=notrunc, or qemu-img "
                  "convert -n",
                  disk.name()));
}

int OpenDisk(MountContext& mount, fuse_req_t req, const NodePtr& node, int flags) {
  Disk& disk = *node->disk;
  auto file = std::make_unique<OpenFile>();
  file->node = node;
  file->writes = (flags & O_ACCMODE) != O_RDONLY;
  if ((flags & O_TRUNC) != 0) return RefuseOpening(mount, *node);
  if (file->writes) {
    std::optional<DiskAccess::Ticket> ticket = disk.AdmitWriter();
    if (!ticket) return RefuseOpening(mount, *node);
    file->ticket = *std::move(ticket);
  } else {
    file->ticket = disk.access().CountReader();
    if (disk.access().closed()) {
      return mount.control.errors.OperationRefused(
          node->served.get(), "open", ENOENT,
          fmt::format("{} is just going away: the job that held this point in time has ended",
                      disk.name()));
    }
  }
  if (mount.options.direct_io) {
    file->way = WayIn::kDirect;
    node->pages.EnterDirect();
  } else {
    file->way = node->pages.Enter((flags & O_DIRECT) != 0, file->writes);
  }
  const bool direct = file->way == WayIn::kDirect;
  uint32_t reply = direct ? FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES : FOPEN_KEEP_CACHE;
  if (*node->stale_pages != 0) reply &= ~uint32_t{FOPEN_KEEP_CACHE};
  if (!file->writes) reply |= FOPEN_NOFLUSH;
  ReplyOpenFile(mount, req, std::move(file), reply);
  return kReplied;
}

// Of changed/NAME.json, or NAME@LAYER.json.
Result<std::unique_ptr<control::TextStream>> ChangesOf(const Node& node) {
  const size_t stem = node.name.size() - std::string_view(".json").size();
  const size_t disk = node.disk->name().size();
  const std::string layer = stem > disk ? node.name.substr(disk + 1, stem - disk - 1) : "";
  CHAINFS_ASSIGN(const control::ChangedSince changed, control::ChangedSince::Of(node.disk, layer));
  return changed.Stream();
}

Result<std::unique_ptr<control::TextStream>> ContentsOf(const MountContext& mount,
                                                        const Node& node) {
  const control::StatusFiles& files = mount.control.files;
  switch (node.kind) {
    case NodeKind::kChanged:
      return ChangesOf(node);
    case NodeKind::kMap:
      return control::MapStream(node.disk);
    case NodeKind::kJobs:
      return std::make_unique<control::TextStream>(files.Jobs());
    case NodeKind::kLayers:
      return std::make_unique<control::TextStream>(files.Layers());
    case NodeKind::kMetrics:
      return std::make_unique<control::TextStream>(files.Metrics());
    default:
      return std::make_unique<control::TextStream>(files.Chains());
  }
}

int Open(MountContext& mount, fuse_req_t req, fuse_ino_t ino, int flags) {
  const NodePtr node = mount.inodes.Find(ino);
  if (node == nullptr) return ENOENT;
  if (IsDirectory(node->kind)) return EISDIR;
  if (node->kind == NodeKind::kDisk) return OpenDisk(mount, req, node, flags);
  if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0) {
    return mount.control.errors.OperationRefused(nullptr, "open", EPERM,
                                                 fmt::format("{} can only be read", node->name));
  }
  auto file = std::make_unique<OpenFile>();
  file->node = node;
  if (node->kind == NodeKind::kEvents) {
    file->reader = mount.events.Open();
    if (file->reader == nullptr) return EMFILE;
  } else {
    Result<std::unique_ptr<control::TextStream>> contents = ContentsOf(mount, *node);
    if (!contents) {
      return mount.control.errors.OperationRefused(
          nullptr, "open", control::ErrnoOf(contents.error()), contents.error().message);
    }
    file->stream = *std::move(contents);
  }
  ReplyOpenFile(mount, req, std::move(file), kTextFlags);
  return kReplied;
}

}  // namespace

void AddOpenOps(fuse_lowlevel_ops* ops) {
  ops->open = [](fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
    Serve(req, "open", [&](MountContext& mount) { return Open(mount, req, ino, info->flags); });
  };
  ops->release = [](fuse_req_t req, fuse_ino_t, fuse_file_info* info) {
    Serve(req, "release", [&](MountContext& mount) {
      Release(mount, info->fh);
      return 0;
    });
  };
}

}  // namespace chainfs::fusefs
