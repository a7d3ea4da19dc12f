// SPDX-License-Identifier: Apache-2.0
//
// Sources: what the user gave to be shown, and what is there at the moment. Collect lists every
// image that ought to be a disk, in order of who may claim a name: images that the user named, then
// chains that a record says have moved, then whatever lies in the source directories.
//
// Terms: a *candidate* is such an image before anybody has opened it. An *interrupted* snapshot is
// one whose record still says `next`: the overlay it was making holds nothing and is not shown. The
// same of a revert, whose record still says `drop`: what it removes is not shown either; nor what a
// chain has left (`stale`).
//
// Threads: Collect and Add need CatalogParts::mu; the rest is constant after the last Add.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "blocklayer/catalog/catalog_types.h"
#include "blocklayer/catalog/record_directory.h"
#include "blocklayer/catalog/roots.h"
#include "blocklayer/catalog/shown_names.h"

namespace chainfs {

struct Candidate {
  size_t source = 0;      // whose .chainfs keeps its records
  std::string path;       // absolute; unique among candidates
  FileLocation location;  // valid unless `error`
  ImageFormat format = ImageFormat::kQcow2;
  std::string file_name;                  // names the chain unless fixed_name does
  std::optional<std::string> fixed_name;  // by the user or a record
  bool named_by_user = false;
  std::string record;                    // the file name of the record that it follows, or empty
  std::vector<std::string> extra_roots;  // from that record
  std::string missing_hint;              // what to say when the file is not there
  std::optional<Error> error;            // why it cannot even be looked for
  // Images that it is built on, so that nobody may write them even while it cannot be opened.
  std::vector<std::string> keeps;
};

struct InterruptedChange {
  size_t source = 0;
  std::string record;  // file name
  ChainRecord contents;
  bool settled = false;  // by its group: the record does not say so itself yet
};

struct Inventory {
  std::vector<Candidate> candidates;
  std::vector<InterruptedChange> interrupted;
  std::set<FileId> condemned;  // files that chains dropped or left, and that are still there
  std::string record_texts;    // to see whether records have changed meanwhile
};

class Sources {
 public:
  // `roots` must outlive this. `state_directory` as in CatalogOptions.
  Sources(Roots& roots, const std::string& state_directory)
      : roots_(roots), shown_(state_directory) {}

  // kNotFound, kInvalidArgument... when it cannot be used.
  Status Add(const SourceSpec& spec);
  Result<Inventory> Collect();
  // The records of all chains, shown or not, that make sense.
  Result<std::vector<ChainRecord>> ChainRecords();
  // Keeps a name for the next mount: `image`, a file name in that source, goes by it. Fails where
  // nothing can be kept.
  Status RememberName(size_t source, const std::string& name, const std::string& image);
  // The images of a source directory that go by the stem of their file names, for the next mount.
  void KeepShown(size_t source, const ShownNames::Images& images);
  // Inventory::record_texts as it would be now.
  Result<std::string> RecordTexts();

  size_t size() const { return sources_.size(); }
  RecordDirectory& records(size_t source) const { return *sources_[source].records; }
  // The source directories that are shown with all their images.
  std::vector<std::shared_ptr<Directory>> WholeDirectories() const;
  bool is_directory(size_t source) const { return sources_[source].image.empty(); }
  const std::shared_ptr<Directory>& directory(size_t source) const {
    return sources_[source].directory;
  }
  // Absolute paths of the source directories, without repetition.
  std::vector<std::string> DirectoryPaths() const;

 private:
  struct Source {
    std::shared_ptr<Directory> directory;
    std::shared_ptr<RecordDirectory> records;  // shared by the sources of one directory
    std::string image;                         // file name; empty: every image of the directory
    std::optional<std::string> name;           // of an image, as the user gave it
    ImageFormat format = ImageFormat::kQcow2;
  };
  struct LoadedRecord {
    size_t source = 0;  // the first one of its directory
    std::string file;
    Result<ChainRecord> contents;
    bool settled = false;  // as of InterruptedChange
  };

  Status AddImage(const SourceSpec& spec);
  void AddSource(Source source);
  // What the record means, if it makes sense and counts.
  static Result<ChainRecord> Interpret(RecordDirectory& store, const RecordDirectory::Found& found,
                                       bool& settled);
  // The sources whose records cannot be told are in untold_ afterwards.
  Result<std::vector<LoadedRecord>> LoadRecords(std::string& texts);
  // Names that were remembered of a source, by file name of the image.
  static std::map<std::string, std::string> RememberedNames(RecordDirectory& store);
  // Adds to `remembered` who went by a stem that several of the files have.
  void AddShown(Directory& directory, const std::vector<DirectoryEntry>& entries,
                std::map<std::string, std::string>& remembered) const;
  const LoadedRecord* RecordOf(const Source& source,
                               const std::vector<LoadedRecord>& records) const;
  std::string AsListed(const ChainRecord& record, const std::string& path);
  // Changes that are not finished; the paths of what is not shown because of them become `known`.
  void AddInterrupted(const std::vector<LoadedRecord>& records, Inventory& inventory,
                      std::set<std::string>& known);
  Candidate ImageCandidate(size_t index, const std::vector<LoadedRecord>& records);
  Candidate RecordCandidate(size_t index, const LoadedRecord& record);
  // The point in time that a job holds of the chain called `name`; nothing where none does.
  std::optional<Candidate> HeldCandidate(size_t index, const LoadedRecord& record,
                                         const std::string& name);

  Roots& roots_;
  ShownNames shown_;
  std::vector<Source> sources_;
  // Why the records of a source could not be read, so that nobody knows what is active there.
  std::map<const RecordDirectory*, Error> untold_;
};

}  // namespace chainfs
