// SPDX-License-Identifier: Apache-2.0
//
// BackupTarget: the image that a backup fills. It has a partial name, ".NAME.ID.part" beside its
// place, until it is complete: then it is made durable, closed, and gets its name by one rename
// that replaces nothing. So whatever has the name is a whole backup.
//
// Nothing shows an image whose name begins with a dot. Its locks are those of an image that is
// written.
//
// Threads: image() as WritableImage; the rest from one at a time.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/formats/registry/format_registry.h"
#include "blocklayer/io/recorded_file.h"
#include "jobs/backup/backup_plan.h"

namespace chainfs::jobs {

// What is known of what an earlier daemon has made for the job.
struct MadeTarget {
  // Inode number 0: nothing that anything was copied to. Nothing: that is not known.
  std::optional<RecordedFile> file = {};
  // Called before another one is made: `file` is not it any more, durably.
  std::function<Status()> forget = {};
};

class BackupTarget {
 public:
  enum class Begun : uint8_t {
    kNo,    // there must be nothing of the partial name
    kGoOn,  // by an earlier daemon: what is there is gone on with, or the target is complete
    kAnew,  // the same, but a partial image is of another point, and removed
  };
  // An image of `size` bytes for the job `id`. `cache` outlives it. Where `made` tells which file
  // it is, no other one is gone on with, or counts as complete. kExists, kStale (a partial image of
  // somebody else's), kInvalidArgument (too long a name); else what making and opening says.
  static Result<std::unique_ptr<BackupTarget>> Open(MetadataCache& cache,
                                                    const BackupTargetPlan& plan,
                                                    const std::string& id, uint64_t size,
                                                    Begun begun, const MadeTarget& made = {});
  // Leaves what is there as it is.
  ~BackupTarget() = default;
  BackupTarget(const BackupTarget&) = delete;
  BackupTarget& operator=(const BackupTarget&) = delete;

  // It has its name, durably.
  bool complete() const { return complete_; }
  // Until it is complete: which file it is.
  const RecordedFile& file() const { return file_; }
  // Until it is complete.
  WritableImage& image() { return *image_->writer(); }
  // Gives it its name. kExists when something has that by now. May be tried again.
  Status Complete();
  // Removes the partial image, if it still is the one.
  void Discard();

 private:
  BackupTarget(const BackupTargetPlan& plan, std::string partial);

  // Whether there was one to go on with.
  Result<bool> GoOn(MetadataCache& cache, uint64_t size);
  // The partial image is the one that was made, as far as that is known.
  Status CheckOwn(const MadeTarget& made) const;
  // What has the name is what this backup would have made; `size` in bytes, where it is known.
  Status CheckComplete(MetadataCache& cache, std::optional<uint64_t> size,
                       const MadeTarget& made) const;
  Status Make(MetadataCache& cache, uint64_t size);
  Result<std::unique_ptr<Image>> OpenImage(MetadataCache& cache, std::unique_ptr<File> file) const;
  Status CheckOpened(const Image& image, uint64_t size) const;
  Status RemovePartial();
  std::string partial_path() const { return JoinPath(directory_->path(), partial_); }

  const BackupTargetPlan plan_;
  const FormatRow& format_;
  const std::shared_ptr<Directory> directory_;
  const std::string name_;
  const std::string partial_;
  std::unique_ptr<Image> image_;  // null once it is closed
  FileId id_;
  RecordedFile file_;
  bool renamed_ = false;
  bool complete_ = false;
};

}  // namespace chainfs::jobs
