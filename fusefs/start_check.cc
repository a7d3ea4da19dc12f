// SPDX-License-Identifier: Apache-2.0
#include "fusefs/start_check.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace chainfs::fusefs {
namespace {

using std::chrono::milliseconds;

// How long an image that is in use is worth waiting for.
milliseconds PatienceFor(const BrokenImage& image) {
  if (!image.held_by) return milliseconds(0);
  switch (*image.held_by) {
    case ImageHolder::kEndingChainfs:
      return milliseconds(10000);
    case ImageHolder::kChainfs:
      // After umount, a daemon needs a moment to notice and to say that it ends.
      return milliseconds(1500);
    case ImageHolder::kNobody:
      // It may have been let go of since.
      return milliseconds(200);
    case ImageHolder::kSomebody:
      break;
  }
  return milliseconds(0);
}

Error Explained(const BrokenImage& image) {
  Error error = image.error;
  if (!error.message.starts_with(image.path)) {
    error.message = fmt::format("{}: {}", image.path, error.message);
  }
  if (!image.held_by) return error;
  if (*image.held_by == ImageHolder::kChainfs || *image.held_by == ImageHolder::kEndingChainfs) {
    error.message =
        fmt::format("{}: another chainfs has it mounted; unmount that first", image.path);
  } else {
    // Nothing appears by itself where nothing is mounted.
    error.message =
        error.message.substr(0, error.message.find("; ")) + "; mount again when that is over";
  }
  return error;
}

}  // namespace

Status AwaitImages(Catalog& catalog) {
  constexpr milliseconds kPause(50);
  milliseconds waited(0);
  for (;; waited += kPause) {
    const std::vector<BrokenImage> broken = catalog.Broken();
    const auto longest = std::ranges::max_element(broken, {}, PatienceFor);
    if (longest == broken.end() || PatienceFor(*longest) <= waited) break;
    if (waited == milliseconds(1000)) {
      spdlog::info("waiting for another chainfs to let go of {}", longest->path);
    }
    std::this_thread::sleep_for(kPause);
    (void)catalog.Rescan();
  }
  for (const BrokenImage& image : catalog.Broken()) {
    if (image.named_by_user && !image.being_checked) return std::unexpected(Explained(image));
  }
  return {};
}

}  // namespace chainfs::fusefs
