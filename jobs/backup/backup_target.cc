// SPDX-License-Identifier: Apache-2.0
#include "jobs/backup/backup_target.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs::jobs {
namespace {

// What it holds is a guest's; who else may read it, its owner decides.
constexpr mode_t kTargetPermissions = 0600;

bool IsThere(Directory& directory, const std::string& name) {
  return directory.StatAt(name).has_value();
}

}  // namespace

BackupTarget::BackupTarget(const BackupTargetPlan& plan, std::string partial)
    : plan_(plan),
      format_(*FormatRegistry::BuiltIn().Find(plan.format)),
      directory_(plan.place.location.directory),
      name_(plan.place.location.name),
      partial_(std::move(partial)) {}

Result<std::unique_ptr<BackupTarget>> BackupTarget::Open(MetadataCache& cache,
                                                         const BackupTargetPlan& plan,
                                                         const std::string& id, uint64_t size,
                                                         Begun begun, const MadeTarget& made) {
  CHAINFS_ASSIGN(std::string name, PartialNameOf(plan.place.location.path, id));
  std::unique_ptr<BackupTarget> target(new BackupTarget(plan, std::move(name)));
  const bool partial = IsThere(*target->directory_, target->partial_);
  if (partial && begun == Begun::kNo) {
    return Fail(
        ErrorKind::kExists,
        EscapeText(fmt::format("{}: is left of a backup that was called {}, too; remove it, "
                               "or take another id=",
                               target->partial_path(), id)));
  }
  if (begun != Begun::kNo && !partial && IsThere(*target->directory_, target->name_)) {
    // The disk may have another size by now, once the point is gone.
    const bool sized = begun == Begun::kGoOn;
    CHAINFS_TRY(target->CheckComplete(cache, sized ? std::optional(size) : std::nullopt, made));
    // Whoever renamed it may have died before that was durable.
    CHAINFS_TRY(target->directory_->Sync());
    target->complete_ = true;
    return target;
  }
  if (partial) CHAINFS_TRY(target->CheckOwn(made));
  const bool empty = made.file && made.file->inode == 0;
  if (begun == Begun::kGoOn && partial && !empty) {
    CHAINFS_ASSIGN(const bool there, target->GoOn(cache, size));
    if (there) return target;
  }
  // Or a crash would leave a record that does not mean the new one.
  if (made.file && !empty) CHAINFS_TRY(made.forget());
  if (partial) CHAINFS_TRY(target->RemovePartial());
  CHAINFS_TRY(target->Make(cache, size));
  return target;
}

Result<std::unique_ptr<Image>> BackupTarget::OpenImage(MetadataCache& cache,
                                                       std::unique_ptr<File> file) const {
  return format_.open(std::move(file), cache, {.read_only = false, .owner = cache.NewOwner()});
}

Status BackupTarget::CheckOpened(const Image& image, uint64_t size) const {
  if (image.virtual_size() == size && image.backing() == plan_.place.backing) return {};
  return Fail(ErrorKind::kInvalidFormat, "is of another size, or built on something else");
}

Result<bool> BackupTarget::GoOn(MetadataCache& cache, uint64_t size) {
  CHAINFS_ASSIGN(std::unique_ptr<File> file, directory_->Open(partial_, OpenMode::kReadWrite));
  CHAINFS_ASSIGN(const FileStat stat, file->Stat());
  CHAINFS_TRY(file->SetImageLocks(kActiveLayerLocks));
  Result<std::unique_ptr<Image>> image = OpenImage(cache, std::move(file));
  if (!image && image.error().kind == ErrorKind::kIo) return std::unexpected(image.error());
  // One that was not made whole holds nothing.
  if (!image || !(*image)->writable() || !CheckOpened(**image, size)) return false;
  image_ = *std::move(image);
  id_ = stat.id;
  file_ = RecordedFileOf(stat.id, image_->file());
  return true;
}

Status BackupTarget::CheckOwn(const MadeTarget& made) const {
  if (!made.file || made.file->inode == 0) return {};
  CHAINFS_ASSIGN(const std::unique_ptr<File> file, directory_->Open(partial_, OpenMode::kReadOnly));
  CHAINFS_ASSIGN(const RecordedFile there, RecordedFileOf(*file));
  if (made.file->Means(there)) return {};
  return Fail(ErrorKind::kStale,
              EscapeText(fmt::format("{}: is another file than the one that this backup has begun "
                                     "to fill; put that back, or cancel the backup and start it "
                                     "again",
                                     partial_path())));
}

