// SPDX-License-Identifier: Apache-2.0
#include "fusefs/without_files.h"

#include <linux/close_range.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <thread>

namespace chainfs::fusefs {

void LeaveFiles(std::vector<int> kept) {
  std::erase_if(kept, [](int fd) { return fd <= STDERR_FILENO; });
  kept.push_back(STDERR_FILENO);
  std::ranges::sort(kept);
  // What is beyond all others goes first, which also makes the table our own.
  const auto beyond = static_cast<unsigned>(kept.back()) + 1;
  if (::close_range(beyond, ~0U, CLOSE_RANGE_UNSHARE) != 0) return;
  for (size_t i = 1; i < kept.size(); ++i) {
    const auto first = static_cast<unsigned>(kept[i - 1]) + 1;
    const auto end = static_cast<unsigned>(kept[i]);
    if (first < end) ::close_range(first, end - 1, 0);
  }
}

void RunWithoutFiles(const std::function<void()>& call) {
  try {
    std::thread([&call] {
      LeaveFiles({});
      call();
    }).join();
  } catch (const std::system_error&) {  // no more threads
    call();
  }
}

}  // namespace chainfs::fusefs
