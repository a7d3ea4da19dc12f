// SPDX-License-Identifier: Apache-2.0
//
// LayerRemoval: the end of layers that a stream has left out and that nobody needs.
//
// Crash ordering: the header that leaves the layers out is durable long before. They go from the
// top down, so that whatever is there can be opened at any moment; a crash in between leaves files
// that the report of layers calls unneeded.
//
// Threads: all methods need CatalogParts::mu. Those that take long let others in.
#pragma once

#include <string>
#include <vector>

#include "blocklayer/catalog/chain_records.h"
#include "blocklayer/catalog/layer_needs.h"
#include "blocklayer/catalog/left_out_marks.h"
#include "blocklayer/catalog/scanner.h"

namespace chainfs {

class LayerRemoval {
 public:
  // The references outlive this.
  LayerRemoval(Roots& roots, ChainRecords& chain_records, LayerNeeds& needs, LeftOutMarks& marks,
               HiddenUsers& hidden, ScanPauses& pauses, Scanner& scanner)
      : roots_(roots),
        chain_records_(chain_records),
        needs_(needs),
        marks_(marks),
        hidden_(hidden),
        pauses_(pauses),
        scanner_(scanner) {}

  // kAccess for a file outside the source directories, unless `anywhere`.
  static Status CheckAllowed(Roots& roots, const Layer& layer, bool anywhere);

  // Of the layers that a stream is to leave out beneath `top`, or has left out: paths of those that
  // nobody will need then, top first.
  std::vector<std::string> Plan(const Layer& top, const Layers& left_out);
  // Removes those, from the top down.
  LeftOutLayers Remove(const Layer& top, const Layers& left_out, bool anywhere);

 private:
  // Removes the file by which the layer was opened, and nothing else of that name.
  Status RemoveFile(const Layer& layer, bool anywhere);

  Roots& roots_;
  ChainRecords& chain_records_;
  LayerNeeds& needs_;
  LeftOutMarks& marks_;
  HiddenUsers& hidden_;
  ScanPauses& pauses_;
  Scanner& scanner_;
};

}  // namespace chainfs
