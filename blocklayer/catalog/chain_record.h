// SPDX-License-Identifier: Apache-2.0
//
// ChainRecord: the record of a chain that has *moved* (a snapshot gave it a new active
// layer): which layer is active, and what a snapshot or a revert under way was about to do. Its
// keys are in README.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/catalog/record_format.h"
#include "blocklayer/image/image.h"
#include "blocklayer/io/recorded_file.h"

namespace chainfs {

inline constexpr std::string_view kChainRecordPrefix = "chain-";
// Bytes of a name that go into a record's file name. A longer one is cut, and told apart by a hash
// or an inode; the record itself has the whole name.
inline constexpr size_t kMaxNameInFileName = 180;

// Paths are absolute and normal here; on disk those beneath the source are relative to it, so that
// the whole directory can move. None has "..": where such a path leads, its text does not tell.
struct ChainRecord {
  std::string name;                          // the chain's
  std::string active;                        // its active layer
  ImageFormat format = ImageFormat::kQcow2;  // of the active layer
  std::string origin;                        // what was active before the first snapshot
  std::string backing;                       // what the last snapshot froze
  // The job that the last snapshot was for: what it froze is a point in time that the job holds,
  // and the active layer is to be merged into it again. Else empty.
  std::string held_for = {};
  ImageFormat backing_format = ImageFormat::kQcow2;  // of `backing`, while it is held
  // The overlay that a snapshot is making: nothing was written to it yet, so it is no overlay that
  // counts. Empty when no snapshot is under way.
  std::string next;
  std::string group = {};  // which group decides about `next`, while one does (group_record.h)
  std::string next_held_for = {};  // then: `held_for` once it has
  // Newer layers that the chain was reverted from, top first: they are not shown any more, and are
  // to be removed.
  struct Dropped {
    std::string path;
    RecordedFile file = {};  // which one of that name is meant
    bool operator==(const Dropped&) const = default;
  };
  std::vector<Dropped> drops = {};
  // Layers that the chain left when it went on with one below, top first: what they are built on
  // changes. They are to be marked so (left_out.h).
  std::vector<Dropped> stale = {};
  // What was active until a job, `merged_by`, moved the chain to a copy of it: counts as marked so
  // (left_out.h) until it is.
  std::vector<Dropped> merged = {};
  std::string merged_by = {};
  // Directories outside the sources that hold layers of the chain.
  std::vector<std::string> roots;
  bool operator==(const ChainRecord&) const = default;
};

// `source`: the directory that holds the .chainfs.
RecordFields FieldsOf(const ChainRecord& record, std::string_view source);
// kInvalidFormat naming what is missing or makes no sense.
Result<ChainRecord> ChainRecordOf(const RecordFields& fields, std::string_view source);
std::string FormatChainRecord(const ChainRecord& record, std::string_view source);
// As ChainRecordOf; kUnsupported for another version.
Result<ChainRecord> ParseChainRecord(std::string_view text, std::string_view source);
// The file name for the record of the chain called `chain`.
std::string ChainRecordName(std::string_view chain);
// Beyond a link ".." is not what the text says, so no text tells where such a path leads.
bool HasDotDot(std::string_view path);

}  // namespace chainfs
