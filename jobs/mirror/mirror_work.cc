// SPDX-License-Identifier: Apache-2.0
#include "jobs/mirror/mirror_work.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "blocklayer/base/sync_point.h"
#include "blocklayer/catalog/name_rules.h"
#include "jobs/mirror/mirror_log.h"
#include "jobs/mirror/mirror_target.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kMirrorChunk = 1 << 20;
constexpr std::chrono::seconds kBetweenSweeps{5};

using MirrorClock = std::chrono::steady_clock;

}  // namespace

MirrorWork::MirrorWork(Catalog& catalog, MirrorPlan plan, std::string id)
    : catalog_(catalog),
      plan_(std::move(plan)),
      id_(std::move(id)),
      size_(plan_.disk->size()),
      end_(plan_.end),
      done_(plan_.done),
      dirty_(std::make_shared<DirtySet>(0, 1)) {}

MirrorWork::~MirrorWork() {
  if (tapped_) plan_.disk->RemoveTap(*tap_);
  if (!ended_) return;
  // Only now the record is gone, whose job would look for it.
  const Status removed = RemoveLog(catalog_.records(), *plan_.disk, id_);
  if (!removed) spdlog::warn("job {}: {}", id_, removed.error().message);
}

uint64_t MirrorWork::chunk_size() const { return std::max(kMirrorChunk, unit()); }

JobFacts MirrorWork::Facts() const {
  JobFacts facts;
  facts.emplace_back("target", plan_.target);
  facts.emplace_back("sync", std::string(MirrorSyncName(plan_.sync)));
  facts.emplace_back("then", std::string(MirrorEndName(end_)));
  if (tap_ == nullptr) return facts;
  const uint64_t left = dirty_->left();
  const CopyMode mode = tap_->mode();
  facts.emplace_back("copy-mode", std::string(CopyModeName(mode)));
  facts.emplace_back("actively-synced", left == 0 && mode == CopyMode::kWriteBlocking);
  facts.emplace_back("dirty-bytes", left);
  facts.emplace_back("converges", !convergence_.lags());
  return facts;
}

// ---- Verbs.

Status MirrorWork::Complete(const verbs::Arguments& arguments) {
  CHAINFS_ASSIGN(const MirrorEnd end, MirrorEndOf(arguments, MirrorEnd::kPivot));
  if (end == MirrorEnd::kHold) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{} is held already; complete it with then=pivot or then=keep", id_));
  }
  if (end == MirrorEnd::kKeep && plan_.sync == MirrorSync::kNone) {
    return Fail(
        ErrorKind::kInvalidArgument,
        fmt::format("{}: the target is built on a layer that goes on changing, so it cannot "
                    "be kept; complete with then=pivot, or cancel",
                    id_));
  }
  if (end == MirrorEnd::kPivot && plan_.disk->read_only()) {
    return Fail(ErrorKind::kReadOnly,
                EscapeText(fmt::format("{} is read-only: {}; complete with then=keep",
                                       plan_.disk->name(), plan_.disk->ReadOnlyReason())));
  }
  end_ = end;
  return {};
}

Status MirrorWork::Change(const verbs::Arguments& arguments) {
  if (!arguments.Has("copy-mode")) {
    return Fail(ErrorKind::kInvalidArgument,
                "of a mirror, copy-mode= and priority= can be changed");
  }
  CHAINFS_ASSIGN(const CopyMode mode, CopyModeOf(arguments, CopyMode::kBackground));
  if (tap_) tap_->SetMode(mode);
  return {};
}

// ---- The beginning.

Status MirrorWork::Begin() {
  if (done_) return {};
  const bool there = plan_.found && plan_.found->state != IntentHeader::State::kMaking;
  return there ? BeginAgain(*plan_.found) : BeginNew();
}

void MirrorWork::MakeCopy() {
  made_ = made_ || !plan_.existing;
  copy_ = std::make_shared<MirrorCopy>(plan_.disk, catalog_.context(), target_->layers(),
                                       plan_.sync == MirrorSync::kTop && !plan_.existing,
                                       plan_.compression);
  dirty_ = std::make_shared<DirtySet>(size_, copy_->unit());
}

