// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/status_files.h"

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
  return MetricsText({.disks = disks_.List(),
                      .jobs = jobs_.Jobs(""),
                      .metadata_hits = cache.hits(),
                      .metadata_misses = cache.misses(),
                      .metadata_bytes = cache.UsedBytes()});
}

}  // namespace chainfs::control
