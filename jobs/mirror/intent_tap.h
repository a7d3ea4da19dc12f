// SPDX-License-Identifier: Apache-2.0
//
// IntentTap: keeps a write-intent log right for as long as it hangs in the disk, also after the job
// has gone: what guests write until the daemon ends must be copied when the job is taken up.
//
// It hangs behind whoever copies or notes what was written (mirror_tap.h), because it says that a
// write is over.
//
// Threads: as WriteTap.
#pragma once

#include <memory>
#include <utility>

#include "blocklayer/chain/write_tap.h"
#include "jobs/mirror/intent_log.h"

namespace chainfs::jobs {

class IntentTap final : public WriteTap {
 public:
  explicit IntentTap(std::shared_ptr<IntentLog> log) : log_(std::move(log)) {}

  Status BeforeChange(GuestOffset offset, uint64_t length) override {
    return log_->BeginWrite(offset.value, length);
  }
  void AfterChange(GuestOffset offset, uint64_t length) noexcept override {
    log_->EndWrite(offset.value, length);
  }

 private:
  const std::shared_ptr<IntentLog> log_;
};

}  // namespace chainfs::jobs
