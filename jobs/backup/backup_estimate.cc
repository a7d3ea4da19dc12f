// SPDX-License-Identifier: Apache-2.0
#include "jobs/backup/backup_estimate.h"

#include <utility>

namespace chainfs::jobs {
namespace {

constexpr uint64_t kRawCluster = 4096;

uint64_t TargetCluster(const BackupPlan& plan) {
  const bool raw = plan.target && plan.target->format == ImageFormat::kRaw;
  return plan.target && !raw ? uint64_t{1} << plan.target->cluster_bits : kRawCluster;
}

}  // namespace

BackupEstimate::BackupEstimate(Catalog& catalog, DiskPtr disk, const BackupPlan& plan)
    : disk_(std::move(disk)),
      source_(plan.length()),
      from_(disk_, catalog.context()),
      sink_(TargetCluster(plan)),
      ranges_(from_, sink_, plan.selection()) {}

}  // namespace chainfs::jobs
