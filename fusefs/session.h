// SPDX-License-Identifier: Apache-2.0
//
// Session: the libfuse session that serves one mount. Who mounts is the keeper (keeper.h).
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
  // `connection`: of the mount, as MountConnection gives it. `context` must outlive the session.
  // Call on the main thread.
  static Result<std::unique_ptr<Session>> Open(MountContext& context, UniqueFd connection);
  ~Session();

  // Serves until the file system is unmounted or Exit is called. False after a failure.
  bool Loop();
  // Makes Loop return; waits until it does. Requests being served are finished first.
  void Exit();
  // Lets go of the connection: whoever still waits for an answer gets ENOTCONN, unless somebody
  // else has it open. Only after Loop.
  void Disconnect();

  fuse_session* raw() { return session_; }

 private:
  Session(MountContext& context, fuse_session* session);

  MountContext& context_;
  fuse_session* const session_;
  const pthread_t loop_thread_;
  std::atomic<bool> loop_ended_ = false;
};

}  // namespace chainfs::fusefs
