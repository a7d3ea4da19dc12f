// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/layer_pool.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/image/writable_image.h"

namespace chainfs {
namespace {

// Leaves the image cleanly closed before the file goes. Nobody is left to hear of an error; what
// mattered was flushed before the layer was let go.
void CloseLayer(Layer* layer) {
  if (layer->image != nullptr && layer->image->writable()) (void)layer->image->writer()->Close();
  delete layer;
}

std::unexpected<Error> BeingChecked(const LayerFile& file) {
  return Fail(ErrorKind::kBusy,
              EscapeText(fmt::format("{}: was not closed cleanly and is being checked; its disk "
                                     "appears by itself",
                                     file.location.path)));
}

bool CannotBeWritten(const Error& error) {
  return error.kind == ErrorKind::kPermission || error.kind == ErrorKind::kReadOnly ||
         error.sys_errno == ETXTBSY;
}

std::string RefusalOf(const std::string& path, const Error& error) {
  return EscapeText(
      fmt::format("{} cannot be written ({})", path, ::strerrordesc_np(error.sys_errno)));
}

}  // namespace

ImageLockSet LayerPool::LocksFor(LayerRole role, const Leases& leases) {
  constexpr std::array<ImageLockSet, kLeaseKinds> kLocks = {kStreamTargetLocks, kActiveLayerLocks,
                                                            kCommitMiddleLocks};
  ImageLockSet locks = role == LayerRole::kActive ? kActiveLayerLocks : kBackingLayerLocks;
  for (size_t kind = 0; kind < kLocks.size(); ++kind) {
    if (leases[kind] > 0) locks = Union(locks, kLocks[kind]);
  }
  return locks;
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

void LayerPool::RestUnlessWritten(Layer& layer, LayerRole role, const Leases& leases) {
  const auto count = [&](LeaseKind kind) { return leases[static_cast<size_t>(kind)]; };
  const bool written = role == LayerRole::kActive || count(LeaseKind::kFill) > 0 ||
                       count(LeaseKind::kCommitBase) > 0;
  if (written || !layer.image->writable()) return;
  // What it stores then is of no use to the chain; without it the layer is as after a crash.
  (void)layer.image->writer()->Rest();
}

LayerRole LayerPool::RoleOf(const LayerPtr& layer) const {
  const auto found = entries_.find(layer->id);
  return found == entries_.end() ? LayerRole::kBacking : found->second.role;
}

// Before the locks of a writer are taken: where it cannot be written, nobody need be kept out, not
// even for a moment. That it can be written does not mean that it is.
Status LayerPool::MakeWritable(Layer& layer) const {
  if (read_only_) return Fail(ErrorKind::kReadOnly, "the mount is read-only");
  WritableImage* const image = layer.image->writer();
  if (image == nullptr) return Fail(ErrorKind::kReadOnly, layer.ReadOnlyReason());
  Status made = image->MakeWritable();
  layer.SetWriteRefusal({});
  if (made) return made;
  made.error().message = EscapeText(made.error().message);
  // The image says by itself what is wrong with it.
  if (made.error().sys_errno == 0 || !CannotBeWritten(made.error())) return made;
  layer.SetWriteRefusal(RefusalOf(layer.path, made.error()));
  return Fail(ErrorKind::kReadOnly, layer.ReadOnlyReason());
}

Status LayerPool::SetRole(const LayerPtr& layer, LayerRole role) {
  Entry* entry = EntryOf(layer);
  if (entry == nullptr || entry->role == role) return {};
  if (role == LayerRole::kActive) CHAINFS_TRY(MakeWritable(*layer));
  RestUnlessWritten(*layer, role, entry->leases);
  CHAINFS_TRY(layer->image->SetImageLocks(LocksFor(role, entry->leases)));
  entry->role = role;
  return {};
}

Status LayerPool::AddLease(const LayerPtr& layer, LeaseKind kind) {
  const bool writes = kind != LeaseKind::kCommitMiddle;
  Entry* entry = EntryOf(layer);
  if (entry == nullptr) {
    return Fail(writes ? ErrorKind::kReadOnly : ErrorKind::kStale,
                EscapeText(fmt::format("{}: the layer cannot be {}: {}", layer->path,
                                       writes ? "written" : "kept from others",
                                       writes ? layer->ReadOnlyReason() : "its file has changed")));
  }
  if (writes) CHAINFS_TRY(MakeWritable(*layer));
  Leases more = entry->leases;
  ++more[static_cast<size_t>(kind)];
  CHAINFS_TRY(layer->image->SetImageLocks(LocksFor(entry->role, more)));
  entry->leases = more;
  return {};
}

void LayerPool::RemoveLease(const LayerPtr& layer, LeaseKind kind) {
  Entry* entry = EntryOf(layer);
  if (entry == nullptr || entry->leases[static_cast<size_t>(kind)] == 0) return;
  --entry->leases[static_cast<size_t>(kind)];
  RestUnlessWritten(*layer, entry->role, entry->leases);
  // Fewer locks of our own cannot conflict with what others were allowed beside more of them.
  (void)layer->image->SetImageLocks(LocksFor(entry->role, entry->leases));
}

Result<LayerPtr> LayerPool::Get(const LayerFile& file, LayerRole role) {
  LayerPtr layer = Find(file.stat.id);
  // Tables of a file that changed under it are worth nothing; whoever still has it goes on alone.
  const bool outdated = layer != nullptr && layer->image->ChangedByOthers();
  if (outdated) entries_.erase(file.stat.id);
  if (layer == nullptr || outdated) return Open(file, role);
  if (layer->image->format() != file.format) {
    return Fail(ErrorKind::kInvalidArgument,
                EscapeText(fmt::format("{}: named both {} and {}; correct the wrong one (for a "
                                       "backing file: qemu-img rebase -u -F FORMAT)",
                                       file.location.path, layer->image->format().name(),
                                       file.format.name())));
  }
  if (read_only_) role = LayerRole::kBacking;
  Status set = SetRole(layer, role);
  // Then it is shown read-only, and says why.
  const bool unwritable = !set && set.error().kind == ErrorKind::kReadOnly;
  if (unwritable) set = SetRole(layer, LayerRole::kBacking);
  CHAINFS_TRY(std::move(set));
  return layer;
}

// For reading and writing where that is possible.
Result<std::unique_ptr<File>> LayerPool::OpenFile(const LayerFile& file, std::string* refusal) {
  auto opened = file.location.directory->Open(file.location.name, OpenMode::kReadWrite);
  if (opened || !CannotBeWritten(opened.error())) return opened;
  *refusal = RefusalOf(file.location.path, opened.error());
  return OpenUnwritable(file);
}

Result<std::unique_ptr<File>> LayerPool::OpenUnwritable(const LayerFile& file) {
  return file.location.directory->Open(file.location.name, OpenMode::kReadOnly);
}

Result<std::unique_ptr<Image>> LayerPool::OpenImage(std::unique_ptr<File> file,
                                                    const LayerFile& described,
                                                    const ImageOpenOptions& options) {
  const FormatRow* const row = formats_.Find(described.format);
  if (row == nullptr) {
    return Fail(ErrorKind::kUnsupported,
                EscapeText(fmt::format("{}: has the format \"{}\"; chainfs knows {}",
                                       described.location.path, described.format.name(),
                                       formats_.Names())));
  }
  CHAINFS_ASSIGN(std::unique_ptr<Image> image,
                 row->open(std::move(file), context_->metadata(), options));
  if (image->backing() != described.peek.backing) {
    return Fail(
        ErrorKind::kInvalidFormat,
        EscapeText(fmt::format("{}: the name of its backing file changed while it was being "
                               "opened, or its header contradicts itself",
                               described.location.path)));
  }
  return image;
}

std::optional<BackgroundRepairs::Verdict> LayerPool::RepairVerdict(const LayerFile& file) const {
  if (repairs_ == nullptr || read_only_ || !file.peek.dirty) return std::nullopt;
  return repairs_->VerdictOf(file.stat);
}

std::unexpected<Error> LayerPool::StartRepair(const LayerFile& described,
                                              std::unique_ptr<File> file) {
  Status locked = file->SetImageLocks(kActiveLayerLocks);
  if (!locked) return std::unexpected(std::move(locked).error());
  (void)repairs_->Start(std::move(file), formats_.Find(described.format)->repair);
  return BeingChecked(described);
}

// Whoever copies an image into a watched directory (cp, scp, wget) takes no locks. QEMU and other
// daemons do, so those who have it open for writing beside a lock are judged by their locks.
Status LayerPool::CheckComplete(File& file) {
  if (!file.OpenForWritingElsewhere() || file.LockedByOthers()) return {};
  return Fail(ErrorKind::kBusy, EscapeText(fmt::format(
                                    "{}: another process has it open for writing; the disk appears "
                                    "by itself when that has closed it",
                                    file.path())));
}

Result<std::unique_ptr<File>> LayerPool::OpenBeside(const LayerFile& described,
                                                    const std::string& name) {
  CHAINFS_ASSIGN(std::unique_ptr<File> file,
                 described.location.directory->Open(name, OpenMode::kReadOnly));
  CHAINFS_TRY(CheckComplete(*file));
  CHAINFS_TRY(file->SetImageLocks(kBackingLayerLocks));
  return file;
}

Result<std::unique_ptr<File>> LayerPool::OpenDataFile(Layer& layer, const std::string& name,
                                                      bool for_writing, const ImageLockSet& locks) {
  CHAINFS_ASSIGN(const FileLocation location,
                 data_files_->Locate(
                     {.directory = layer.directory, .name = layer.name, .path = layer.path}, name));
  {
    CHAINFS_ASSIGN(const std::unique_ptr<File> first_look,
                   location.directory->Open(location.name, OpenMode::kReadOnly));
    CHAINFS_TRY(CheckComplete(*first_look));
  }
  auto file = location.directory->Open(location.name,
                                       for_writing ? OpenMode::kReadWrite : OpenMode::kReadOnly);
  if (!file && for_writing && CannotBeWritten(file.error())) {
    // Then the image is not written either.
    layer.SetWriteRefusal(RefusalOf(location.path, file.error()));
    file = location.directory->Open(location.name, OpenMode::kReadOnly);
  }
  if (!file) return file;
  CHAINFS_ASSIGN(const FileStat stat, (*file)->Stat());
  if (stat.id == layer.id) {
    return Fail(ErrorKind::kInvalidFormat,
                EscapeText(fmt::format("{}: names itself as its external data file", layer.path)));
  }
  CHAINFS_TRY((*file)->SetImageLocks(DataFileLocks(locks)));
  layer.data_directory = location.directory;
  return file;
}

Result<LayerPtr> LayerPool::Open(const LayerFile& described, LayerRole role) {
  {
    CHAINFS_ASSIGN(const std::unique_ptr<File> first_look, OpenUnwritable(described));
    CHAINFS_TRY(CheckComplete(*first_look));
  }
  if (read_only_) role = LayerRole::kBacking;
  using RepairState = BackgroundRepairs::State;
  const std::optional<BackgroundRepairs::Verdict> repair = RepairVerdict(described);
  ImageOpenOptions options;
  if (repair) {
    if (repair->state == RepairState::kUnderWay || repair->state == RepairState::kWaiting) {
      return BeingChecked(described);
    }
    // What cannot be repaired is not opened for writing, and says why.
    if (!repair->reason.empty()) role = LayerRole::kBacking;
    if (!repair->reason.empty()) options.unrepaired = repair->reason;
    if (role == LayerRole::kActive) options.unrepaired = "it was not closed cleanly";
  }
  std::string refusal;
  CHAINFS_ASSIGN(std::unique_ptr<File> file, role == LayerRole::kActive
                                                 ? OpenFile(described, &refusal)
                                                 : OpenUnwritable(described));
  CHAINFS_ASSIGN(const FileStat stat, file->Stat());
  if (stat.id != described.stat.id) {
    return Fail(ErrorKind::kBusy, EscapeText(fmt::format("{}: replaced while it was being opened",
                                                         described.location.path)));
  }
  if (!file->writable()) role = LayerRole::kBacking;
  if (role == LayerRole::kActive && repair && repair->state == RepairState::kUnknown) {
    return StartRepair(described, std::move(file));
  }
  CHAINFS_TRY(file->SetImageLocks(LocksFor(role, {})));

  LayerPtr layer(new Layer, [context = context_](Layer* closing) { CloseLayer(closing); });
  layer->path = described.location.path;
  layer->name = described.location.name;
  layer->directory = described.location.directory;
  layer->id = stat.id;
  layer->SetWriteRefusal(std::move(refusal));
  layer->owner_id = context_->metadata().NewOwner();
  options.read_only = role == LayerRole::kBacking;
  options.owner = layer->owner_id;
  options.open_beside = [&](const std::string& name) { return OpenBeside(described, name); };
  options.locks = LocksFor(role, {});
  if (data_files_ != nullptr) {
    options.open_data_file = [&](const std::string& name) {
      return OpenDataFile(*layer, name, !options.read_only, options.locks);
    };
  }
  CHAINFS_ASSIGN(layer->image, OpenImage(std::move(file), described, options));
  if (role == LayerRole::kActive && !layer->image->writable()) {
    role = LayerRole::kBacking;
    // Fewer locks cannot conflict.
    CHAINFS_TRY(layer->image->SetImageLocks(LocksFor(role, {})));
  }
  entries_[stat.id] = Entry{.layer = layer, .role = role};
  return layer;
}

ImageHolder LayerPool::HolderOf(const LayerFile& file) {
  const auto opened = file.location.directory->Open(file.location.name, OpenMode::kReadOnly);
  return opened ? (*opened)->HeldElsewhere() : ImageHolder::kNobody;
}

void LayerPool::AnnounceEnd() {
  for (const auto& [id, entry] : entries_) {
    const LayerPtr layer = entry.layer.lock();
    if (layer == nullptr) continue;
    for (File* const file : layer->image->HostFiles()) file->AnnounceEndOfLocks();
  }
}

void LayerPool::Prune() {
  std::erase_if(entries_, [](const auto& item) { return item.second.layer.expired(); });
}

Status LayerPool::CloseAll() {
  Status first;
  for (const auto& [id, entry] : entries_) {
    const LayerPtr layer = entry.layer.lock();
    if (layer == nullptr) continue;
    if (layer->image->writable()) {
      Status closed = layer->image->writer()->Close();
      if (!closed && first) {
        first = std::unexpected(WithContext(std::move(closed).error(), EscapeText(layer->path)));
      }
    }
    // Whoever comes next need not wait until the last handle is gone. Dropping cannot conflict.
    (void)layer->image->SetImageLocks(kNoLocks);
  }
  return first;
}

}  // namespace chainfs
