// SPDX-License-Identifier: Apache-2.0
#include "tests/support/sparse_bytes.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>

namespace chainfs {
namespace {

constexpr uint64_t kPage = SparseBytes::kPageSize;
constexpr uint64_t kSegmentPages = 64;
constexpr uint64_t kNotHashed = 0;

}  // namespace

uint64_t MixHash(uint64_t a, uint64_t b) {
  uint64_t x = (a ^ std::rotl(b, 29)) * 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93;
  return x ^ (x >> 32);
}

uint64_t HashBytes(std::span<const std::byte> data, uint64_t seed) {
  uint64_t lanes[2] = {seed, ~seed};
  size_t i = 0;
  for (; i + 16 <= data.size(); i += 16) {
    uint64_t words[2];
    std::memcpy(words, data.data() + i, sizeof words);
    lanes[0] = std::rotl((lanes[0] ^ words[0]) * 0x9e3779b97f4a7c15, 27);
    lanes[1] = std::rotl((lanes[1] ^ words[1]) * 0xd6e8feb86659fd93, 31);
  }
  uint64_t hash = MixHash(lanes[0], lanes[1]);
  for (; i < data.size(); ++i) hash = MixHash(hash, std::to_integer<uint64_t>(data[i]));
  return hash;
}

struct SparseBytes::Page {
  Page() = default;
  Page(const Page& other) : bytes(other.bytes) {}
  Page& operator=(const Page&) = delete;

  // 1 for a page of zeros, which counts like a hole.
  uint64_t Hash() const {
    uint64_t known = hash.load(std::memory_order_relaxed);
    if (known != kNotHashed) return known;
    static constexpr std::array<std::byte, kPage> kZeros{};
    const bool zero = std::memcmp(bytes.data(), kZeros.data(), kPage) == 0;
    known = zero ? 1 : (HashBytes(bytes, 0) | 2);
    hash.store(known, std::memory_order_relaxed);
    return known;
  }

  std::array<std::byte, kPage> bytes{};
  mutable std::atomic<uint64_t> hash = kNotHashed;
};

struct SparseBytes::Segment {
  std::array<std::shared_ptr<Page>, kSegmentPages> pages;
};

SparseBytes::SparseBytes() : segments_(std::make_shared<Segments>()) {}

const SparseBytes::Page* SparseBytes::FindPage(uint64_t index) const {
  const auto it = segments_->find(index / kSegmentPages);
  return it == segments_->end() ? nullptr : it->second->pages[index % kSegmentPages].get();
}

SparseBytes::Segments& SparseBytes::SegmentsToWrite() {
  if (segments_.use_count() > 1) segments_ = std::make_shared<Segments>(*segments_);
  return *segments_;
}

SparseBytes::Segment& SparseBytes::SegmentToWrite(uint64_t index) {
  std::shared_ptr<Segment>& segment = SegmentsToWrite()[index];
  if (segment == nullptr) segment = std::make_shared<Segment>();
  if (segment.use_count() > 1) segment = std::make_shared<Segment>(*segment);
  return *segment;
}

SparseBytes::Page& SparseBytes::PageToWrite(uint64_t index) {
  std::shared_ptr<Page>& page = SegmentToWrite(index / kSegmentPages).pages[index % kSegmentPages];
  if (page == nullptr) {
    page = std::make_shared<Page>();
    ++pages_;
  } else if (page.use_count() > 1) {
    page = std::make_shared<Page>(*page);
  }
  page->hash.store(kNotHashed, std::memory_order_relaxed);
  return *page;
}

void SparseBytes::RemovePage(uint64_t index) {
  if (FindPage(index) == nullptr) return;
  SegmentToWrite(index / kSegmentPages).pages[index % kSegmentPages].reset();
  --pages_;
}

void SparseBytes::Read(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const uint64_t within = offset % kPage;
    const size_t part = std::min<uint64_t>(out.size(), kPage - within);
    const std::span<std::byte> to = out.first(part);
    const Page* page = offset < size_ ? FindPage(offset / kPage) : nullptr;
    const uint64_t seen = offset < size_ ? std::min<uint64_t>(part, size_ - offset) : 0;
    std::ranges::fill(to, std::byte{0});
    if (page != nullptr) std::memcpy(to.data(), page->bytes.data() + within, seen);
    out = out.subspan(part);
    offset += part;
  }
}

void SparseBytes::WriteUnseen(uint64_t offset, std::span<const std::byte> data) {
  while (!data.empty()) {
    const uint64_t within = offset % kPage;
    const size_t part = std::min<uint64_t>(data.size(), kPage - within);
    std::memcpy(PageToWrite(offset / kPage).bytes.data() + within, data.data(), part);
    data = data.subspan(part);
    offset += part;
  }
}

void SparseBytes::Write(uint64_t offset, std::span<const std::byte> data) {
  WriteUnseen(offset, data);
  if (!data.empty()) GrowUnseen(offset + data.size());
}

void SparseBytes::Resize(uint64_t size) {
  size_ = size;
  CutAtSize();
}

void SparseBytes::Clear(uint64_t offset, uint64_t length) {
  if (length == 0) return;
  Drop(offset, length > UINT64_MAX - offset ? UINT64_MAX : offset + length);
}

void SparseBytes::Drop(uint64_t offset, uint64_t end) {
  auto it = segments_->lower_bound(offset / kPage / kSegmentPages);
  std::vector<uint64_t> touched;
  for (; it != segments_->end(); ++it) {
    for (uint64_t i = 0; i < kSegmentPages; ++i) {
      const uint64_t start = (it->first * kSegmentPages + i) * kPage;
      if (start >= end) break;
      if (start + kPage > offset && it->second->pages[i] != nullptr) {
        touched.push_back(start / kPage);
      }
    }
    if ((it->first + 1) * kSegmentPages * kPage >= end) break;
  }
  for (const uint64_t index : touched) {
    const uint64_t start = index * kPage;
    if (start >= offset && start + kPage <= end) {
      RemovePage(index);
      continue;
    }
    const uint64_t from = std::max(start, offset) - start;
    const uint64_t to = std::min(start + kPage, end) - start;
    std::array<std::byte, kPage>& bytes = PageToWrite(index).bytes;
    std::fill(bytes.begin() + static_cast<ptrdiff_t>(from),
              bytes.begin() + static_cast<ptrdiff_t>(to), std::byte{0});
  }
}

DataRun SparseBytes::RunAt(uint64_t offset) const {
  if (offset >= size_) return {.is_data = false, .length = UINT64_MAX - offset};
  const bool is_data = FindPage(offset / kPage) != nullptr;
  uint64_t index = offset / kPage + 1;
  while (index * kPage < size_ && (FindPage(index) != nullptr) == is_data) {
    // Skips what has no segment in one go.
    if (!is_data && !segments_->contains(index / kSegmentPages)) {
      const auto next = segments_->lower_bound(index / kSegmentPages);
      index = next == segments_->end() ? DivRoundUp(size_, kPage) : next->first * kSegmentPages;
    } else {
      ++index;
    }
  }
  return {.is_data = is_data, .length = std::min(index * kPage, size_) - offset};
}

uint64_t SparseBytes::Hash() const {
  uint64_t hash = MixHash(size_, 0);
  for (const auto& [segment_index, segment] : *segments_) {
    for (uint64_t i = 0; i < kSegmentPages; ++i) {
      const Page* page = segment->pages[i].get();
      if (page == nullptr || page->Hash() == 1) continue;
      hash = MixHash(hash, segment_index * kSegmentPages + i);
      hash = MixHash(hash, page->Hash());
    }
  }
  return hash;
}

}  // namespace chainfs
