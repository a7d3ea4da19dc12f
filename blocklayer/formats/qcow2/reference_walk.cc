// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/reference_walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/entry_judgement.h"
#include "blocklayer/formats/qcow2/metadata_extents.h"
#include "blocklayer/formats/qcow2/snapshot_table.h"
#include "blocklayer/formats/qcow2/table_reader.h"

namespace chainfs::qcow2 {
namespace {

// An L1 table, of the disk or of a snapshot.
struct L1Place {
  std::string what;
  HostOffset host;
  uint64_t entries = 0;
  bool own = true;  // the disk's
};

class Walk {
 public:
  Walk(File& file, const Qcow2Header& header, const WalkControl& control, ReferenceVisitor& visitor)
      : file_(file),
        header_(header),
        geometry_(header.geometry()),
        external_((header.incompatible & kIncompatibleDataFile) != 0),
        control_(control),
        visitor_(visitor) {}

  Status Run();
  WalkTotals totals() const { return {.allocated = allocated_, .compressed = compressed_}; }

 private:
  // What one task of the runner reads: entries of an L1 table, and the L2 tables that they name.
  static constexpr uint64_t kEntriesPerTask = 64;
  // Data that is taken for a table has more bad entries than one in this many.
  static constexpr uint64_t kFewBad = 4;

  Status WalkL1(const L1Place& l1);
  Status WalkPiece(const L1Place& l1, uint64_t first, uint64_t count);
  Status WalkEntry(const L1Place& l1, uint64_t index, uint64_t word);
  Status WalkL2(const L1Place& l1, HostOffset table);
  // What is wrong with an entry is told; whether nothing is.
  bool Tell(const EntryJudgement& judgement, L2Entry entry, uint64_t index, HostOffset table);
  Status PayForTable();
  Status WalkSnapshots();
  // A broken table of other tables is told once; what else there is is walked all the same.
  Status ToldAlready(Status status);
  // The first error of a task ends the others.
  void Note(Status status) EXCLUDES(mu_);
  bool stopped() const {
    return failed_.load(std::memory_order_relaxed) ||
           (control_.stop != nullptr && control_.stop->load(std::memory_order_relaxed));
  }

