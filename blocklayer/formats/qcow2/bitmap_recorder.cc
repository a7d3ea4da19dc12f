// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/bitmap_recorder.h"

namespace chainfs::qcow2 {

void BitmapRecorder::Record(GuestOffset offset, uint64_t length) {
  if (!any_.load(std::memory_order_seq_cst)) return;
  MutexLock lock(mu_);
  for (auto& [name, held] : held_) {
    if (held.recording) held.bits.Mark(offset.value, length);
  }
}

void BitmapRecorder::Add(const std::string& name, DirtyBits bits, bool recording) {
  MutexLock lock(mu_);
  held_.emplace(name, Held{.bits = std::move(bits), .recording = recording});
  any_.store(true, std::memory_order_seq_cst);
}

void BitmapRecorder::Remove(const std::string& name) {
  MutexLock lock(mu_);
  held_.erase(name);
  any_.store(!held_.empty(), std::memory_order_seq_cst);
}

void BitmapRecorder::RemoveAll() {
  MutexLock lock(mu_);
  held_.clear();
  any_.store(false, std::memory_order_seq_cst);
}

void BitmapRecorder::SetRecording(const std::string& name, bool recording) {
  MutexLock lock(mu_);
  held_.at(name).recording = recording;
}

void BitmapRecorder::Clear(const std::string& name) {
  MutexLock lock(mu_);
  held_.at(name).bits.Clear();
}

void BitmapRecorder::Resize(uint64_t size) {
  MutexLock lock(mu_);
  for (auto& [name, held] : held_) held.bits.Resize(size);
}

bool BitmapRecorder::Holds(const std::string& name) const {
  MutexLock lock(mu_);
  return held_.contains(name);
}

std::optional<uint64_t> BitmapRecorder::DirtyBytes(const std::string& name) const {
  MutexLock lock(mu_);
  const auto found = held_.find(name);
  if (found == held_.end()) return std::nullopt;
  return found->second.bits.CountOnes() * found->second.bits.granularity();
}

DirtyBits::Contents BitmapRecorder::Fetch(const std::string& name, uint64_t first_bit,
                                          std::span<std::byte> out) const {
  MutexLock lock(mu_);
  return held_.at(name).bits.Fetch(first_bit, out);
}

}  // namespace chainfs::qcow2
