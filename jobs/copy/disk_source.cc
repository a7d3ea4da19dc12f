// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/disk_source.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace chainfs::jobs {
namespace {

class ChainView final : public CopySource::View {
 public:
  ChainView(ChainPtr chain, DecodedCache& decoded)
      : chain_(std::move(chain)),
        decoded_(decoded),
        active_guard_(chain_->active->image->io_epoch().Enter()) {
    if (chain_->below) below_guard_.emplace(chain_->below->EnterReading());
  }

  Result<StackExtent> Map(GuestOffset offset, uint64_t length) const override {
    CHAINFS_ASSIGN(const StackExtent extent, chain_->Map(offset, length, MapDetail::kPrecise));
    if (extent.length == 0) return StackExtent{.kind = ExtentKind::kZero, .length = length};
    return extent;
  }
  Status Read(GuestOffset offset, std::span<std::byte> out) const override {
    CHAINFS_ASSIGN(const size_t read, chain_->Read(decoded_, offset, out));
    std::ranges::fill(out.subspan(read), std::byte{0});
    return {};
  }
  File* HostFile(uint32_t layer, uint16_t source) const override {
    const LayerPtr& owner = layer == 0 ? chain_->active : chain_->below->layers()[layer - 1];
    return owner->image->source(source).host_file();
  }

 private:
  const ChainPtr chain_;
  DecodedCache& decoded_;
  const IoEpoch::Guard active_guard_;
  std::optional<IoEpoch::Guard> below_guard_;
};

}  // namespace

DiskSource::DiskSource(DiskPtr disk, BlockContext& context)
    : disk_(std::move(disk)), context_(context) {}

std::unique_ptr<CopySource::View> DiskSource::EnterReading() const {
  return std::make_unique<ChainView>(disk_->chain(), context_.decoded());
}

}  // namespace chainfs::jobs
