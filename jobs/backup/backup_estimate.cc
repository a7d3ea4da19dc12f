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

// Nothing where nothing is to be measured; what compression would take is not.
std::optional<std::string> PlaceOf(const Catalog& catalog, const BackupPlan& plan) {
  if (!plan.target || plan.target->compression) return std::nullopt;
  return ProbeDirectory(catalog, plan.target->place.location.path);
}

}  // namespace

BackupEstimate::BackupEstimate(Catalog& catalog, DiskPtr disk, const BackupPlan& plan)
    : disk_(std::move(disk)),
      source_(plan.length()),
      from_(disk_, catalog.context()),
      sink_(TargetCluster(plan)),
      probe_(from_, sink_, plan.selection(), PlaceOf(catalog, plan)) {}

Status BackupEstimate::Settle() {
  probe_.Finish();
  return {};
}

}  // namespace chainfs::jobs
