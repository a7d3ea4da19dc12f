// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/recorded_roots.h"

#include "blocklayer/catalog/roots.h"
#include "blocklayer/catalog/sources.h"

namespace chainfs {

std::vector<std::string> RecordedRoots(const std::vector<SourceSpec>& specs,
                                       const CatalogOptions& options) {
  Roots roots(options.open_directory);
  Sources sources(roots, options.state_directory);
  for (const SourceSpec& spec : specs) (void)sources.Add(spec);
  std::vector<std::string> directories;
  const Result<std::vector<ChainRecord>> records = sources.ChainRecords();
  if (!records) return directories;
  for (const ChainRecord& record : *records) {
    directories.insert(directories.end(), record.roots.begin(), record.roots.end());
  }
  return directories;
}

}  // namespace chainfs
