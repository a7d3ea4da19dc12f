// SPDX-License-Identifier: Apache-2.0
//
// DiskAccess: who has a disk open, whether its owner lets it be written, and why not. What the
// image itself forbids is not known here (Image::read_only_reason).
//
// Terms: a *ticket* counts one open handle for as long as it lives. Whoever opens for writing first
// takes its ticket, then asks whether the disk may be written; Stop first forbids, then looks at
// the count. So one of the two sees the other.
//
// Threads: all methods, any thread; mu_ is a leaf.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

#include "blocklayer/base/sync.h"

namespace chainfs {

class WakeUp;

class DiskAccess {
 public:
  // Must not outlive the disk.
  class Ticket {
   public:
    Ticket() = default;  // of nothing
    Ticket(Ticket&& other) noexcept
        : access_(std::exchange(other.access_, nullptr)), writes_(other.writes_) {}
    Ticket& operator=(Ticket&& other) noexcept {
      std::swap(access_, other.access_);
      std::swap(writes_, other.writes_);
      return *this;
    }
    ~Ticket();

   private:
    friend class DiskAccess;
    Ticket(DiskAccess& access, bool writes) : access_(&access), writes_(writes) {}
    DiskAccess* access_ = nullptr;
    bool writes_ = false;
  };

  // `wake_up` must outlive this.
  explicit DiskAccess(WakeUp& wake_up) : wake_up_(wake_up) {}

  Ticket CountWriter() {
    writers_.fetch_add(1);
    return {*this, true};
  }
  Ticket CountReader() {
    readers_.fetch_add(1);
    return {*this, false};
  }
  // Handles that may write, and the others.
  uint32_t writers() const { return writers_.load(); }
  uint32_t readers() const { return readers_.load(); }

  // Whether it may be written, as far as this knows.
  bool permitted() const { return !stopped_.load() && !forbidden_.load(); }
  // Whether it is stopped, though it may be forbidden as well.
  bool stopped() const { return stopped_.load(); }
  void SetStopped(bool stopped) { stopped_.store(stopped); }
  // False, and nothing changes, while there are writers; the last of them calls the wake-up.
  bool Stop();
  // False, and nothing changes, while somebody has it open to read. Who opens it counts first and
  // asks then, who closes it forbids first and looks at the count then.
  bool CloseToReaders();
  void OpenToReaders() { closed_.store(false); }
  // Nobody may open it any more: it is about to go.
  bool closed() const { return closed_.load(); }
  // Nothing is written any more, whoever has it open, until the disk is opened anew.
  void Forbid(std::string why) EXCLUDES(mu_);
  // Why it is stopped, one phrase for people ("mid is built on it").
  void SetReason(std::string why) EXCLUDES(mu_);
  // Why it is not permitted; empty when it is, and when nobody gave a reason.
  std::string Reason() const EXCLUDES(mu_);

 private:
  void Return(bool writes);

  WakeUp& wake_up_;
  std::atomic<bool> stopped_ = true;
  std::atomic<bool> forbidden_ = false;
  std::atomic<uint32_t> writers_ = 0;
  std::atomic<uint32_t> readers_ = 0;
  std::atomic<bool> close_awaited_ = false;  // Stop was refused
  std::atomic<bool> closed_ = false;         // to readers

  mutable Mutex mu_;
  std::string reason_ GUARDED_BY(mu_);
  std::string forbidden_reason_ GUARDED_BY(mu_);
};

}  // namespace chainfs
