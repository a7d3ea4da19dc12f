// SPDX-License-Identifier: Apache-2.0
//
// LeftOutMarks: which files must not turn up as disks that can be written (left_out.h): what jobs
// have left out, until somebody deletes it, says that it may be written, or names it as a source;
// what jobs change or fill, until they have finished.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/catalog/catalog_entry.h"
#include "blocklayer/catalog/left_out.h"

namespace chainfs {

class LeftOutMarks {
 public:
  struct Mark {
    size_t source = 0;
    std::string record;  // file name
    LeftOut contents;
    bool lost = false;                // what it was merged into is not there any more
    std::optional<FileId> into = {};  // contents.into, where that is there
    FileStat seen = {};               // its file, when it was last found to be the one
    // Why its record cannot be read; empty: it was. Until it can be, it counts as of a file that is
    // changing, and nothing is known of where it is whole.
    std::string unread = {};

    // Why its layer is read-only, for people.
    std::string Reason() const;
  };

  // The references outlive this.
  LeftOutMarks(Roots& roots, Sources& sources, bool read_only)
      : roots_(roots), sources_(sources), read_only_(read_only) {}

  // Reads the marks again; forgets those whose files are gone. What cannot be read just now is what
  // it was; an error, with everything as it was, where nothing can be told.
  Status Load();
  // After Load: what these records of chains say is merged counts as marked so, until it is.
  void AddMerged(const std::vector<InterruptedChange>& interrupted);
  // The mark that keeps the entry from being written, or null.
  const Mark* Of(const CatalogEntry& entry) const;
  // The mark that keeps the entry from being opened at all, or null: it shows nothing that makes
  // sense.
  const Mark* ShutOut(const CatalogEntry& entry) const;
  // The mark that says that what the entry shows is changing, or null.
  const Mark* Changing(const CatalogEntry& entry) const;
  // The mark of a file that is changing, when nothing of `chain`, top to base, covers that; or
  // null.
  const Mark* Uncovered(const std::vector<LayerFile>& chain) const;
  // kBusy, saying so of `subject`, when a layer of `chain`, top to base, is changing and none above
  // it there covers that: what it shows is a mixture, and the next mount would not show what is
  // built on it. `otherwise`: what to do but wait for the job. kIo where it cannot be told.
  Status CheckWhole(const Layers& chain, std::string_view subject,
                    std::string_view otherwise) const;
  Status CheckWhole(std::span<const LayerFile> chain, std::string_view subject,
                    std::string_view otherwise) const;
  // The mark of a file, whoever names it, or null.
  const Mark* Find(const FileId& id) const;
  // Files that count as built on nothing.
  std::set<FileId> Changed() const;
  // Marks the layers, which a job is about to leave out beneath `top`; all of them or none. One
  // that was marked as changing has changed. Durable on return, in the records of that source.
  Status Add(size_t source, const Layer& top, const Layers& layers);
  // What was there of files, for PutBack.
  using Before = std::map<FileId, std::optional<Mark>>;
  // The same of marks of any kind: `like` says all but path and inode. What was marked before.
  Result<Before> AddLike(size_t source, const LeftOut& like, const Layers& layers);
  // The same of one file.
  Status AddOne(size_t source, LeftOut contents, const FileId& id);
  Status Remove(const FileId& id);
  // As far as that goes; the first error.
  Status PutBack(const Before& before);
  // What has changed beneath `from` and is whole from there upwards is so from `into` upwards,
  // which has taken it over. Durable on return.
  Status WholeFrom(const std::string& from, const std::string& into);
  // What was merged into `from`, which has been merged itself, is in `into` now.
  void MergedFurther(const std::string& from, const std::string& into);

 private:
  struct Place {
    FileId id;
    std::string_view path;
  };
  // The mark of the first that is changing and that none before it covers, or null.
  const Mark* FirstUncovered(const std::vector<Place>& chain) const;
  // Which file of that name there is; kNotFound when there is none.
  Result<FileId> At(const std::string& path);
  Status FollowWhole(const std::vector<std::string>& from, const std::string& into, Before& before);
  // Durable; what was there of the file is in `before`.
  Status Write(size_t source, LeftOut contents, const FileId& id, Before& before);
  struct Marks {
    std::map<FileId, Mark> of_file;
    // By inode number: their files, or what the marks say, cannot be looked at just now.
    std::map<uint64_t, Mark> unseen;
  };
  // The backing name in the header of the file, empty without one; nothing where it cannot be told.
  std::optional<std::string> BuiltOnNow(const LeftOut& mark);
  // Whether the file, which still has its inode number, is another image by now. `mark` then knows
  // what was looked at.
  bool IsAnother(Mark& mark, const FileId& id);
  // What the records of one source say.
  Status LoadFrom(size_t source, Marks& marks);
  void LoadUnread(size_t source, const std::string& record, const Error& error, Marks& marks);

  Roots& roots_;
  Sources& sources_;
  const bool read_only_;
  std::map<FileId, Mark> marks_;
  std::map<uint64_t, Mark> unseen_;
};

}  // namespace chainfs
