// SPDX-License-Identifier: Apache-2.0
//
// Bell: wakes threads that wait in poll(2). It may be rung from anywhere, also with locks held, and
// after everybody who heard it is gone.
//
// Threads: all methods, any thread. mu_ is a leaf, held for a write that never blocks.
#pragma once

#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/base/sync.h"
#include "blocklayer/base/unique_fd.h"

namespace chainfs::qmp {

class Bell {
 public:
  // What one waiter polls for reading. It rings with the others until it is gone, which must be
  // before the bell is.
  class Ear {
   public:
    static Result<Ear> Open(Bell& bell);
    Ear(Ear&& other) noexcept;
    Ear& operator=(Ear&&) = delete;
    ~Ear();

    int fd() const { return fd_.get(); }
    // Rings this one alone.
    void Ring() const;
    // What has been rung so far is heard.
    void Heard() const;

   private:
    Ear(Bell& bell, UniqueFd fd);

    Bell* bell_;
    UniqueFd fd_;
  };

  void Ring() EXCLUDES(mu_);

 private:
  void Add(int fd) EXCLUDES(mu_);
  void Remove(int fd) EXCLUDES(mu_);

  Mutex mu_;
  std::vector<int> ears_ GUARDED_BY(mu_);
};

}  // namespace chainfs::qmp