Status MirrorWork::BeginNew() {
  IntentHeader header = plan_.found.value_or(IntentHeader{});
  header.size = size_;
  header.region = IntentRegionSize(size_, 1);
  header.made = !plan_.existing;
  RecordStore& store = catalog_.records();
  if (plan_.existing) {
    CHAINFS_ASSIGN(target_, OpenTarget(catalog_, plan_, id_, header));
  } else {
    // So that whoever comes next knows that what is there may be the job's.
    CHAINFS_TRY(MakeLog(store, *plan_.disk, id_, header, IntentLog::Bits::kAllSet));
    Result<TargetImagePtr> made = MakeTarget(catalog_, plan_, id_);
    if (!made && !plan_.taken_up) (void)RemoveLog(store, *plan_.disk, id_);
    CHAINFS_ASSIGN(target_, std::move(made));
  }
  Status begun = [&]() -> Status {
    MakeCopy();
    header.state = IntentHeader::State::kAllDiffer;
    NoteTarget(*target_, header);
    header.region = IntentRegionSize(size_, copy_->unit());
    const bool nothing = plan_.sync == MirrorSync::kNone;
    CHAINFS_ASSIGN(log_, MakeLog(store, *plan_.disk, id_, header,
                                 nothing ? IntentLog::Bits::kNoneSet : IntentLog::Bits::kAllSet));
    return Follow(header);
  }();
  if (begun) return {};
  TakeDown();
  // Taken up, it is tried again, and finds both.
  if (plan_.taken_up) return begun;
  (void)(plan_.existing ? target_->Finish() : target_->Remove());
  (void)RemoveLog(store, *plan_.disk, id_);
  return begun;
}

Status MirrorWork::BeginAgain(const IntentHeader& found) {
  made_ = found.made;
  CHAINFS_ASSIGN(target_, OpenTarget(catalog_, plan_, id_, found));
  if (found.state == IntentHeader::State::kKept) {
    done_ = true;
    return {};
  }
  MakeCopy();
  const bool fits = found.size == size_ && found.region >= copy_->unit();
  const bool counts = fits && found.state == IntentHeader::State::kMarked;
  RecordStore& store = catalog_.records();
  IntentHeader header = found;
  header.state = IntentHeader::State::kAllDiffer;
  if (fits) {
    CHAINFS_ASSIGN(log_, ReopenLog(store, *plan_.disk, id_,
                                   counts ? IntentLog::Bits::kCount : IntentLog::Bits::kAllSet));
  } else {
    header.size = size_;
    header.region = IntentRegionSize(size_, copy_->unit());
    CHAINFS_ASSIGN(log_, MakeLog(store, *plan_.disk, id_, header, IntentLog::Bits::kAllSet));
  }
  Status followed = Follow(header);
  if (!followed) TakeDown();
  return followed;
}

Status MirrorWork::Follow(const IntentHeader& header) {
  swept_ = MirrorClock::now().time_since_epoch().count();
  tap_ = std::make_shared<MirrorTap>(id_, size_, dirty_, copy_, plan_.mode);
  intent_tap_ = std::make_shared<IntentTap>(log_);
  tapped_ = true;
  plan_.disk->AddTap(tap_);
  plan_.disk->AddTap(intent_tap_);
  CHAINFS_SYNC_POINT("MirrorWork.Follow.tapped");
  if (plan_.disk->size() != size_) {
    return Fail(ErrorKind::kBusy,
                EscapeText(fmt::format("{}: was resized meanwhile", plan_.disk->name())));
  }
  // What was written before the taps were there, in this daemon, no mark tells of.
  if (plan_.found && plan_.disk->changed()) log_->MarkAll();
  IntentHeader marked = header;
  marked.state = IntentHeader::State::kMarked;
  CHAINFS_TRY(log_->WriteHeader(marked));
  for (const ChunkRange& run : log_->Marked()) dirty_->Mark(run.offset, run.length);
  return {};
}

// ---- Chunks.

ChunkResult MirrorWork::Process(uint64_t offset, uint64_t length) {
  ChunkResult done = copy_->Copy(offset, length, !copied_once_);
  if (!done) {
    // It may be given up, and then nobody copies it.
    log_->Hold(offset, length);
    return done;
  }
  if (convergence_.Look(MirrorClock::now(), dirty_->left())) {
    spdlog::warn(
        "job {} of disk {}: guests write faster than the target takes it; \"change\" it to "
        "copy-mode=write-blocking to have it catch up",
        id_, plan_.disk->name());
  }
  SweepNowAndThen();
  return done;
}

