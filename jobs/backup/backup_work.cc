// SPDX-License-Identifier: Apache-2.0
#include "jobs/backup/backup_work.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "blocklayer/catalog/name_rules.h"
#include "jobs/copy/compress_key.h"
#include "jobs/copy/overwrite_sink.h"
#include "jobs/copy/populate_sink.h"

namespace chainfs::jobs {
namespace {

// Whoever is built on the point is looked for that seldom, in askings whether the end may come.
constexpr int kAskingsBetweenLooks = 10;

std::string StageName(BackupStage stage) {
  switch (stage) {
    case BackupStage::kCopying:
      return "copying";
    case BackupStage::kCompleting:
      return "completing";
    case BackupStage::kHeld:
    case BackupStage::kWithdrawing:
      return "held";
    case BackupStage::kMergingBack:
      return "merging back";
    case BackupStage::kOver:
      break;
  }
  return "over";
}

std::unique_ptr<CopySink> SinkOf(WritableImage& image,
                                 std::optional<ImageCompression> compression) {
  // In a raw image everything is allocated.
  if (image.format() == ImageFormat::kRaw) return std::make_unique<OverwriteSink>(image, nullptr);
  return WithCompression(std::make_unique<PopulateSink>(image), image, compression);
}

}  // namespace

BackupWork::BackupWork(Catalog& catalog, DiskPtr disk, BackupPlan plan, std::string id,
                       BackupOrigin origin)
    : catalog_(catalog),
      disk_(std::move(disk)),
      plan_(std::move(plan)),
      id_(std::move(id)),
      origin_(origin) {}

// ---- The beginning.

// Before the record of the job is made, so one that is taken up without it has come to its end.
Status BackupWork::Prepare() {
  return plan_.target && origin_ == BackupOrigin::kCommand ? RecordTarget({}) : Status();
}

// Earlier versions wrote the inode number alone.
Status BackupWork::RecordTarget(const RecordedFile& target) {
  return catalog_.records().Write(*disk_, fmt::format("{}{}", kTargetRecordPrefix, id_),
                                  fmt::format("{} {}\n", target.inode, target.born));
}

Result<std::optional<RecordedFile>> BackupWork::RecordedTarget() const {
  const std::string name = fmt::format("{}{}", kTargetRecordPrefix, id_);
  std::vector<Error> distrusted;
  CHAINFS_ASSIGN(const std::vector<RecordStore::Record> records,
                 catalog_.records().ReadAll(name, &distrusted));
  const auto record = std::ranges::find(records, name, &RecordStore::Record::name);
  if (record == records.end() && distrusted.empty()) return std::nullopt;
  RecordedFile target;
  if (record == records.end()) return target;
  const std::string& text = record->contents;
  const char* const end = text.data() + text.size();
  const char* const blank = std::from_chars(text.data(), end, target.inode).ptr;
  if (blank != end && *blank == ' ') std::from_chars(blank + 1, end, target.born);
  return target;
}

Status BackupWork::BeginTarget(uint64_t size) {
  if (!plan_.target) return {};
  // Unless it is undone, the point is merged into only once the target is whole. From then on there
  // is nothing to copy, and what the point shows must not be copied, wherever the target has gone.
  if (merging_begun_ && origin_ != BackupOrigin::kRecordToUndo) return {};
  using Begun = BackupTarget::Begun;
  const Begun begun = origin_ == BackupOrigin::kCommand ? Begun::kNo
                      : point_                          ? Begun::kGoOn
                                                        : Begun::kAnew;
  MadeTarget made{.file = {}, .forget = [this] { return RecordTarget({}); }};
  CHAINFS_ASSIGN(made.file, RecordedTarget());
  CHAINFS_ASSIGN(target_, BackupTarget::Open(catalog_.context().metadata(), *plan_.target, id_,
                                             size, begun, made));
  if (target_->complete()) return {};
  Status recorded = RecordTarget(target_->file());
  if (!recorded && origin_ == BackupOrigin::kCommand) target_->Discard();
  return recorded;
}

Status BackupWork::BeginPoint() {
  if (!point_ && !disk_->read_only()) {
    CHAINFS_TRY(CheckOverlayName());
    CHAINFS_ASSIGN(point_,
                   catalog_.moves().FreezeFor(
                       disk_, {.id = id_, .target = plan_.overlay, .anywhere = plan_.anywhere}));
  }
  if (!point_) return {};
  merge_ = std::make_unique<MergeBack>(catalog_, disk_, *point_, id_, plan_.anywhere);
  if (origin_ == BackupOrigin::kCommand && point_->frozen != plan_.point.front()) {
    // What is selected was told by the layer that was active then.
    return Fail(ErrorKind::kStale,
                EscapeText(fmt::format("{}: its active layer has changed meanwhile; try again",
                                       disk_->name())));
  }
  if (const DiskPtr view = MergeBack::ViewOf(catalog_, *point_)) {
    view_ = view;
    view_name_ = view->name();
  }
  // What it shows is no point in time any more.
  if (const std::shared_ptr<Disk> view = view_.lock(); view != nullptr && merging_begun_) {
    (void)view->access().CloseToReaders();
  }
  return {};
}

Status BackupWork::BeginStages() {
  Layers layers = disk_->chain()->AllLayers();
  if (point_) layers.erase(layers.begin());
  const uint64_t size = layers.front()->image->virtual_size();
  if (target_ != nullptr && !target_->complete() && target_->image().virtual_size() != size) {
    // It has grown between the two.
    target_->Discard();
    CHAINFS_TRY(BeginTarget(size));
  }
  const bool copies = target_ != nullptr && !target_->complete();
  source_ = std::make_unique<BackupSource>(target_ != nullptr ? size : 0);
  if (!copies) {
    source_->SkipTo(BackupStage::kHeld);
    return {};
  }
  CHAINFS_ASSIGN(std::shared_ptr<const LayerStack> stack,
                 LayerStack::Make(std::move(layers), catalog_.context()));
  copying_ = std::make_unique<Copying>(
      std::move(stack), SinkOf(target_->image(), plan_.target->compression), plan_.selection());
  return {};
}

Status BackupWork::BeginWithoutPoint() {
  CHAINFS_ASSIGN(point_, catalog_.moves().FrozenFor(disk_, id_));
  if (point_) {
    CHAINFS_ASSIGN(merging_begun_, catalog_.moves().Changing(*point_->frozen));
  }
  return BeginTarget(point_ ? point_->frozen->image->virtual_size() : disk_->size());
}

Status BackupWork::Arrange() {
  CHAINFS_TRY(CheckOverlayName());
  CHAINFS_TRY(BeginWithoutPoint());
  arranged_ = true;
  return {};
}

// Somebody else has held it since.
Status BackupWork::FindHeldPoint() {
  CHAINFS_ASSIGN(point_, catalog_.moves().FrozenFor(disk_, id_));
  if (point_) return {};
  return Fail(ErrorKind::kStale,
              fmt::format("no point in time of {} is held for {}", disk_->name(), id_));
}

Status BackupWork::CheckOverlayName() const {
  if (!plan_.overlay.empty()) return {};
  return CheckOverlay(catalog_, disk_, plan_, OverlayNameFor(*disk_, id_), true);
}

Status BackupWork::Begin() {
  Status begun = arranged_ ? FindHeldPoint() : BeginWithoutPoint();
  if (origin_ == BackupOrigin::kRecordToUndo) {
    // A target that is not there any more need not be removed.
    source_ = std::make_unique<BackupSource>(0);
    source_->SkipTo(BackupStage::kOver);
    begun = point_ ? BeginPoint() : Status();
    begun_ = begun.has_value();
    return begun;
  }
  CHAINFS_TRY(begun);
  if (IsOverAlready()) {
    over_ = true;
    source_ = std::make_unique<BackupSource>(0);
    source_->SkipTo(BackupStage::kOver);
    begun = catalog_.moves().UnmarkChanging({disk_->chain()->active});
    begun_ = begun.has_value();
    return begun;
  }
  begun = BeginPoint();
  if (begun) begun = BeginStages();
  begun_ = begun.has_value();
  if (begun || arranged_ || origin_ != BackupOrigin::kCommand) return begun;
  const Status undone = Undo([] { return false; });
  if (!undone) spdlog::error("job {} of {}: {}", id_, disk_->name(), undone.error().message);
  return begun;
}

// ---- Figures.

uint64_t BackupWork::unit() const {
  return plan_.target ? std::max<uint64_t>(uint64_t{1} << plan_.target->cluster_bits, 4096) : 65536;
}

uint64_t BackupWork::chunk_size() const { return std::max(kLargestCopy, unit()); }

JobFacts BackupWork::Facts() const {
  JobFacts facts;
  if (plan_.target) {
    facts.emplace_back("target", plan_.target->place.location.path);
    facts.emplace_back("format", std::string(plan_.target->format.name()));
    facts.emplace_back("sync", std::string(BackupSyncName(plan_.sync)));
  }
  if (plan_.sync == BackupSync::kSince) facts.emplace_back("since", plan_.backing->path);
  facts.emplace_back("then", std::string(plan_.hold ? "hold" : "drop"));
  const BackupStage stage = source_ == nullptr ? BackupStage::kOver : source_->stage();
  const bool shown = stage != BackupStage::kMergingBack && stage != BackupStage::kOver;
  if (shown && !view_name_.empty()) facts.emplace_back("frozen", view_name_);
  facts.emplace_back("stage", StageName(stage));
  return facts;
}

// ---- Chunks.

ChunkResult BackupWork::Process(uint64_t offset, uint64_t length) {
  switch (source_->stage()) {
    case BackupStage::kCopying:
      return Copy(offset, length);
    case BackupStage::kCompleting:
      return CompleteTarget();
    case BackupStage::kWithdrawing:
      return Withdraw();
    case BackupStage::kMergingBack:
      return merge_->Process(offset, length);
    case BackupStage::kHeld:
    case BackupStage::kOver:
      break;
  }
  return 0;
}

ChunkResult BackupWork::Copy(uint64_t offset, uint64_t length) {
  const uint64_t end = std::min(RoundUp(offset + length, copying_->sink->cluster_size()),
                                target_->image().virtual_size());
  ChunkResult copied = copying_->ranges.Process(offset, end - offset);
  const MutexLock lock(mu_);
  if (copied) {
    failed_.erase(offset);
  } else {
    failed_.insert(offset);
  }
  return copied;
}

ChunkResult BackupWork::CompleteTarget() {
  {
    const MutexLock lock(mu_);
    // The job ends with the error that was ignored, or else in Settle; nobody is to take the target
    // for a backup.
    if (!failed_.empty()) return 0;
  }
  const auto complete = [this]() -> Status {
    CHAINFS_TRY(target_->image().Flush());
    copying_.reset();
    return target_->Complete();
  };
  Status completed = complete();
  if (!completed) return std::unexpected(ChunkFailure{std::move(completed).error(), true});
  source_->Completed();
  return 0;
}

// Somebody may have come to look since it was asked.
ChunkResult BackupWork::Withdraw() {
  copying_.reset();
  LetGoOfView();
  Status begun = merge_->Begin();
  if (begun) {
    source_->MergeBack(merge_->source(), merge_->unit());
    return 0;
  }
  if (begun.error().kind != ErrorKind::kBusy) {
    return std::unexpected(ChunkFailure{std::move(begun).error(), true});
  }
  source_->HoldOn();
  const MutexLock lock(mu_);
  reason_ = std::move(begun).error();
  asked_ = 0;
  return 0;
}

std::optional<Error> BackupWork::EndMustWait() const {
  if (source_->stage() != BackupStage::kHeld || !point_) return std::nullopt;
  if (const std::shared_ptr<Disk> view = view_.lock()) {
    {
      const MutexLock lock(mu_);
      looked_at_ = view;
    }
    if (std::optional<Error> watched = MergeBack::Watched(*view)) return watched;
  }
  {
    const MutexLock lock(mu_);
    if (reason_ && ++asked_ < kAskingsBetweenLooks) return reason_;
    reason_.reset();
  }
  source_->Withdraw();
  return std::nullopt;
}

// ---- The end.

Status BackupWork::Settle() {
  const BackupStage stage = source_->stage();
  if (stage == BackupStage::kMergingBack) return merge_->Settle();
  if (stage == BackupStage::kOver) {
    const MutexLock lock(mu_);
    if (!failed_.empty()) return Fail(ErrorKind::kIo, "not all of the disk could be copied");
  }
  if (stage == BackupStage::kCopying && target_ != nullptr && !target_->complete()) {
    return target_->image().Flush();
  }
  return {};
}

Status BackupWork::Pivot() {
  if (source_->stage() != BackupStage::kMergingBack) return {};
  source_->Over();
  CHAINFS_ASSIGN(left_out_, merge_->Finish());
  return {};
}

Status BackupWork::Undo(const std::function<bool()>& stop) {
  if (source_ != nullptr) source_->Over();
  copying_.reset();
  if (target_ != nullptr) target_->Discard();
  LetGoOfView();
  Status undone;
  if (point_) {
    undone = merge_->Run(stop);
  } else if (origin_ != BackupOrigin::kCommand) {
    // An earlier daemon may have got as far as that.
    undone = catalog_.moves().UnmarkChanging({disk_->chain()->active});
  }
  undone_ = undone.has_value();
  return undone;
}

void BackupWork::LetGoOfView() {
  std::shared_ptr<Disk> view;
  const MutexLock lock(mu_);
  std::swap(view, looked_at_);
}

void BackupWork::Release() {
  if (source_ != nullptr) source_->Over();
  copying_.reset();
  LetGoOfView();
  if (merge_ != nullptr) merge_->Release();
  // One that could not be taken up is tried again.
  const bool recorded = arranged_ || origin_ != BackupOrigin::kCommand;
  if (!plan_.target || (recorded && !begun_ && !undone_)) return;
  const Status removed =
      catalog_.records().Remove(*disk_, fmt::format("{}{}", kTargetRecordPrefix, id_));
  if (!removed) spdlog::warn("job {} of {}: {}", id_, disk_->name(), removed.error().message);
}

}  // namespace chainfs::jobs
