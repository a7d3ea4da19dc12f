// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/layer_pool.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "blocklayer/image/metadata_cache.h"
#include "blocklayer/name_rules.h"
#include "blocklayer/qcow2/qcow2_image.h"
#include "blocklayer/raw/raw_image.h"

namespace chainfs {
namespace {

// Leaves the image cleanly closed before the file goes. Nobody is left to hear of an error; what
// mattered was flushed before the layer was let go.
void CloseLayer(Layer* layer) {
  if (layer->image != nullptr && layer->image->writable()) (void)layer->image->Close();
  delete layer;
}

std::unexpected<Error> BeingChecked(const LayerFile& file) {
  return Fail(ErrorKind::kBusy,
              EscapeText(fmt::format("{}: was not closed cleanly and is being checked; its disk "
                                     "appears by itself",
                                     file.place.path)));
}

bool CannotBeWritten(const Error& error) {
  return error.kind == ErrorKind::kPermission || error.kind == ErrorKind::kReadOnly ||
         error.sys_errno == ETXTBSY;
}

}  // namespace

ImageLockSet LayerPool::LocksFor(LayerRole role, uint32_t stream_targets) {
  if (stream_targets > 0) return kStreamTargetLocks;
  return role == LayerRole::kActive ? kActiveLayerLocks : kBackingLayerLocks;
}

LayerPtr LayerPool::Find(const FileId& id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : found->second.layer.lock();
}

LayerPool::Entry* LayerPool::EntryOf(const LayerPtr& layer) {
  const auto found = entries_.find(layer->id);
  if (found == entries_.end() || found->second.layer.lock() != layer) return nullptr;
  return &found->second;
}

LayerRole LayerPool::RoleOf(const LayerPtr& layer) const {
  const auto found = entries_.find(layer->id);
  return found == entries_.end() ? LayerRole::kBacking : found->second.role;
}

Status LayerPool::SetRole(const LayerPtr& layer, LayerRole role) {
  Entry* entry = EntryOf(layer);
  if (entry == nullptr || entry->role == role) return {};
  CHAINFS_TRY(layer->image->file().SetImageLocks(LocksFor(role, entry->stream_targets)));
  entry->role = role;
  return {};
}

Status LayerPool::AddStreamTarget(const LayerPtr& layer) {
  Entry* entry = EntryOf(layer);
  if (entry == nullptr || !layer->image->writable()) {
    return Fail(ErrorKind::kReadOnly,
                EscapeText(fmt::format("{}: the layer cannot be written: {}", layer->path,
                                       layer->ReadOnlyReason())));
  }
  CHAINFS_TRY(layer->image->file().SetImageLocks(LocksFor(entry->role, entry->stream_targets + 1)));
  ++entry->stream_targets;
  return {};
}

void LayerPool::RemoveStreamTarget(const LayerPtr& layer) {
  Entry* entry = EntryOf(layer);
  if (entry == nullptr || entry->stream_targets == 0) return;
  --entry->stream_targets;
  // Fewer locks of our own cannot conflict with what others were allowed beside more of them.
  (void)layer->image->file().SetImageLocks(LocksFor(entry->role, entry->stream_targets));
}

Result<LayerPtr> LayerPool::Get(const LayerFile& file, LayerRole role) {
  LayerPtr layer = Find(file.stat.id);
  // Tables of a file that changed under it are worth nothing; whoever still has it goes on alone.
  const bool outdated = layer != nullptr && layer->image->file().ChangedByOthers();
  if (outdated) entries_.erase(file.stat.id);
  if (layer == nullptr || outdated) return Open(file, role);
  if (layer->image->format() != file.format) {
    return Fail(ErrorKind::kInvalidArgument,
                EscapeText(fmt::format("{}: named both {} and {}; correct the wrong one (for a "
                                       "backing file: qemu-img rebase -u -F FORMAT)",
                                       file.place.path, ImageFormatName(layer->image->format()),
                                       ImageFormatName(file.format))));
  }
  if (!layer->image->writable()) role = LayerRole::kBacking;
  CHAINFS_TRY(SetRole(layer, role));
  return layer;
}

// For reading and writing where that is possible and wanted.
Result<std::unique_ptr<File>> LayerPool::OpenFile(const LayerFile& file, std::string* refusal) {
  if (read_only_) return OpenUnwritable(file);
  auto opened = file.place.directory->Open(file.place.name, OpenMode::kReadWrite);
  if (opened || !CannotBeWritten(opened.error())) return opened;
  const char* const why = std::strerror(opened.error().sys_errno);
  *refusal = EscapeText(fmt::format("{} cannot be written ({})", file.place.path, why));
  return OpenUnwritable(file);
}

Result<std::unique_ptr<File>> LayerPool::OpenUnwritable(const LayerFile& file) {
  return file.place.directory->Open(file.place.name, OpenMode::kReadOnly);
}

Result<std::unique_ptr<Image>> LayerPool::OpenImage(std::unique_ptr<File> file,
                                                    const LayerFile& described,
                                                    Qcow2OpenOptions options) {
  if (described.format == ImageFormat::kRaw) {
    return OpenRawImage(std::move(file), options.read_only);
  }
  CHAINFS_ASSIGN(std::unique_ptr<Image> image,
                 OpenQcow2Image(std::move(file), context_->metadata(), options));
  if (image->backing() != described.peek.backing) {
    return Fail(
        ErrorKind::kInvalidFormat,
        EscapeText(fmt::format("{}: the name of its backing file changed while it was being "
                               "opened, or its header contradicts itself",
                               described.place.path)));
  }
  return image;
}

std::optional<BackgroundRepairs::Verdict> LayerPool::RepairVerdict(const LayerFile& file) const {
  if (repairs_ == nullptr || read_only_ || !file.peek.dirty) return std::nullopt;
  return repairs_->Look(file.stat);
}

Status LayerPool::StartRepair(const LayerFile& described, LayerRole role,
                              std::unique_ptr<File>& file) {
  if (Status locked = file->SetImageLocks(kActiveLayerLocks); !locked) {
    if (role == LayerRole::kActive) return locked;
    return {};
  }
  (void)repairs_->Start(std::move(file));
  return BeingChecked(described);
}

// Whoever copies an image into a watched directory (cp, scp, wget) takes no locks. QEMU and other
// daemons do, so those who have it open for writing beside a lock are judged by their locks.
Status LayerPool::CheckComplete(const LayerFile& described) {
  CHAINFS_ASSIGN(const std::unique_ptr<File> file, OpenUnwritable(described));
  if (!file->OpenForWritingElsewhere() || file->LockedByOthers()) return {};
  return Fail(ErrorKind::kBusy, EscapeText(fmt::format(
                                    "{}: another process has it open for writing; the disk appears "
                                    "by itself when that has closed it",
                                    described.place.path)));
}

Result<LayerPtr> LayerPool::Open(const LayerFile& described, LayerRole role) {
  CHAINFS_TRY(CheckComplete(described));
  using RepairState = BackgroundRepairs::State;
  const std::optional<BackgroundRepairs::Verdict> repair = RepairVerdict(described);
  Qcow2OpenOptions options;
  if (repair) {
    if (repair->state == RepairState::kUnderWay || repair->state == RepairState::kWaiting) {
      return BeingChecked(described);
    }
    options.unrepaired = repair->reason.empty() ? "it was not closed cleanly" : repair->reason;
  }
  const bool hopeless = repair && !repair->reason.empty();
  std::string refusal;
  CHAINFS_ASSIGN(std::unique_ptr<File> file,
                 hopeless ? OpenUnwritable(described) : OpenFile(described, &refusal));
  CHAINFS_ASSIGN(const FileStat stat, file->Stat());
  if (stat.id != described.stat.id) {
    return Fail(ErrorKind::kBusy, EscapeText(fmt::format("{}: replaced while it was being opened",
                                                         described.place.path)));
  }
  bool writable = file->writable();
  if (!writable) role = LayerRole::kBacking;
  if (writable && repair && repair->state == RepairState::kUnknown) {
    CHAINFS_TRY(StartRepair(described, role, file));
    writable = false;
  }
  const bool repairs = writable && described.peek.dirty && !repair;
  const LayerRole first_role = repairs ? LayerRole::kActive : role;
  Status locked = file->SetImageLocks(LocksFor(first_role, 0));
  if (!locked && repairs && role == LayerRole::kBacking) {
    // Somebody else reads it too: then nobody repairs it. Reading needs no repair.
    writable = false;
    locked = file->SetImageLocks(LocksFor(role, 0));
  }
  CHAINFS_TRY(std::move(locked));

  LayerPtr layer(new Layer, [context = context_](Layer* closing) { CloseLayer(closing); });
  layer->path = described.place.path;
  layer->name = described.place.name;
  layer->directory = described.place.directory;
  layer->id = stat.id;
  layer->write_refusal = std::move(refusal);
  layer->owner_id = context_->metadata().NewOwner();
  options.read_only = !writable;
  options.owner = layer->owner_id;
  CHAINFS_ASSIGN(layer->image, OpenImage(std::move(file), described, options));
  if (!layer->image->writable()) role = LayerRole::kBacking;
  if (role != first_role) {
    CHAINFS_TRY(layer->image->file().SetImageLocks(LocksFor(role, 0)));
  }
  entries_[stat.id] = Entry{.layer = layer, .role = role};
  return layer;
}

Status LayerPool::CloseAll() {
  Status first;
  for (const auto& [id, entry] : entries_) {
    const LayerPtr layer = entry.layer.lock();
    if (layer == nullptr) continue;
    if (layer->image->writable()) {
      Status closed = layer->image->Close();
      if (!closed && first) {
        first = std::unexpected(WithContext(std::move(closed).error(), EscapeText(layer->path)));
      }
    }
    // Whoever comes next need not wait until the last handle is gone. Dropping cannot conflict.
    (void)layer->image->file().SetImageLocks(kNoLocks);
  }
  return first;
}

}  // namespace chainfs
