// SPDX-License-Identifier: Apache-2.0
//
// LeftOutMarks: what streams have left out: layers that no chain needs for what it shows any more.
// They stay read-only until somebody deletes them, says that they may be written, or names them as
// a source.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <map>
#include <string>

#include "blocklayer/catalog/catalog_entry.h"
#include "blocklayer/catalog/left_out.h"

namespace chainfs {

class LeftOutMarks {
 public:
  struct Mark {
    size_t source = 0;
    std::string record;  // file name
    LeftOut contents;
    bool lost = false;  // what it was merged into is not there any more

    // Why its layer is read-only, for people.
    std::string Reason() const;
  };

  // The references outlive this.
  LeftOutMarks(Roots& roots, Sources& sources, bool read_only)
      : roots_(roots), sources_(sources), read_only_(read_only) {}

  // Reads the marks again; forgets those whose files are gone.
  void Load();
  // The mark that keeps the entry from being written, or null.
  const Mark* Of(const CatalogEntry& entry) const;
  // Marks the layers, which a stream is about to leave out beneath `top`; all of them or none.
  // Durable on return, in the records of that source.
  Status Add(size_t source, const Layer& top, const Layers& layers);
  Status Remove(const FileId& id);
  // What was merged into `from`, which has been merged itself, is in `into` now.
  void MergedFurther(const std::string& from, const std::string& into);

 private:
  // Whether there is nothing of that name.
  bool IsGone(const std::string& path);
  // What the records of one source say.
  void LoadFrom(size_t source, std::map<FileId, Mark>& marks);

  Roots& roots_;
  Sources& sources_;
  const bool read_only_;
  std::map<FileId, Mark> marks_;
};

}  // namespace chainfs
