// SPDX-License-Identifier: Apache-2.0
//
// Records: the small durable files beside the images, in SOURCE/.chainfs/. One kind is known here,
// the record of a chain that has *moved* (a snapshot gave it a new active layer); jobs keep theirs
// through the same store. The text format and its rules are in README.md.
//
// Trust: a record decides which files guests read and write, so it counts only if nobody but root
// and the daemon's user can have made or placed it: .chainfs is a real directory, no link, of one
// of them, that nobody else may write, and the record a regular file likewise, with one name. And
// where others may write the source directory itself (and so could put a whole .chainfs there that
// root once made elsewhere), a record speaks only of files beneath that directory.
//
// Crash ordering: a record is replaced by tmp + fsync + rename + fsync(dir); a crash leaves the old
// or the new one. .chainfs itself is made when the first record is written, and made durable first.
//
// Threads: RecordStore, any; its mutex is held across its I/O.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/base/sync.h"
#include "blocklayer/image/image.h"
#include "blocklayer/io/directory.h"

namespace chainfs {

inline constexpr std::string_view kRecordDirectory = ".chainfs";
inline constexpr std::string_view kChainRecordPrefix = "chain-";

// Paths are absolute and normal here; on disk those beneath the source are relative to it, so that
// the whole directory can move. None has "..": where such a path leads, its text does not tell.
struct ChainRecord {
  std::string name;                          // the chain's
  std::string active;                        // its active layer
  ImageFormat format = ImageFormat::kQcow2;  // of the active layer
  std::string origin;                        // what was active before the first snapshot
  std::string backing;                       // what the last snapshot froze
  // The overlay that a snapshot is making: nothing was written to it yet, so it is no overlay that
  // counts. Empty when no snapshot is under way.
  std::string next;
  // Newer layers that the chain was reverted from, top first: they are not shown any more, and are
  // to be removed.
  struct Dropped {
    std::string path;
    uint64_t inode = 0;  // which file of that name is meant
    bool operator==(const Dropped&) const = default;
  };
  std::vector<Dropped> drops = {};
  // Directories outside the sources that hold layers of the chain.
  std::vector<std::string> roots;
  bool operator==(const ChainRecord&) const = default;
};

std::string FormatChainRecord(const ChainRecord& record, std::string_view source);
// kInvalidFormat naming the line or the missing key; kUnsupported for another version.
Result<ChainRecord> ParseChainRecord(std::string_view text, std::string_view source);
// The file name for the record of the chain called `chain`.
std::string ChainRecordName(std::string_view chain);

class RecordStore {
 public:
  // `source` is the directory that holds, or will hold, .chainfs.
  explicit RecordStore(std::shared_ptr<Directory> source) : source_(std::move(source)) {}

  const std::string& source_path() const { return source_->path(); }
  // Whether `path` (absolute) lies beneath the source; one with ".." never does.
  bool Covers(std::string_view path) const;
  // kPermission when records here may not speak of files outside the source.
  Status CheckTrustedWithPaths();
  // The same, for a record that does.
  Status CheckTrusted(const ChainRecord& record);
  Status Write(const std::string& name, std::string_view contents) EXCLUDES(mu_);
  // The same for a record that does not exist yet; kExists otherwise, whoever made it and whether
  // or not it is trusted. A crash may leave an empty one, the *claim* on the name, which carries
  // image locks as long as whoever made it lives.
  Status Create(const std::string& name, std::string_view contents) EXCLUDES(mu_);
  // Removes the record if it is a claim that was left: empty, a minute old, locked by nobody.
  Status RemoveDeadClaim(const std::string& name) EXCLUDES(mu_);
  // Durable on return; fine when there is no such record.
  Status Remove(const std::string& name) EXCLUDES(mu_);

  // Whether ReadAll failed because of what is there, and not because of the host.
  static bool IsDistrusted(const Error& error) {
    return error.kind == ErrorKind::kPermission || error.kind == ErrorKind::kInvalidArgument ||
           error.kind == ErrorKind::kAccess;
  }

  struct Found {
    std::string name;
    Result<std::string> contents;  // the error says why it cannot be read or is not trusted
  };
  // Sorted by name; nothing when there is no .chainfs.
  Result<std::vector<Found>> ReadAll(std::string_view prefix) EXCLUDES(mu_);

 private:
  // Null when there is none and `create` is false. kPermission when it is not to be trusted.
  Result<std::unique_ptr<Directory>> OpenStore(bool create) REQUIRES(mu_);
  static Result<std::string> ReadTrusted(Directory& directory, const std::string& name);

  const std::shared_ptr<Directory> source_;
  Mutex mu_;
};

}  // namespace chainfs
