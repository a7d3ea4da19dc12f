// SPDX-License-Identifier: Apache-2.0
//
// QmpClient: a client of QEMU's control protocol, for whoever serves it: chainfs, or the installed
// qemu-storage-daemon beside it.
#pragma once

#include <deque>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/unique_fd.h"

namespace chainfs {

class QmpClient {
 public:
  using Json = nlohmann::json;

  // Waits until somebody listens at `path`, and reads the greeting; connected() says whether it
  // went well.
  explicit QmpClient(const std::string& path);

  bool connected() const { return greeting_.is_object(); }
  const Json& greeting() const { return greeting_; }
  int fd() const { return fd_.get(); }

  // Sends a command and waits for its answer; null when the other side is gone. Events that come
  // before it are kept.
  Json Ask(const std::string& command, const Json& arguments = Json::object());
  // Of the answer: what it returns, null after an error; and the class and sentence of an error.
  Json Return(const std::string& command, const Json& arguments = Json::object());
  std::string ErrorClass(const std::string& command, const Json& arguments = Json::object());
  std::string Error(const std::string& command, const Json& arguments = Json::object());
  // The next event of that name (WaitForAny: of any) which is about that job, if any is named;
  // those before it are passed over. Null when the other side is gone.
  Json WaitForEvent(std::string_view name, std::string_view job = "");
  Json WaitForAny(std::string_view job) { return WaitForEvent("", job); }
  // Passes over all that have arrived.
  void DropEvents() { events_.clear(); }
  // All events that have been received and not passed over, when an answer comes.
  const std::deque<Json>& events() const { return events_; }

  // ---- Byte by byte.
  // False when the other side takes no more.
  bool Send(std::string_view bytes);
  // The next line, whatever it is; null at the end of file, or after so many milliseconds.
  Json NextLine(int patience_ms = kPatienceMs);
  // No more will be sent.
  void Finish();

 private:
  static constexpr int kPatienceMs = 60'000;

  UniqueFd fd_;
  Json greeting_;
  std::string pending_;  // received, not yet a whole line
  std::deque<Json> events_;
};

}  // namespace chainfs
