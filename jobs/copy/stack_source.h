// SPDX-License-Identifier: Apache-2.0
//
// StackSource: frozen layers as a source.
//
// Threads: as CopySource.
#pragma once

#include <memory>

#include "jobs/copy/copy_source.h"

namespace chainfs::jobs {

class StackSource final : public CopySource {
 public:
  explicit StackSource(std::shared_ptr<const LayerStack> stack);

  uint64_t size() const override { return stack_->size(); }
  std::unique_ptr<View> EnterReading() const override;

 private:
  const std::shared_ptr<const LayerStack> stack_;
};

}  // namespace chainfs::jobs
