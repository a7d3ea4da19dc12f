// SPDX-License-Identifier: Apache-2.0
//
// CandidateMatcher: which of the images that ought to be disks is which of those that are, or could
// not be, at the last scan.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include "blocklayer/catalog/chain_set.h"
#include "blocklayer/catalog/left_out_marks.h"

namespace chainfs {

class CandidateMatcher {
 public:
  // The references outlive this.
  CandidateMatcher(Roots& roots, Sources& sources, ChainSet& chains, const LeftOutMarks& marks)
      : roots_(roots), sources_(sources), chains_(chains), marks_(marks) {}

  // The entries of the candidates: those of `old` that are still the same, taken from there, and
  // new ones, walked but not opened yet.
  CatalogEntries Match(std::vector<Candidate> candidates, ChainOpener& opener, CatalogEntries& old);

 private:
  CatalogEntry MatchOne(Candidate candidate, ChainOpener& opener, CatalogEntries& old);
  // `before` (may be null) is the entry of that path, which is another one or cannot be told.
  CatalogEntry NewEntry(const Candidate& candidate, const Result<FileStat>& stat,
                        ChainOpener& opener, CatalogEntry* before);

  // Its disk goes, if a mark says that it must have none.
  void ShutOut(CatalogEntry& entry);

  Roots& roots_;
  Sources& sources_;
  ChainSet& chains_;
  const LeftOutMarks& marks_;
};

}  // namespace chainfs
