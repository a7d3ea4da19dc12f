// SPDX-License-Identifier: Apache-2.0
//
// The order of a repair: refcounts first, durably, then the COPIED flags, which follow from them;
// the header's own marks last, when another look has found nothing.
#include "blocklayer/formats/qcow2/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "blocklayer/formats/qcow2/check_pass.h"
#include "blocklayer/formats/qcow2/header_update.h"
#include "blocklayer/formats/qcow2/refcount_lowering.h"
#include "blocklayer/formats/qcow2/refcount_rebuild.h"

namespace chainfs {
namespace qcow2 {
namespace {

// The looks at an image that one check, or repair, takes.
class ImageChecker {
 public:
  ImageChecker(File& file, const Qcow2Header& header, const ImageCheckControl& control)
      : file_(file),
        header_(header),
        control_(control),
        // With the dirty bit refcounts mean nothing; there are no leaks to be told from the rest.
        repair_(header.dirty() && control.repair == ImageRepair::kLeaks ? ImageRepair::kAll
                                                                        : control.repair),
        window_(control.count_bytes),
        walk_{.runner = control.runner != nullptr ? *control.runner : inline_runner_,
              .stop = control.stop,
              .percent = [this](uint32_t percent) { Progress(percent); }} {}

  Result<ImageCheckReport> Run();

 private:
  // How many looks a repair takes at most.
  uint32_t steps() const { return repair_ == ImageRepair::kNone ? 1 : 5; }
  void Progress(uint32_t percent);
  Result<CheckFindings> Look(const CheckFindings* fix = nullptr) {
    step_ = std::min(step_ + 1, steps());
    return CheckOnce(file_, header_, window_, walk_, fix);
  }
  Status RepairCounts(const CheckFindings& found);
  // Whether anything was changed.
  Result<bool> Repair(CheckFindings& found);
  Status ClearMarks();

  File& file_;
  Qcow2Header header_;
  const ImageCheckControl& control_;
  const ImageRepair repair_;
  InlineTaskRunner inline_runner_;
  ReferenceWindow window_;
  const WalkControl walk_;
  std::string left_;  // what could not be repaired, and why
  uint32_t step_ = 0;
  std::atomic<uint32_t> told_ = 0;
};

void ImageChecker::Progress(uint32_t percent) {
  if (!control_.percent) return;
  const uint32_t done = ((step_ - 1) * 100 + percent) / steps();
  uint32_t told = told_.load(std::memory_order_relaxed);
  while (done > told) {
    if (!told_.compare_exchange_weak(told, done, std::memory_order_relaxed)) continue;
    control_.percent(done);
    return;
  }
}

Status ImageChecker::RepairCounts(const CheckFindings& found) {
  step_ = std::min(step_ + 1, steps());
  const ImageCheckReport& report = found.report;
  if (repair_ == ImageRepair::kAll && (found.low_counts || found.bad_blocks)) {
    // Where the file is to grow, entries would name what is put there.
    if (found.past_end) {
      left_ = "the refcounts were not made anew: clusters past the end of the file are named";
      return {};
    }
    Status rebuilt = RebuildAllRefcounts(file_, header_, window_, walk_, report.bad_entries > 0);
    if (rebuilt || rebuilt.error().kind != ErrorKind::kCorrupt) return rebuilt;
    left_ = rebuilt.error().message;
    return {};
  }
  // What a bad entry should name may be among what looks leaked.
  if (report.leaks == 0 || report.bad_entries > 0 || found.bad_blocks) return {};
  return LowerRefcounts(file_, header_, window_, walk_);
}

Result<bool> ImageChecker::Repair(CheckFindings& found) {
  const ImageCheckReport& report = found.report;
  if (repair_ == ImageRepair::kNone || (report.corruptions == 0 && report.leaks == 0)) return false;
  CHAINFS_TRY(RepairCounts(found));
  // What refcounts make of flags. Of other corruptions only they are left to be repaired.
  const bool flags = repair_ == ImageRepair::kAll || report.corruptions == 0;
  if (!flags) return true;
  // What lay on the old refcounts does not lie on anything now.
  if (report.overlaps > 0) {
    CHAINFS_ASSIGN(found, Look());
  }
  CHAINFS_TRY(Look(&found));
  return true;
}

Status ImageChecker::ClearMarks() {
  const uint64_t marks = kIncompatibleDirty | kIncompatibleCorrupt;
  if (header_.version < 3 || (header_.incompatible & marks) == 0) return {};
  CHAINFS_TRY(file_.DataSync());
  CHAINFS_TRY(UpdateFirstSector(file_, [&](HeaderSector sector) {
    PutIncompatibleFeatures(sector, header_.incompatible & ~marks);
  }));
  return file_.DataSync();
}

Result<ImageCheckReport> ImageChecker::Run() {
  CHAINFS_ASSIGN(CheckFindings found, Look());
  const ImageCheckReport before = found.report;
  CHAINFS_ASSIGN(const bool changed, Repair(found));
  if (changed) {
    CHAINFS_ASSIGN(found, Look());
    if (!left_.empty()) found.report.messages.insert(found.report.messages.begin(), left_);
    found.report.corruptions_fixed =
        before.corruptions - std::min(found.report.corruptions, before.corruptions);
    found.report.leaks_fixed = before.leaks - std::min(found.report.leaks, before.leaks);
  }
  const ImageCheckReport& report = found.report;
  if (repair_ != ImageRepair::kNone && report.corruptions == 0 && report.check_errors == 0) {
    CHAINFS_TRY(ClearMarks());
  }
  return std::move(found.report);
}

}  // namespace
}  // namespace qcow2

Result<ImageCheckReport> CheckQcow2(File& file, const ImageCheckControl& control) {
  CHAINFS_ASSIGN(const qcow2::Qcow2Header header, qcow2::ReadQcow2Header(file));
  return qcow2::ImageChecker(file, header, control).Run();
}

}  // namespace chainfs
