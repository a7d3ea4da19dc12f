// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/stack_source.h"

#include <utility>

namespace chainfs::jobs {
namespace {

class StackView final : public CopySource::View {
 public:
  explicit StackView(const LayerStack& stack) : stack_(stack), guard_(stack.EnterReading()) {}

  Result<StackExtent> Map(GuestOffset offset, uint64_t length) const override {
    return stack_.Map(offset, length, MapDetail::kPrecise);
  }
  Status Read(GuestOffset offset, std::span<std::byte> out) const override {
    return stack_.ReadBelow(offset, out);
  }
  File* HostFile(uint32_t layer, uint16_t source) const override {
    return stack_.layers()[layer]->image->source(source).host_file();
  }

 private:
  const LayerStack& stack_;
  const IoEpoch::Guard guard_;
};

}  // namespace

StackSource::StackSource(std::shared_ptr<const LayerStack> stack) : stack_(std::move(stack)) {}

std::unique_ptr<CopySource::View> StackSource::EnterReading() const {
  return std::make_unique<StackView>(*stack_);
}

}  // namespace chainfs::jobs
