// SPDX-License-Identifier: Apache-2.0
//
// Session: the libfuse session of one mount, from the mount options to the loop that serves it.
//
// Threads: Exit may be called from any thread; the rest belongs to the main thread.
#pragma once

#include <pthread.h>

#include <atomic>
#include <memory>

#include "fusefs/fuse_api.h"
#include "fusefs/mount_context.h"

namespace chainfs::fusefs {

// How many requests are served at once, unless the options say.
unsigned DefaultThreads();

class Session {
 public:
  // `context` must outlive the session. Call on the main thread.
  static Result<std::unique_ptr<Session>> Mount(MountContext& context);
  ~Session();

  // Serves until the file system is unmounted or Exit is called. False after a failure.
  bool Loop();
  // Makes Loop return; waits until it does. Requests being served are finished first.
  void Exit();
  // Takes the mount away if it is still there. Only after Loop.
  void Unmount();

  fuse_session* raw() { return session_; }

 private:
  Session(MountContext& context, fuse_session* session);

  MountContext& context_;
  fuse_session* const session_;
  const pthread_t loop_thread_;
  std::atomic<bool> loop_ended_ = false;
};

}  // namespace chainfs::fusefs
