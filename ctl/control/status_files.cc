// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/status_files.h"

#include <utility>

#include "blocklayer/cache/metadata_cache.h"
#include "ctl/control/metrics_text.h"
#include "ctl/control/status_json.h"

namespace chainfs::control {

std::string StatusFiles::Chains() const {
  return ChainsFileJson(catalog_.Disks(), catalog_.Broken(), catalog_.Notes()) + "\n";
}

std::string StatusFiles::Jobs() const { return JobsFileJson(jobs_.Jobs("")) + "\n"; }

std::string StatusFiles::Layers() const { return LayersFileJson(catalog_.LayersReport()) + "\n"; }

std::string StatusFiles::Metrics() const {
  const MetadataCache& cache = catalog_.context().metadata();
  std::vector<ServedDiskPtr> disks = disks_.List();
  std::vector<std::string> traced;
  for (const ServedDiskPtr& served : disks) {
    if (traces_.FileOf(*served->disk)) traced.push_back(served->disk->name());
  }
  return MetricsText({.disks = std::move(disks),
                      .traced = std::move(traced),
                      .jobs = jobs_.Jobs(""),
                      .metadata_hits = cache.hits(),
                      .metadata_misses = cache.misses(),
                      .metadata_bytes = cache.UsedBytes()});
}

}  // namespace chainfs::control