Status MirrorWork::Sweep() {
  const MutexLock lock(sweep_mu_);
  swept_ = MirrorClock::now().time_since_epoch().count();
  const auto copied = [this](uint64_t offset, uint64_t length) {
    return dirty_->IsClean(offset, length);
  };
  const std::vector<uint64_t> regions = log_->BeginSweep(copied);
  CHAINFS_SYNC_POINT("MirrorWork.Sweep.begun");
  CHAINFS_TRY(copy_->Flush());
  if (regions.empty()) return {};
  CHAINFS_TRY(plan_.disk->Flush());
  return log_->EndSweep(regions);
}

void MirrorWork::SweepNowAndThen() {
  const MirrorClock::duration last(swept_.load());
  const MirrorClock::duration now = MirrorClock::now().time_since_epoch();
  MirrorClock::rep expected = last.count();
  if (now - last < kBetweenSweeps || !swept_.compare_exchange_strong(expected, now.count())) return;
  const Status swept = Sweep();
  if (!swept) spdlog::warn("job {}: its log keeps its marks: {}", id_, swept.error().message);
}

Status MirrorWork::Settle() {
  if (dirty_->left() == 0) copied_once_ = true;
  return copy_ && log_ ? Sweep() : Status();
}

// ---- The end.

Status MirrorWork::CopyTheRest() {
  while (const std::optional<ChunkRange> chunk = dirty_->Take(chunk_size())) {
    const ChunkResult done = copy_->Copy(chunk->offset, chunk->length);
    dirty_->Finished(*chunk);
    if (done) continue;
    dirty_->Mark(chunk->offset, chunk->length);
    return std::unexpected(done.error().error);
  }
  return {};
}

Status MirrorWork::Pivot() {
  if (done_) return {};
  // From here on what is left only becomes less.
  tap_->SetMode(CopyMode::kWriteBlocking);
  CHAINFS_TRY(CopyTheRest());
  CHAINFS_TRY(copy_->Flush());
  CHAINFS_TRY(end_ == MirrorEnd::kKeep ? KeepTarget() : PivotToTarget());
  done_ = true;
  return {};
}

Status MirrorWork::PivotToTarget() {
  const auto last_round = [this]() -> Status {
    CHAINFS_TRY(CopyTheRest());
    CHAINFS_TRY(copy_->Flush());
    tap_->StopFollowing();
    return {};
  };
  pivot_tried_ = true;
  CHAINFS_ASSIGN(left_out_, catalog_.moves().ContinueOn(plan_.disk, {.to = target_->image(),
                                                                     .target = target_,
                                                                     .last_round = last_round,
                                                                     .remove_left = false,
                                                                     .anywhere = plan_.anywhere,
                                                                     .job = id_}));
  return {};
}

Status MirrorWork::KeepTarget() {
  CHAINFS_TRY(plan_.disk->WhileQuiet([this]() -> Status {
    CHAINFS_TRY(CopyTheRest());
    tap_->StopFollowing();
    return {};
  }));
  CHAINFS_TRY(copy_->Flush());
  IntentHeader header = log_->header();
  header.state = IntentHeader::State::kKept;
  return log_->WriteHeader(header);
}

void MirrorWork::TakeDown() {
  if (!std::exchange(tapped_, false)) return;
  plan_.disk->RemoveTap(*tap_);
  plan_.disk->RemoveTap(*intent_tap_);
}

Status MirrorWork::Undo(const std::function<bool()>& /*stop*/) {
  TakeDown();
  if (done_ || target_ == nullptr) return {};
  // Whoever takes this up again finds the target, or does not.
  IntentHeader header = log_->header();
  header.state = IntentHeader::State::kMaking;
  CHAINFS_TRY(log_->WriteHeader(header));
  // One that the disk was to go on with holds all, and the chain's record may name it.
  CHAINFS_TRY(made_ && !pivot_tried_ ? target_->Remove() : target_->Finish());
  ended_ = true;
  return {};
}

void MirrorWork::Release() {
  TakeDown();
  if (!done_) return;
  ended_ = true;
  if (target_ == nullptr || end_ == MirrorEnd::kPivot) return;
  const Status finished = target_->Finish();
  if (!finished) spdlog::warn("job {}: {}", id_, finished.error().message);
}

}  // namespace chainfs::jobs
