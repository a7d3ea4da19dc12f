// SPDX-License-Identifier: Apache-2.0
//
// The JSON that attributes and virtual files show. Pure functions of what they are given: they take
// a view of the state (a chain pointer, a copied list) and format it with no lock held. One line,
// no trailing newline; key names are QEMU's where it has them. Host paths that are not UTF-8 come
// with replacement characters.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/catalog/catalog.h"
#include "jobs/engine/job_info.h"

namespace chainfs::control {

// An attribute holds at most 64 KiB; longer lists are cut here and end with {"truncated":true}.
inline constexpr size_t kMaxAttributeListBytes = 60000;
inline constexpr size_t kNoLimit = SIZE_MAX;

// `max_layers`: the limit of its chain; 0: none. `trace`: where its reads are being recorded.
std::string DiskInfoJson(const Disk& disk, uint32_t max_layers,
                         const std::optional<std::string>& trace);
// Top to base, at most about `limit` bytes.
std::string ChainJson(const Disk& disk, size_t limit);
std::string JobsJson(const std::vector<jobs::JobInfo>& jobs, size_t limit);

// The last refused command.
std::string RefusalJson(std::chrono::system_clock::time_point time, std::string_view attribute,
                        int error_number, std::string_view message);

// How the transport is set up.
struct MountConfig {
  std::string mountpoint = {};
  std::vector<std::string> sources = {};  // as given
  unsigned threads = 0;                   // that serve requests
  bool direct_io = false;
  bool writeback_cache = false;
  bool allow_other = false;
  uint32_t max_layers = 0;  // that chains are kept at; 0: no limit
};
std::string ConfigJson(const MountConfig& config, const CatalogOptions& catalog);

std::string ChainsFileJson(const std::vector<DiskPtr>& disks,
                           const std::vector<BrokenImage>& broken,
                           const std::vector<ImageNote>& notes);
std::string LayersFileJson(const std::vector<LayerReport>& layers);
std::string JobsFileJson(const std::vector<jobs::JobInfo>& jobs);

}  // namespace chainfs::control
