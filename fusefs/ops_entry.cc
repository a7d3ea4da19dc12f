// SPDX-License-Identifier: Apache-2.0
//
// Names and directories. A name that is unknown while the sources have news waits for the scan, for
// a moment, so that an image is there for whoever made it; absence is never remembered by the
// kernel.
#include "fusefs/ops_entry.h"

#include <sys/statvfs.h>

#include <chrono>
#include <memory>
#include <string>

#include "ctl/control/changed_since.h"
#include "fusefs/fuse_ops.h"
#include "fusefs/handles.h"

namespace chainfs::fusefs {
namespace {

fuse_entry_param EntryOf(const MountContext& mount, Node& node) {
  fuse_entry_param entry = {};
  entry.ino = node.ino;
  entry.generation = 1;
  entry.attr = mount.attributes.StatOf(node);
  entry.attr_timeout = kCacheSeconds;
  entry.entry_timeout = kCacheSeconds;
  return entry;
}

int ReplyEntry(MountContext& mount, fuse_req_t req, const NodePtr& node) {
  if (node == nullptr) return ENOENT;
  fuse_entry_param entry = EntryOf(mount, *node);
  // Whoever unlinked it meanwhile did not see that the kernel would know it.
  if (!mount.inodes.Remember(*node)) entry.entry_timeout = 0;
  if (fuse_reply_entry(req, &entry) != 0) mount.inodes.Forget(node->ino, 1);
  return kReplied;
}

// How long a request waits for a scan; then it is answered with what is known.
constexpr std::chrono::milliseconds kLookupPatience(2000);
constexpr std::chrono::milliseconds kListPatience(500);

// Who waits at the watcher: who is killed meanwhile is let go at once.
uint64_t TicketOf(MountContext& mount, fuse_req_t req) {
  const uint64_t ticket = mount.watcher.NewTicket();
  // Before it waits: once it does, it may be answered, and gone, at any moment.
  fuse_req_interrupt_func(
      req,
      [](fuse_req_t interrupted, void* data) {
        MountOf(interrupted).watcher.Hurry(reinterpret_cast<uintptr_t>(data));
      },
      // NOLINTNEXTLINE(performance-no-int-to-ptr): libfuse keeps a number for us
      reinterpret_cast<void*>(ticket));
  return ticket;
}

// NAME@LAYER.json of a disk and a layer of it; null when there is no such pair. Both may have an @.
NodePtr ChangedSince(MountContext& mount, const std::string& name) {
  constexpr std::string_view kSuffix = ".json";
  if (!name.ends_with(kSuffix)) return nullptr;
  const std::string stem = name.substr(0, name.size() - kSuffix.size());
  for (size_t at = stem.find('@'); at != std::string::npos; at = stem.find('@', at + 1)) {
    const NodePtr disk = mount.inodes.FindByName(NodeKind::kRoot, stem.substr(0, at) + ".raw");
    if (disk == nullptr) continue;
    if (!control::ChangedSince::Of(disk->disk, stem.substr(at + 1))) continue;
    return mount.inodes.AddUnlisted(NodeKind::kChanged, name, disk->served);
  }
  return nullptr;
}

int Lookup(MountContext& mount, fuse_req_t req, fuse_ino_t directory, const char* name) {
  const NodePtr parent = mount.inodes.Find(directory);
  if (parent == nullptr) return ENOENT;
  if (!IsDirectory(parent->kind)) return ENOTDIR;
  const NodeKind kind = parent->kind;
  NodePtr node = mount.inodes.FindByName(kind, name);
  const std::string wanted = name;
  if (node == nullptr && kind == NodeKind::kChangedDirectory) node = ChangedSince(mount, wanted);
  if (node != nullptr || kind != NodeKind::kRoot || !wanted.ends_with(".raw")) {
    return ReplyEntry(mount, req, node);
  }
  const auto answer = [req, wanted] {
    Serve(req, "lookup", [&](MountContext& after) {
      return ReplyEntry(after, req, after.inodes.FindByName(NodeKind::kRoot, wanted));
    });
  };
  const uint64_t ticket = TicketOf(mount, req);
  const std::string disk = wanted.substr(0, wanted.size() - 4);
  const bool checked = mount.catalog.BeingChecked(disk);
  // Another attempt at one that could not be opened comes early for those who ask.
  const bool asked = mount.catalog.AskFor(disk);
  const bool waits = checked ? mount.watcher.AfterNewDisk(ticket, kLookupPatience, answer)
                             : mount.watcher.AfterScan(ticket, kLookupPatience, answer, asked);
  // It may have appeared since.
  return waits ? kReplied
               : ReplyEntry(mount, req, mount.inodes.FindByName(NodeKind::kRoot, wanted));
}

int ReplyOpenDirectory(MountContext& mount, fuse_req_t req, const NodePtr& node,
                       fuse_file_info info) {
  auto file = std::make_unique<OpenFile>();
  file->node = node;
  file->listed = mount.inodes.List(node->kind);
  info.fh = mount.open_files.Add(std::move(file));
  if (fuse_reply_open(req, &info) != 0) mount.open_files.Take(info.fh);
  return kReplied;
}

int OpenDirectory(MountContext& mount, fuse_req_t req, fuse_ino_t ino, const fuse_file_info& info) {
  const NodePtr node = mount.inodes.Find(ino);
  if (node == nullptr) return ENOENT;
  if (node->kind == NodeKind::kRoot) {
    const fuse_file_info kept = info;
    const bool waits =
        mount.watcher.AfterScan(TicketOf(mount, req), kListPatience, [req, node, kept] {
          Serve(req, "opendir",
                [&](MountContext& after) { return ReplyOpenDirectory(after, req, node, kept); });
        });
    if (waits) return kReplied;
  }
  return ReplyOpenDirectory(mount, req, node, info);
}

// Appends one entry to `out`; false when it does not fit into `size`.
bool PutEntry(fuse_req_t req, std::string* out, size_t size, const char* name,
              const fuse_entry_param& entry, off_t next, bool plus) {
  const size_t used = out->size();
  out->resize(size);
  const size_t needed =
      plus ? fuse_add_direntry_plus(req, out->data() + used, size - used, name, &entry, next)
           : fuse_add_direntry(req, out->data() + used, size - used, name, &entry.attr, next);
  const bool fits = needed <= size - used;
  out->resize(fits ? used + needed : used);
  return fits;
}

// Offsets: 0 and 1 are "." and "..", node i is i + 2; an entry carries the offset after it.
int ReadDirectory(MountContext& mount, fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                  const fuse_file_info* info, bool plus) {
  const std::vector<NodePtr>& nodes = OpenFiles::At(info->fh).listed;
  size = std::min(size, kMaxTransfer);
  std::string out;
  for (auto index = static_cast<size_t>(offset); index < nodes.size() + 2; ++index) {
    fuse_entry_param entry = {};
    const char* name = index == 0 ? "." : "..";
    if (index < 2) {
      entry.attr.st_ino = index == 0 ? ino : kRootInode;
      entry.attr.st_mode = S_IFDIR;
      if (!PutEntry(req, &out, size, name, entry, static_cast<off_t>(index + 1), plus)) break;
      continue;
    }
    Node& node = *nodes[index - 2];
    // What was unlinked since the list was made comes without a number to look it up by.
    const bool remembered = plus && mount.inodes.Remember(node);
    if (remembered) {
      entry = EntryOf(mount, node);
    } else {
      if (plus) mount.inodes.Forget(node.ino, 1);
      entry.attr.st_ino = node.shown_ino;
      entry.attr.st_mode = IsDirectory(node.kind) ? S_IFDIR : S_IFREG;
    }
    name = node.name.c_str();
    if (!PutEntry(req, &out, size, name, entry, static_cast<off_t>(index + 1), plus)) {
      if (remembered) mount.inodes.Forget(node.ino, 1);
      break;
    }
  }
  fuse_reply_buf(req, out.data(), out.size());
  return kReplied;
}

int StatFs(const MountContext& mount, fuse_req_t req) {
  constexpr uint64_t kBlock = 4096;
  struct statvfs host = {};
  if (::fstatvfs(mount.first_source.get(), &host) != 0) return EIO;
  struct statvfs st = {};
  st.f_bsize = kBlock;
  st.f_frsize = kBlock;
  st.f_blocks = host.f_blocks * host.f_frsize / kBlock;
  st.f_bfree = host.f_bfree * host.f_frsize / kBlock;
  st.f_bavail = host.f_bavail * host.f_frsize / kBlock;
  st.f_namemax = 255;
  fuse_reply_statfs(req, &st);
  return kReplied;
}

}  // namespace

void AddEntryOps(fuse_lowlevel_ops* ops) {
  ops->lookup = [](fuse_req_t req, fuse_ino_t directory, const char* name) {
    Serve(req, "lookup", [&](MountContext& mount) { return Lookup(mount, req, directory, name); });
  };
  ops->forget = [](fuse_req_t req, fuse_ino_t ino, uint64_t count) {
    MountOf(req).inodes.Forget(ino, count);
    fuse_reply_none(req);
  };
  ops->forget_multi = [](fuse_req_t req, size_t count, fuse_forget_data* forgets) {
    for (size_t i = 0; i < count; ++i) {
      MountOf(req).inodes.Forget(forgets[i].ino, forgets[i].nlookup);
    }
    fuse_reply_none(req);
  };
  ops->opendir = [](fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
    Serve(req, "opendir",
          [&](MountContext& mount) { return OpenDirectory(mount, req, ino, *info); });
  };
  ops->readdir = [](fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    fuse_file_info* info) {
    Serve(req, "readdir", [&](MountContext& mount) {
      return ReadDirectory(mount, req, ino, size, offset, info, false);
    });
  };
  ops->readdirplus = [](fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                        fuse_file_info* info) {
    Serve(req, "readdirplus", [&](MountContext& mount) {
      return ReadDirectory(mount, req, ino, size, offset, info, true);
    });
  };
  ops->releasedir = [](fuse_req_t req, fuse_ino_t, fuse_file_info* info) {
    Serve(req, "releasedir", [&](MountContext& mount) {
      mount.open_files.Take(info->fh);
      return 0;
    });
  };
  ops->statfs = [](fuse_req_t req, fuse_ino_t) {
    Serve(req, "statfs", [&](const MountContext& mount) { return StatFs(mount, req); });
  };
}

}  // namespace chainfs::fusefs
