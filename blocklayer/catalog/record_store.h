// SPDX-License-Identifier: Apache-2.0
//
// RecordStore: the small durable records kept beside the images, in SOURCE/.chainfs/ of a disk's
// source, for whoever knows disks and no sources: jobs keep theirs here. What counts and how a
// record is replaced, record_directory.h says.
//
// Threads: any. mu_ is a leaf, never held across I/O.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/chain/disk.h"

namespace chainfs {

class RecordDirectory;
class Sources;

inline constexpr std::string_view kJobRecordPrefix = "job-";

class RecordStore {
 public:
  struct Record {
    std::string source;  // the directory that holds the .chainfs
    std::string name;    // one component
    std::string contents;
  };

  // `sources` outlives this, and gets no more sources once a record is asked for.
  RecordStore(const Sources& sources, bool read_only) : sources_(sources), read_only_(read_only) {}

  // Durable on return; the .chainfs is made when first written. kReadOnly, kNotFound for a disk
  // that the catalog does not know.
  Status Write(const Disk& disk, const std::string& name, std::string_view contents) EXCLUDES(mu_);
  // The same for a record that must not be there yet: kExists.
  Status Create(const Disk& disk, const std::string& name, std::string_view contents) EXCLUDES(mu_);
  // Such a record itself, for reading and writing in place (record_directory.h).
  Result<std::unique_ptr<File>> Open(const Disk& disk, const std::string& name) EXCLUDES(mu_);
  // Fine when there is no such record, or no such disk.
  Status Remove(const Disk& disk, const std::string& name) EXCLUDES(mu_);

  // Every record with the prefix that counts; `distrusted`, when given, gets why each of the others
  // does not.
  Result<std::vector<Record>> ReadAll(std::string_view prefix,
                                      std::vector<Error>* distrusted = nullptr) const;
  // Whether one that was read is still there; an error when that cannot be told, or when it is not
  // trusted any more.
  Result<bool> Has(const Record& record) const;
  // One that was read, whatever became of its disk. Replace: with what `record` holds now.
  Status Remove(const Record& record);
  Status Replace(const Record& record);
  // An empty one, unless another daemon is just making it.
  Status RemoveDeadClaim(const Record& record);
  // In every source the records `prefix`ID that have no `owner_prefix`ID (record_directory.h).
  Status RemoveOrphans(std::string_view prefix, std::string_view owner_prefix);
  // Whether the group that one names has happened (group_record.h); an error when that cannot be
  // told.
  Result<bool> GroupHasHappened(const Record& record, const std::string& group) const;
  // Where the record of `disk` lies: those that nobody names any more.
  Status ForgetGroups(const Disk& disk);

  // For the catalog: where the records of a disk belong, from then on until it is destroyed, shown
  // or not: a job may end after its disk has gone.
  void SetSource(const DiskPtr& disk, size_t source) EXCLUDES(mu_);
  // The index of that source, for a change of a record of `disk`.
  Result<size_t> WritableSourceOf(const Disk& disk) const EXCLUDES(mu_);
  // Lets go of disks that are destroyed.
  void Prune() EXCLUDES(mu_);
  size_t disks() const EXCLUDES(mu_);

 private:
  struct Origin {
    std::weak_ptr<Disk> disk;
    size_t source = 0;
  };

  // Null when no source lies there.
  RecordDirectory* DirectoryOf(const Record& record) const;

  const Sources& sources_;
  const bool read_only_;
  mutable Mutex mu_;
  std::map<const Disk*, Origin> origins_ GUARDED_BY(mu_);
};

}  // namespace chainfs
