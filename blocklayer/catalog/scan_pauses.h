// SPDX-License-Identifier: Apache-2.0
//
// ScanPauses: where a scan, or another long look, lets others in, and where it learns that the end
// has come.
//
// Threads: AnnounceEnd and closing, any; the rest needs CatalogParts::mu.
#pragma once

#include <atomic>

#include "blocklayer/base/result.h"
#include "blocklayer/catalog/turn_mutex.h"

namespace chainfs {

class ScanPauses {
 public:
  // `mu` is the catalog's, and outlives this.
  explicit ScanPauses(TurnMutex& mu) : mu_(mu) {}

  // Whether anybody was let in: then everything may be different.
  bool LetOthersIn() {
    mu_.AssertHeld();
    return mu_.LetOthersIn();
  }
  // The same for a long look; false when the catalog is closing.
  bool PauseAndGoOn() {
    (void)LetOthersIn();
    return !closing_;
  }

  // Whatever takes long ends early from now on.
  void AnnounceEnd() { closing_ = true; }
  bool closing() const { return closing_; }
  // False when it was closed before.
  bool Close() { return !std::exchange(closed_, true); }
  bool closed() const { return closed_; }
  // kShutdown after Close.
  Status CheckOpen() const {
    if (!closed_) return {};
    return Fail(ErrorKind::kShutdown, "the mount is shutting down");
  }

 private:
  TurnMutex& mu_;
  std::atomic<bool> closing_ = false;
  bool closed_ = false;
};

}  // namespace chainfs
