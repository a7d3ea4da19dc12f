// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/turn_mutex.h"

#include <chrono>
#include <thread>

namespace chainfs {

bool TurnMutex::LetOthersIn() {
  constexpr std::chrono::milliseconds kPatience(200);
  if (waiting_ == 0) return false;
  Unlock();
  // The lock is not fair: without a pause it would be taken again before they are awake.
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (waiting_ > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  Lock();
  return true;
}

}  // namespace chainfs
