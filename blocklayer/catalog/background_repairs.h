// SPDX-License-Identifier: Apache-2.0
//
// BackgroundRepairs: images whose dirty bit is set are checked and repaired by threads of its own,
// so that neither a scan nor a mount that starts waits for a walk over an image's tables. Whoever
// wants such an image hands its file over, is told that it is under way, and looks again when
// `finished` was called.
//
// Two threads: one takes any image, the smallest first; the other one only images that occupy
// little, so that they do not wait for a huge one. At most kMaxFiles files are held.
//
// What was found is remembered for as long as the file stays as it was then.
//
// Threads: all methods, any thread. mu_ is a leaf, never held across I/O.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/formats/registry/format_registry.h"
#include "blocklayer/io/file.h"

namespace chainfs {

class BackgroundRepairs {
 public:
  static constexpr size_t kMaxFiles = 16;
  // What the second thread takes, in bytes that the file occupies.
  static constexpr uint64_t kLittle = 1ull << 30;

  enum class State : uint8_t {
    kUnknown,   // hand it over
    kWaiting,   // not here, and there is no room for more
    kUnderWay,  // here
    kEnded,     // `reason` says why it could not be repaired; empty: nothing was left to do
  };
  struct Verdict {
    State state = State::kUnknown;
    std::string reason = {};
  };

  // `finished` is called on a thread of this after each image, with no lock held.
  explicit BackgroundRepairs(std::function<void()> finished);
  ~BackgroundRepairs();

  Verdict VerdictOf(const FileStat& stat) const EXCLUDES(mu_);
  // The file, with the dirty bit, opened for writing, carries the locks of an active layer; it is
  // closed in the end. False when there is no room or the end has come; the file is closed then.
  bool Start(std::unique_ptr<File> file, FormatRow::Repair repair) EXCLUDES(mu_);
  // Of an image under way.
  uint32_t Percent(const FileId& id) const EXCLUDES(mu_);
  // Forgets what was found of all others.
  void KeepOnly(const std::set<FileId>& ids) EXCLUDES(mu_);
  // Interrupts what is under way and waits for the threads. Nothing starts after it.
  void Stop() EXCLUDES(mu_);

 private:
  struct Item {
    std::unique_ptr<File> file;  // null: taken by a thread
    FormatRow::Repair repair = nullptr;
    uint64_t allocated_bytes = 0;
    std::atomic<uint32_t> percent = 0;
  };
  struct Found {
    FileStat stat;
    std::string reason;
  };

  void Loop(uint64_t largest) EXCLUDES(mu_);
  // The smallest that waits and is not larger; null when it is time to stop.
  std::shared_ptr<Item> WaitForWork(uint64_t largest, std::unique_ptr<File>& file) EXCLUDES(mu_);
  Found Repair(File& file, Item& item) const;

  const std::function<void()> finished_;
  std::atomic<bool> stop_ = false;

  mutable Mutex mu_;
  CondVar changed_;
  std::map<FileId, std::shared_ptr<Item>> items_ GUARDED_BY(mu_);
  std::map<FileId, Found> found_ GUARDED_BY(mu_);
  std::vector<std::thread> threads_ GUARDED_BY(mu_);  // made when there is first something to do
};

}  // namespace chainfs