Status BackupTarget::CheckComplete(MetadataCache& cache, std::optional<uint64_t> size,
                                   const MadeTarget& made) const {
  CHAINFS_ASSIGN(std::unique_ptr<File> file, directory_->Open(name_, OpenMode::kReadOnly));
  CHAINFS_ASSIGN(const RecordedFile there, RecordedFileOf(*file));
  const Result<std::unique_ptr<Image>> image =
      format_.open(std::move(file), cache, {.read_only = true, .owner = cache.NewOwner()});
  Status checked = image ? CheckOpened(**image, size.value_or((*image)->virtual_size()))
                         : std::unexpected(image.error());
  if (checked && made.file && !made.file->Means(there)) {
    checked = Fail(ErrorKind::kExists, "is another file");
  }
  if (checked) return {};
  return Fail(ErrorKind::kExists,
              EscapeText(fmt::format("{}: is not what this backup has made ({}); move it away, or "
                                     "cancel the job",
                                     plan_.place.location.path, checked.error().message)));
}

Status BackupTarget::Make(MetadataCache& cache, uint64_t size) {
  CHAINFS_ASSIGN(std::unique_ptr<File> file,
                 format_.create(*directory_, partial_,
                                ImageCreateOptions{.virtual_size = size,
                                                   .cluster_bits = plan_.cluster_bits,
                                                   .lazy_refcounts = false,
                                                   .subclusters = plan_.subclusters,
                                                   .compression = plan_.compression,
                                                   .backing = plan_.place.backing,
                                                   .permissions = kTargetPermissions}));
  const Result<FileStat> stat = file->Stat();
  if (!stat) {
    // Nobody else would know later that it is ours.
    (void)directory_->Remove(partial_);
    return std::unexpected(stat.error());
  }
  id_ = stat->id;
  file_ = RecordedFileOf(stat->id, *file);
  const Status made = [&]() -> Status {
    CHAINFS_TRY(file->SetImageLocks(kActiveLayerLocks));
    CHAINFS_ASSIGN(image_, OpenImage(cache, std::move(file)));
    return {};
  }();
  if (!made) Discard();
  return made;
}

Status BackupTarget::RemovePartial() {
  CHAINFS_ASSIGN(const std::unique_ptr<File> file,
                 directory_->Open(partial_, OpenMode::kReadWrite));
  CHAINFS_ASSIGN(const FileStat stat, file->Stat());
  // Nobody else fills it.
  CHAINFS_TRY(file->SetImageLocks(kActiveLayerLocks));
  CHAINFS_TRY(directory_->RemoveFile(partial_, stat.id));
  return directory_->Sync();
}

Status BackupTarget::Complete() {
  if (image_ != nullptr) {
    CHAINFS_TRY(image().Close());
    image_.reset();
  }
  if (!renamed_) {
    CHAINFS_ASSIGN(const FileStat stat, directory_->StatAt(partial_));
    if (stat.id != id_) {
      return Fail(ErrorKind::kStale,
                  EscapeText(fmt::format("{}: is another file by now; cancel the "
                                         "backup and start it again",
                                         partial_path())));
    }
    const Status renamed = directory_->RenameNew(partial_, name_);
    if (!renamed && renamed.error().kind == ErrorKind::kExists) {
      return Fail(ErrorKind::kExists,
                  EscapeText(fmt::format("{}: something has that name by now, so the backup, which "
                                         "is complete, cannot have it; move it away",
                                         plan_.place.location.path)));
    }
    CHAINFS_TRY(renamed);
    renamed_ = true;
  }
  CHAINFS_TRY(directory_->Sync());
  complete_ = true;
  return {};
}

void BackupTarget::Discard() {
  if (renamed_ || complete_ || id_ == FileId{}) return;
  image_.reset();
  if (directory_->RemoveFile(partial_, id_)) (void)directory_->Sync();
}

}  // namespace chainfs::jobs