  File& file_;
  const Qcow2Header& header_;
  const Geometry geometry_;
  const bool external_;  // the data lies in another file
  const WalkControl& control_;
  ReferenceVisitor& visitor_;
  bool broken_table_ = false;
  uint64_t table_budget_ = 0;  // bytes
  std::atomic<uint64_t> table_bytes_ = 0;
  std::atomic<bool> too_many_tables_ = false;
  std::atomic<uint64_t> allocated_ = 0;
  std::atomic<uint64_t> compressed_ = 0;
  std::atomic<bool> failed_ = false;
  Mutex mu_;
  std::optional<Error> error_ GUARDED_BY(mu_);
};

// What may be read of tables: a lot for an honest image, whose tables are a thousandth of what its
// file occupies, also where the host file system compresses.
Result<uint64_t> TableBudget(File& file, const Qcow2Header& header) {
  constexpr uint64_t kAlways = 256ull << 20;
  constexpr uint64_t kTimes = 16;
  CHAINFS_ASSIGN(const FileStat stat, file.Stat());
  const uint64_t bytes = kAlways + kTimes * std::min(stat.allocated_bytes, UINT64_MAX >> 8);
  const uint64_t tables = uint64_t{header.snapshot_count} + 1;
  return bytes > UINT64_MAX / tables ? UINT64_MAX : bytes * tables;
}

void Walk::Note(Status status) {
  if (status) return;
  failed_.store(true, std::memory_order_relaxed);
  MutexLock lock(mu_);
  if (!error_) error_ = std::move(status).error();
}

Status Walk::PayForTable() {
  const uint64_t bytes = geometry_.cluster_size();
  if (table_bytes_.fetch_add(bytes, std::memory_order_relaxed) <= table_budget_) return {};
  if (!too_many_tables_.exchange(true)) {
    visitor_.BadEntry("more tables are named than the file can hold", true);
  }
  return Fail(ErrorKind::kCorrupt,
              fmt::format("{}: more tables are named than the file can hold", file_.path()));
}

bool Walk::Tell(const EntryJudgement& judgement, L2Entry entry, uint64_t index, HostOffset table) {
  for (uint32_t left = judgement.problems; left != 0; left &= left - 1) {
    const auto problem = static_cast<EntryJudgement::Problem>(left & -left);
    visitor_.BadEntry(fmt::format("L2 entry {} of the table at {:#x} is bad ({:#x}): {}", index,
                                  table.value, entry.descriptor, EntryJudgement::TextOf(problem)),
                      (problem & EntryJudgement::kUnseenByQemu) != 0);
  }
  return judgement.problems == 0;
}

Status Walk::WalkL2(const L1Place& l1, HostOffset table) {
  CHAINFS_TRY(PayForTable());
  CHAINFS_ASSIGN(const std::vector<L2Entry> entries, ReadL2Table(file_, geometry_, table));
  uint64_t used = 0;
  uint64_t bad = 0;
  uint64_t allocated = 0;
  uint64_t compressed = 0;
  for (uint64_t i = 0; i < entries.size(); ++i) {
    if (entries[i] == L2Entry()) continue;
    const EntryJudgement judgement = JudgeEntry(geometry_, entries[i], external_);
    ++used;
    if (!Tell(judgement, entries[i], i, table)) ++bad;
    if (!judgement.allocated) continue;
    ++allocated;
    if (judgement.compressed) ++compressed;
    if (judgement.bytes == 0) continue;
    visitor_.Refer(ClusterUse::kData, judgement.compressed ? "compressed cluster" : "data cluster",
                   judgement.host, judgement.bytes);
  }
  if (!l1.own) return {};
  allocated_.fetch_add(allocated, std::memory_order_relaxed);
  compressed_.fetch_add(compressed, std::memory_order_relaxed);
  // No table lies in the header, whatever an entry says.
  if (table.value == 0 || !visitor_.WantsFlagsOf(table)) return {};
  for (uint64_t i = 0; i < entries.size(); ++i) {
    const EntryJudgement judgement = JudgeEntry(geometry_, entries[i], external_);
    if (!judgement.has_flag) continue;
    CHAINFS_TRY(visitor_.Flagged({.is_l1 = false,
                                  .at = table + i * geometry_.l2().entry_bytes(),
                                  .word = entries[i].descriptor,
                                  .host = judgement.host,
                                  .external = external_,
                                  .sound = bad <= used / kFewBad}));
  }
  return {};
}

Status Walk::WalkEntry(const L1Place& l1, uint64_t index, uint64_t word) {
  const HostOffset table(word & kEntryOffsetMask);
  const bool reserved = (word & ~(kEntryOffsetMask | kEntryCopied)) != 0;
  const bool aligned = table.Within(geometry_.cluster_size()) == 0;
  const auto bad = [&](std::string_view why, bool unseen_by_qemu) {
    visitor_.BadEntry(fmt::format("entry {} of {} is bad ({:#x}): {}", index, l1.what, word, why),
                      unseen_by_qemu);
  };
  if (reserved) bad("reserved bits are set", false);
  if (!aligned) bad("the L2 table is not aligned", false);
  visitor_.Refer(ClusterUse::kL2Table, "L2 table", table, geometry_.cluster_size());
  if (l1.own && table.value != 0 && visitor_.WantsFlagsOf(table)) {
    CHAINFS_TRY(visitor_.Flagged({.is_l1 = true,
                                  .at = l1.host + index * 8,
                                  .word = word,
                                  .host = table,
                                  .external = false,
                                  .sound = !reserved && aligned}));
  }
  return WalkL2(l1, table);
}

Status Walk::WalkPiece(const L1Place& l1, uint64_t first, uint64_t count) {
  CHAINFS_ASSIGN(const std::vector<uint64_t> piece, ReadTable(file_, l1.host + first * 8, count));
  for (uint64_t i = 0; i < piece.size() && !stopped(); ++i) {
    if (piece[i] != 0) CHAINFS_TRY(WalkEntry(l1, first + i, piece[i]));
  }
  return {};
}

Status Walk::WalkL1(const L1Place& l1) {
  if (l1.entries == 0) return {};
  const uint64_t pieces = DivRoundUp(l1.entries, kEntriesPerTask);
  std::atomic<uint64_t> done = 0;
  control_.runner.Run(pieces, [&](uint64_t piece) {
    if (stopped()) return;
    const uint64_t first = piece * kEntriesPerTask;
    Note(WalkPiece(l1, first, std::min(kEntriesPerTask, l1.entries - first)));
    const uint64_t ready = done.fetch_add(1, std::memory_order_relaxed) + 1;
    if (l1.own && control_.percent) control_.percent(static_cast<uint32_t>(ready * 100 / pieces));
  });
  if (control_.stop != nullptr && control_.stop->load(std::memory_order_relaxed)) {
    return Fail(ErrorKind::kCancelled, fmt::format("{}: the check was stopped", file_.path()));
  }
  MutexLock lock(mu_);
  if (error_) return std::unexpected(*error_);
  return {};
}

Status Walk::ToldAlready(Status status) {
  if (status || status.error().kind != ErrorKind::kCorrupt) return status;
  if (!broken_table_) visitor_.BadEntry(status.error().message, false);
  broken_table_ = true;
  return {};
}

Status Walk::WalkSnapshots() {
  const Result<uint64_t> walked =
      ForEachSnapshot(file_, header_, [this](const SnapshotEntry& snapshot) {
        return WalkL1({.what = fmt::format("the L1 table of snapshot {}", snapshot.index),
                       .host = snapshot.l1_offset,
                       .entries = snapshot.l1_entries,
                       .own = false});
      });
  if (walked || too_many_tables_) return {};
  return ToldAlready(std::unexpected(walked.error()));
}

Status Walk::Run() {
  CHAINFS_ASSIGN(table_budget_, TableBudget(file_, header_));
  visitor_.Refer(ClusterUse::kAlone, "header", HostOffset(), geometry_.cluster_size());
  const L1Place own{.what = "the L1 table",
                    .host = header_.l1_offset,
                    .entries = header_.l1_entries,
                    .own = true};
  if (own.entries > 0) {
    visitor_.Refer(ClusterUse::kAlone, "L1 table", own.host, own.entries * 8);
  }
  CHAINFS_TRY(ToldAlready(
      ForEachMetadataExtent(file_, header_, [this](const MetadataExtent& extent) -> Status {
        visitor_.Refer(ClusterUse::kAlone, extent.what, extent.host, extent.bytes);
        return {};
      })));
  Status walked = WalkL1(own);
  if (walked) walked = WalkSnapshots();
  // It was told as a problem.
  if (!walked && too_many_tables_) return {};
  return walked;
}

}  // namespace

Result<WalkTotals> WalkReferences(File& file, const Qcow2Header& header, const WalkControl& control,
                                  ReferenceVisitor& visitor) {
  Walk walk(file, header, control, visitor);
  CHAINFS_TRY(walk.Run());
  return walk.totals();
}

}  // namespace chainfs::qcow2
