// SPDX-License-Identifier: Apache-2.0
//
// RecordDirectory: the small durable files beside the images of one source, in SOURCE/.chainfs/:
// the records of chains, names, layers that were left out, and jobs. It knows whom they are
// believed, not what they say.
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
// Threads: any; its mutex is held across its I/O.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/base/sync.h"
#include "blocklayer/catalog/chain_record.h"
#include "blocklayer/io/directory.h"

namespace chainfs {

inline constexpr std::string_view kRecordDirectory = ".chainfs";

class RecordDirectory {
 public:
  // `source` is the directory that holds, or will hold, .chainfs.
  explicit RecordDirectory(std::shared_ptr<Directory> source) : source_(std::move(source)) {}

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
  // Removes what a daemon left that was killed while it wrote a record, once it is a minute old.
  Status RemoveUnfinished() EXCLUDES(mu_);
  // Removes every record `prefix`ID beside which there is no `owner_prefix`ID. Whoever makes the
  // two makes the owner first and removes it first, maybe another daemon at this moment; or writes
  // the record again as soon as the owner is there.
  Status RemoveOrphans(std::string_view prefix, std::string_view owner_prefix) EXCLUDES(mu_);
  // Such a record itself, for reading and writing in place, if it is trusted. kNotFound.
  Result<std::unique_ptr<File>> Open(const std::string& name) EXCLUDES(mu_);
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
  static Result<std::unique_ptr<File>> OpenTrusted(Directory& directory, const std::string& name,
                                                   OpenMode mode);
  static Result<std::string> ReadTrusted(Directory& directory, const std::string& name);

  const std::shared_ptr<Directory> source_;
  Mutex mu_;
};

}  // namespace chainfs
