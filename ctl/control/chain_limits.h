// SPDX-License-Identifier: Apache-2.0
//
// ChainLimits: how many layers each chain is to have at most: what its disk was told, which is kept
// in a record beside its images, else what holds for the mount.
//
// The record, "layers-NAME": {"version": 1, "disk": NAME, "layers": N}; percent-escaped.
//
// Threads: all methods, any thread. write_mu_ orders changes and is held across their I/O; mu_ is a
// leaf.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "blocklayer/base/sync.h"
#include "blocklayer/catalog/record_store.h"

namespace chainfs::control {

class ChainLimits {
 public:
  // Reads the records; one that makes no sense is told in the log and does not count. `otherwise`:
  // for the mount; 0: no limit. `records` outlives this.
  ChainLimits(RecordStore& records, uint32_t otherwise);

  // 0: no limit.
  uint32_t Of(std::string_view disk) const EXCLUDES(mu_);
  // Whether any chain has one.
  bool any() const EXCLUDES(mu_);
  // Durable on return. 0: no limit; nothing: what holds for the mount. Errors as RecordStore's.
  Status Set(const Disk& disk, std::optional<uint32_t> layers) EXCLUDES(write_mu_, mu_);

 private:
  RecordStore& records_;
  const uint32_t otherwise_;
  Mutex write_mu_;
  mutable Mutex mu_ ACQUIRED_AFTER(write_mu_);
  std::map<std::string, uint32_t, std::less<>> own_ GUARDED_BY(mu_);  // by name of the disk
};

}  // namespace chainfs::control
