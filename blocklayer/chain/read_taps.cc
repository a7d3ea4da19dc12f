// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/read_taps.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "blocklayer/base/sync_point.h"

namespace chainfs {

void ReadTaps::TellAll(GuestOffset offset, uint64_t length) {
  const IoEpoch::Guard guard = readers_.Enter();
  for (const Link* link = first_.load(std::memory_order_seq_cst); link != nullptr;
       link = link->next.load(std::memory_order_seq_cst)) {
    CHAINFS_SYNC_POINT("ReadTaps.TellAll.tap-found");
    link->tap->AfterRead(offset, length);
  }
}

void ReadTaps::Add(std::shared_ptr<ReadTap> tap) {
  const MutexLock lock(mu_);
  auto link = std::make_unique<Link>(std::move(tap), first_.load(std::memory_order_relaxed));
  links_.push_back(std::move(link));
  first_.store(links_.back().get(), std::memory_order_seq_cst);
}

void ReadTaps::Remove(const ReadTap& tap) noexcept {
  const MutexLock lock(mu_);
  const auto found =
      std::ranges::find_if(links_, [&](const auto& link) { return link->tap.get() == &tap; });
  if (found == links_.end()) return;
  std::atomic<Link*>* to_it = &first_;
  while (to_it->load() != found->get()) to_it = &to_it->load()->next;
  to_it->store((*found)->next.load(), std::memory_order_seq_cst);
  WaitForReaders();
  links_.erase(found);
}

// A reader is in for as long as the taps need, which is next to nothing.
void ReadTaps::WaitForReaders() {
  constexpr std::chrono::microseconds kPause(20);
  const uint64_t began = readers_.epoch();
  while (readers_.epoch() < began + 2) {
    if (!readers_.TryAdvance()) std::this_thread::sleep_for(kPause);
  }
}

}  // namespace chainfs
